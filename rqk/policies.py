"""What a caller asks for beside the call: retries, repeats, callbacks, dependencies. Names and defaults are RQ's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Union

from rqk.core.payload import callback_name
from rqk.core.retry import LONGEST_WAIT_S
from rqk.core.times import parse_duration

if TYPE_CHECKING:
    from rqk.job import Job

DEFAULT_CALLBACK_TIMEOUT = 60  # seconds


def _intervals(interval: int | Iterable[int]) -> list[int]:
    values = list(interval) if isinstance(interval, Iterable) else [interval]
    if any(not isinstance(value, int) or value < 0 for value in values):
        raise ValueError(f"intervals are seconds, whole and not negative: {values!r}")
    if any(value > LONGEST_WAIT_S for value in values):
        raise ValueError(f"an interval is in seconds and at most {LONGEST_WAIT_S} of them (ten years): {values!r}")
    return values or [0]


class Retry:
    """Try again after an exception, up to ``max`` times, waiting ``interval`` seconds (one number, or one per try).

    Returned from a job's function it asks for a retry without an exception. Raises ValueError for max < 1, and for an
    interval that is negative or longer than ten years.
    """

    def __init__(self, max: int, interval: int | Iterable[int] = 0, enqueue_at_front: bool = False) -> None:  # noqa: A002 - RQ's name
        if max < 1:
            raise ValueError(f"max must be at least 1, not {max}")
        self.max = max
        self.intervals = _intervals(interval)
        self.enqueue_at_front = enqueue_at_front


class Repeat:
    """Run again after success, ``times`` times, waiting ``interval`` seconds (one number, or one per run)."""

    def __init__(self, times: int, interval: int | Iterable[int] = 0) -> None:
        if times < 1:
            raise ValueError(f"times must be at least 1, not {times}")
        self.times = times
        self.intervals = _intervals(interval)


class Callback:
    """A function to be called when a job ends, and its time limit (seconds or text; default 60)."""

    def __init__(self, func: str | Callable[..., Any], timeout: int | str | None = None) -> None:
        self.name = callback_name(func)
        self.func = func
        self.timeout = parse_duration(timeout) or DEFAULT_CALLBACK_TIMEOUT


def as_callback(value: Callback | Callable[..., Any] | str | None) -> Callback | None:
    """A callback from what the user gave."""
    return value if value is None or isinstance(value, Callback) else Callback(value)


JobOrId = Union["Job", str]


class Dependency:
    """Jobs that must end first. ``allow_failure``: a failed one counts too. ``enqueue_at_front``: released to the head of the queue."""

    def __init__(
        self, jobs: JobOrId | Sequence[JobOrId], allow_failure: bool = False, enqueue_at_front: bool = False
    ) -> None:
        many: list[Any] = list(jobs) if isinstance(jobs, (list, tuple)) else [jobs]
        if not many:
            raise ValueError("a Dependency needs at least one job")
        for one in many:
            if not isinstance(one, str) and not hasattr(one, "dependents_key"):
                raise ValueError(f"a Dependency takes jobs or job ids, not {one!r}")
        self.dependencies = many
        self.allow_failure = allow_failure
        self.enqueue_at_front = enqueue_at_front

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, in order."""
        return tuple(one if isinstance(one, str) else one.id for one in self.dependencies)


def as_dependency(value: Any) -> Dependency | None:
    """One Dependency from a job, an id, a Dependency, or a sequence of these; a true flag of one applies to all."""
    if value is None:
        return None
    if isinstance(value, Dependency):
        return value
    many = list(value) if isinstance(value, (list, tuple)) else [value]
    jobs: list[Any] = []
    tolerant = front = False
    for one in many:
        if isinstance(one, Dependency):
            jobs += one.dependencies
            tolerant |= one.allow_failure
            front |= one.enqueue_at_front
        else:
            jobs.append(one)
    return Dependency(jobs, tolerant, front) if jobs else None
