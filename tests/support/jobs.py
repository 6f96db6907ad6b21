"""Functions that test jobs call, in our worker and in real RQ's; so this module imports the standard library only."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any, NoReturn


def add(left: int, right: int = 0) -> int:
    """The sum."""
    return left + right


def describe(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """What was given, in types that any serializer can carry."""
    return {"args": list(args), "kwargs": kwargs}


def note(path: str, word: str) -> str:
    """Append a line to a file in one atomic write; the file tells afterwards what ran, how often and in which order."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{word}\n".encode())
    finally:
        os.close(descriptor)
    return word


def fail(text: str = "on purpose") -> NoReturn:
    """Raise a ValueError."""
    raise ValueError(text)


def fail_times(path: str, times: int) -> str:
    """Raise on the first ``times`` calls that share the file, then return."""
    note(path, "call")
    calls = len(Path(path).read_text().splitlines())
    if calls <= times:
        raise ValueError(f"call {calls}")
    return f"call {calls}"


def wait_for_file(path: str, timeout: float = 60.0) -> str:
    """Return when the file exists: how a test holds a job in its running state."""
    deadline = time.monotonic() + timeout
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.01)
    return path


def note_and_wait(notes: str, word: str, gate: str) -> str:
    """Tell that the job began, then wait for the gate file."""
    note(notes, word)
    wait_for_file(gate)
    return word


def nap(seconds: float) -> float:
    """Sleep: a job of known length, for timeouts and load."""
    time.sleep(seconds)
    return seconds


def note_and_nap(notes: str, word: str, seconds: float) -> str:
    """Tell that the job began, then sleep."""
    note(notes, word)
    time.sleep(seconds)
    return word


def kill_self(number: int = signal.SIGKILL) -> None:
    """End the process that runs the job with a signal."""
    os.kill(os.getpid(), number)


def leave(code: int = 3) -> None:
    """End the process that runs the job without a word."""
    os._exit(code)


async def later(value: Any) -> Any:
    """A coroutine function."""
    await asyncio.sleep(0)
    return value


class Counter:
    """An object whose methods are jobs."""

    step = 10

    def __init__(self, start: int = 0) -> None:
        self.start = start

    def up(self, by: int) -> int:
        """A bound method."""
        return self.start + by

    def __call__(self, by: int) -> int:
        """A callable instance."""
        return self.start + 100 * by

    @classmethod
    def of_class(cls, by: int) -> int:
        """A class method."""
        return cls.step + by

    @staticmethod
    def of_nobody(by: int) -> int:
        """A static method."""
        return by + 1


def environment(*names: str) -> dict[str, str | None]:
    """Environment variables as the job sees them."""
    return {name: os.environ.get(name) for name in names}


def on_success(job: Any, connection: Any, result: Any) -> None:
    """A success callback that leaves a trace in Redis."""
    connection.rpush("test:callbacks", f"success {job.id} {result!r}")


def on_failure(job: Any, connection: Any, kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """A failure callback that leaves a trace in Redis."""
    connection.rpush("test:callbacks", f"failure {job.id} {kind.__name__} {error}")


def on_stopped(job: Any, connection: Any) -> None:
    """A stopped callback that leaves a trace in Redis."""
    connection.rpush("test:callbacks", f"stopped {job.id}")


def failing_callback(job: Any, connection: Any, *rest: Any) -> NoReturn:
    """A callback that raises."""
    raise RuntimeError("the callback failed")


def unpicklable() -> Any:
    """A return value that no serializer takes."""
    return lambda: None


def blob(size: int) -> bytes:
    """A large return value."""
    return b"x" * size


def length(data: bytes) -> int:
    """The length of a large argument."""
    return len(data)


def note_twice(path: str) -> None:
    """Tell when this job begins and when it is done, in lines with its id."""
    job_id = os.environ["RQ_JOB_ID"]
    note(path, f"begin:{job_id}")
    time.sleep(0.005)
    note(path, f"end:{job_id}")
