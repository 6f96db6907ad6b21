"""Jobs for the tests of whole workers."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any, NoReturn

import psutil

from rqk import get_current_job
from tests.support.jobs import note, wait_for_file


def note_wait_note(notes: str, gate: str) -> None:
    """Tell the beginning, wait for a file, tell the end."""
    note(notes, "begin")
    wait_for_file(gate)
    note(notes, "end")


def itself() -> dict[str, str]:
    """What the job that runs here is told of itself, without asking Redis."""
    job = get_current_job()
    assert job is not None
    found = {name: getattr(job, name) for name in ("worker_name", "started_at", "last_heartbeat", "enqueued_at")}
    return {"status": job.get_status(refresh=False), **{name: str(value or "") for name, value in found.items()}}


def save_and_wait(how: str, notes: str, gate: str) -> dict[str, str]:
    """Change the meta, store it in one of the ways there are, then wait for a file."""
    job = get_current_job()
    assert job is not None
    job.meta["progress"] = 50
    if how == "save, changed afterwards":
        job.save()
        job.refresh()
        job.meta["progress"] = 50
    if how == "save_meta":
        job.save_meta()
    else:
        job.save()
    note(notes, how)
    if gate:
        wait_for_file(gate)
    job.refresh()
    return {"status": job.get_status(refresh=False), "progress": str(job.meta["progress"]), "how": how}


def save_and_fail(notes: str) -> NoReturn:
    """Store the whole job, then raise."""
    save_and_wait("save", notes, "")
    raise ValueError("on purpose")


def saving_callback(job: Any, connection: Any, *rest: Any) -> None:
    """A callback that stores the whole job, and leaves what it is told of it."""
    connection.rpush("test:callbacks", f"{job.get_status(refresh=False)} {job.worker_name} {bool(job.started_at)}")
    job.meta["told"] = True
    job.save()


def native_sleep(seconds: int) -> None:
    """Stay in one C call: Python's signal handlers run only between two instructions of Python."""
    wait = ctypes.CDLL(None).select
    left = (ctypes.c_long * 2)(seconds, 0)
    # Linux writes the time that is left into the structure when a signal interrupts; here it starts anew in C's own loop.
    ctypes.CDLL(None).sigprocmask(0, (ctypes.c_ulong * 16)(*[2**64 - 1] * 16), None)
    wait(0, None, None, None, left)


def eat_and_die(mebibytes: int, number: int) -> None:
    """Take memory, touch it, and send this process a signal."""
    taken = bytearray(mebibytes << 20)
    taken[:: 1 << 12] = b"x" * len(taken[:: 1 << 12])
    os.kill(os.getpid(), number)


def count(number: int) -> int:
    """Count with prometheus_client, in this fork only."""
    from prometheus_client import REGISTRY, Counter, Histogram

    names = {metric.name for metric in REGISTRY.collect()}
    if "live_done" not in names:
        Counter("live_done", "What jobs have done.", ["kind"]).labels("plain").inc(number)
        Histogram("live_size", "How large.", buckets=[1, 10]).observe(number)
    return number


def kill_supervisor(notes: str) -> None:
    """Take the worker down: the grandparent of this process."""
    note(notes, "run")
    horse = psutil.Process()
    zygote = horse.parent()
    supervisor = zygote.parent() if zygote is not None else None
    # Nobody else, whatever has become of the processes above this one.
    assert supervisor is not None
    assert "rqk" in supervisor.cmdline()
    supervisor.kill()
    time.sleep(60)
