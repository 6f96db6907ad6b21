"""``Queue(is_async=False)``: the job runs at once in the caller's process, for tests and scripts. Source: docs/protocol.md 3.1, point 6."""

from __future__ import annotations

import asyncio
import inspect
import pkgutil
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rqk import clock
from rqk.core import moves
from rqk.core.codec import encode_job
from rqk.core.moves import Attempt
from rqk.job import Job, set_current
from rqk.store import jobs


def run_now(job: Job, func: Callable[..., Any] | str) -> Job:
    """Run a job's function here and store the outcome. An exception of the function is stored, not raised; no time limit applies."""
    started = clock.now()
    record = replace(job.record, worker_name="sync", started_at=started)
    set_current(job)
    try:
        call = job._decoded()  # noqa: SLF001 - the call as it was made, before any serializer saw it
        function = pkgutil.resolve_name(func) if isinstance(func, str) else func
        value = function(*call.args, **call.kwargs)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        attempt = Attempt("", "", started, clock.now())
        raw = None if value is None else job.serializer.dumps(value)
        move = moves.finished(replace(record, repeats_left=None), attempt, raw, clock.now())
    except Exception:  # noqa: BLE001 - whatever the user's function raises is its outcome
        attempt = Attempt("", "", started, clock.now())
        move = moves.failed(replace(record, retries_left=None), attempt, traceback.format_exc(), clock.now())
    finally:
        set_current(None)
    move = move._replace(fields={**move.fields, "worker_name": b"sync"})
    jobs.store_ended(job.connection, job.id, record.origin or "", encode_job(record), move)
    job.refresh() if move.job_ttl != "0" else None
    return job
