"""What is known about a pool at one instant. ``None`` means unknown, which is never the same as zero."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class QueueSeen:
    """One queue."""

    name: str
    waiting: int | None
    # Scheduled jobs whose time has come; 0 where no worker of the pool would move them into the queue.
    due: int = 0
    # Seconds that the first job has waited; None if nothing waits or it cannot be told.
    oldest_wait: float | None = None


@dataclass(frozen=True, slots=True)
class Counter:
    """What one worker has done since it started: jobs ended, and the seconds they took together."""

    worker: str
    jobs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkersSeen:
    """The pool's own workers by what they do; a retiring or leaving one is no longer part of the pool's size."""

    idle: int = 0
    busy: int = 0
    # Asked for, but not yet in Redis.
    starting: int = 0
    retiring: int = 0
    counters: tuple[Counter, ...] = ()


@dataclass(frozen=True)
class Observation:
    """All of it. ``replicas`` is the size that the pool was last given, as the platform has it."""

    # No slots: the sums are asked for several times in each decision and are kept.

    replicas: int
    queues: tuple[QueueSeen, ...]
    workers: WorkersSeen | None
    # Started jobs that no live worker holds: their worker died, and only a living one can find them.
    abandoned: int = 0
    # All workers of this Redis were told to pause (`rqk suspend`).
    suspended: bool = False

    @cached_property
    def readable(self) -> bool:
        return all(queue.waiting is not None for queue in self.queues)

    @cached_property
    def waiting(self) -> int:
        """Jobs in the queues that could be read."""
        return sum(queue.waiting or 0 for queue in self.queues)

    @cached_property
    def due(self) -> int:
        return sum(queue.due for queue in self.queues)

    @cached_property
    def oldest_wait(self) -> float | None:
        return max((queue.oldest_wait for queue in self.queues if queue.oldest_wait is not None), default=None)

    @property
    def busy(self) -> int:
        return self.workers.busy if self.workers is not None else 0
