"""``Queue(is_async=False)``: the job runs at once in the caller's process, for tests and scripts. Source: docs/protocol.md 3.1, point 6."""

from __future__ import annotations

import asyncio
import inspect
import pkgutil
import traceback
from collections.abc import Callable
from typing import Any

from rqk import clock
from rqk.core import moves
from rqk.core.codec import encode_job
from rqk.core.moves import Attempt
from rqk.core.times import to_epoch
from rqk.current import set_current
from rqk.job import Job
from rqk.store import jobs


def run_now(job: Job, func: Callable[..., Any] | str) -> Job:
    """Run a job's function here and store the outcome, then call its callback. An exception of the function is stored, not raised.

    No time limits apply, and no retries. Exceptions of callbacks are the caller's.
    """
    started = clock.now()
    record = job.record._replace(worker_name="sync", started_at=started)
    job.record = record  # so the function can see that no worker runs it
    value: Any = None
    failure: BaseException | None = None
    set_current(lambda: job)
    try:
        call = job._decoded()
        function = pkgutil.resolve_name(func) if isinstance(func, str) else func
        value = function(*call.args, **call.kwargs)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        raw = None if value is None else job.serializer.dumps(value)
    except Exception as error:
        failure = error
    finally:
        set_current(None)
    now = clock.now()
    attempt = Attempt("", "", to_epoch(started), to_epoch(now))
    if failure is None:
        move = moves.finished(record._replace(repeats_left=None), attempt, raw, now)
    else:
        move = moves.failed(
            record._replace(retries_left=None), attempt, "".join(traceback.format_exception(failure)), now
        )
    move = move._replace(fields={**move.fields, "worker_name": b"sync"})
    jobs.store_ended(job.connection, job.id, record.origin or "", encode_job(record), move)
    if move.job_ttl != "0":
        job.refresh()
    if failure is None and record.success_callback_name:
        pkgutil.resolve_name(record.success_callback_name)(job, job.connection, value)
    elif failure is not None and record.failure_callback_name:
        callback = pkgutil.resolve_name(record.failure_callback_name)
        callback(job, job.connection, type(failure), failure, failure.__traceback__)
    return job
