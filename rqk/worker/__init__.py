"""The worker: a supervisor that talks to Redis, a zygote that holds the imported modules, horses that run jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rqk.elsewhere import missing

if TYPE_CHECKING:
    from rqk.worker.worker import Worker as Worker

__all__ = ["Worker"]


def __getattr__(name: str) -> Any:
    # Loaded late: the horses' modules below this package must stay cheap to import.
    if name == "Worker":
        from rqk.worker.worker import Worker

        return Worker
    raise missing(__name__, name)
