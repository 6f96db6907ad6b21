"""Jobs for the tests of horses: small functions that do what users' code does, and what it should not."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from rqk import get_current_job
from rqk.policies import Retry

imported_at = time.time()


def add(left: int, right: int = 1) -> int:
    """Return a sum."""
    return left + right


async def add_later(left: int, right: int) -> int:
    """Return a sum, from a coroutine."""
    await asyncio.sleep(0)
    return left + right


async def sleep_for_ever() -> None:
    """Wait in an event loop."""
    await asyncio.Event().wait()


def divide(left: int, right: int) -> float:
    """Divide; by zero it raises."""
    return left / right


def itself() -> list[Any]:
    """Tell what the job is told of itself."""
    job = get_current_job()
    assert job is not None
    assert job.started_at is not None
    assert job.last_heartbeat is not None
    times = job.started_at.timestamp(), job.last_heartbeat.timestamp()
    return [str(job.get_status(refresh=False)), job.worker_name, *times]


def whoami() -> dict[str, Any]:
    """Tell what a job can see of its surroundings."""
    job = get_current_job()
    return {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "pgid": os.getpgid(0),
        "stdin": sys.stdin.read(),
        "job": job and job.id,
        "origin": job and job.origin,
        "env": [os.environ[name] for name in ("RQ_WORKER_ID", "RQ_JOB_ID", "RQ_EXECUTION_ID")],
        "signals": {
            name: str(signal.getsignal(getattr(signal, name))) for name in ("SIGINT", "SIGTERM", "SIGCHLD", "SIGHUP")
        },
        "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "imported_at": imported_at,
        "threads": threading.active_count(),
    }


def look() -> tuple[Any, ...]:
    """Look at the own job in all the ways a job can."""
    job = get_current_job()
    assert job is not None
    missing = hasattr(job, "no_such_attribute")
    return (job.id, job.description, job.result_ttl, job.origin, job.meta, missing, job.func_name, job.connection)


def spin(seconds: float = 60.0) -> None:
    """Wait in Python code."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


def swallow(path: str) -> str:
    """Swallow the first time-out, as a bare except would; the second gets through."""
    try:
        spin()
    except BaseException as error:  # what careless code does
        Path(path).write_text(f"swallowed {error}")
    spin()
    return "never"


def deaf(path: str) -> None:
    """Block everything that a soft limit can do, and say when."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})
    Path(path).write_text("deaf")
    spin()


def own_alarm() -> str:
    """Use the alarm for oneself."""
    rung = []
    signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    while not rung:
        time.sleep(0.001)
    return "rung"


def leave(code: int) -> NoReturn:
    """Raise SystemExit."""
    sys.exit(code)


def interrupt() -> NoReturn:
    """Raise KeyboardInterrupt."""
    raise KeyboardInterrupt


def vanish(code: int) -> NoReturn:
    """End the process without a word."""
    os._exit(code)


def segfault() -> None:
    """Read memory that is not there."""
    ctypes.string_at(0)


def die_by(number: int) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), number)
    spin()


def eat(mebibytes: int) -> int:
    """Take memory and touch it."""
    return len(bytearray(mebibytes << 20))


def peak() -> int:
    """Return this process's peak memory so far, in KiB, from the kernel's own words."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def unpicklable() -> Any:
    """Return what no serializer takes."""
    return threading.Lock()


class Nameless(Exception):
    """An exception that cannot be put into words."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def raise_nameless() -> NoReturn:
    """Raise it."""
    raise Nameless


def raise_long(characters: int) -> NoReturn:
    """Raise an exception with a long text."""
    raise ValueError("begin" + "x" * characters + "the end")


class Odd:
    """A value whose repr raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def return_odd() -> Odd:
    """Return it."""
    return Odd()


def try_again() -> Retry:
    """Ask for a retry."""
    return Retry(max=3, interval=[1, 2])


def with_children(path: str) -> None:
    """Start a grandchild, write its pid, and wait."""
    child = subprocess.Popen(["sleep", "600"])
    Path(path).write_text(f"{os.getpid()} {child.pid}")
    spin()


def with_children_then_crash(path: str) -> None:
    """Start a grandchild, write its pid, and die."""
    child = subprocess.Popen(["sleep", "600"])
    Path(path).write_text(f"{os.getpid()} {child.pid}")
    os._exit(3)


def fork_and_return() -> str:
    """Fork, and let both come back, as careless code does."""
    return "child" if os.fork() == 0 else "parent"


def close_everything() -> str:
    """Close all descriptors, as daemons do."""
    os.closerange(3, 1024)
    return "closed"


def pool() -> list[int]:
    """Use processes of one's own."""
    with multiprocessing.get_context("fork").Pool(2) as workers:
        return workers.map(abs, [-1, -2])


def shout(path: str, text: str) -> None:
    """Print, buffered, into a file."""
    sys.stdout = open(path, "w", encoding="utf-8")  # noqa: SIM115 - the horse has to flush it
    print(text)


# Callbacks write what they got into the file whose name is the job's description.
def _note(job: Any, text: str) -> None:
    with open(job.description, "a", encoding="utf-8") as file:
        file.write(text + "\n")


def on_success(job: Any, connection: Any, result: Any) -> None:
    """Note a result."""
    _note(job, f"success {job.id} {connection} {result}")


def on_failure(job: Any, connection: Any, kind: type, value: BaseException, trace: Any) -> None:
    """Note a failure."""
    _note(job, f"failure {job.id} {connection} {kind.__name__} {value} {trace is not None}")


def on_stopped(job: Any, connection: Any) -> None:
    """Note a stop."""
    _note(job, f"stopped {job.id} {connection}")


def broken_callback(*args: Any) -> None:
    """Raise."""
    raise LookupError(f"callback broke with {len(args)} arguments")


def slow_callback(*args: Any) -> None:
    """Take too long."""
    spin()


async def async_callback(*args: Any) -> None:
    """Be of the wrong kind."""
