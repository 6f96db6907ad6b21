"""rqk: a job queue for Python on Kubernetes that speaks the wire protocol of RQ.

The public names, loaded when they are first used, so that ``import rqk`` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rqk.elsewhere import missing
from rqk.version import __version__ as __version__

if TYPE_CHECKING:
    from rqk.connections import use_connection as use_connection
    from rqk.core.states import JobStatus as JobStatus
    from rqk.errors import JobTimeoutException as JobTimeoutException
    from rqk.errors import RqkError as RqkError
    from rqk.execution import Execution as Execution
    from rqk.job import Job as Job
    from rqk.job import cancel_job as cancel_job
    from rqk.job import get_current_job as get_current_job
    from rqk.job import requeue_job as requeue_job
    from rqk.policies import Callback as Callback
    from rqk.policies import Dependency as Dependency
    from rqk.policies import Repeat as Repeat
    from rqk.policies import Retry as Retry
    from rqk.queue import Queue as Queue
    from rqk.result import Result as Result
    from rqk.serializers import JSONSerializer as JSONSerializer
    from rqk.worker import Worker as Worker

_HOMES = {
    "Callback": "rqk.policies",
    "Dependency": "rqk.policies",
    "Execution": "rqk.execution",
    "JSONSerializer": "rqk.serializers",
    "Job": "rqk.job",
    "JobStatus": "rqk.core.states",
    "JobTimeoutException": "rqk.errors",
    "Queue": "rqk.queue",
    "Repeat": "rqk.policies",
    "Result": "rqk.result",
    "Retry": "rqk.policies",
    "RqkError": "rqk.errors",
    "Worker": "rqk.worker",
    "cancel_job": "rqk.job",
    "get_current_job": "rqk.job",
    "requeue_job": "rqk.job",
    "use_connection": "rqk.connections",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise missing(__name__, name)
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
