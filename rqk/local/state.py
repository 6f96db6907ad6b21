"""What ``rqk up`` knows at one moment, as plain data: what the live view draws and what ``stop_when`` looks at."""

from __future__ import annotations

from dataclasses import dataclass

from rqk.autoscale.retire import Duty


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue. ``None`` where Redis did not tell."""

    name: str
    waiting: int | None = None
    running: int | None = None
    finished: int | None = None
    failed: int | None = None
    oldest_wait: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker process."""

    name: str
    pid: int
    duty: Duty
    leaving: bool = False
    job: str | None = None


@dataclass(frozen=True, slots=True)
class PoolState:
    """One pool."""

    name: str
    redis: str
    queues: tuple[QueueState, ...]
    workers: tuple[WorkerState, ...]
    max_replicas: int
    desired: int = 0
    reason: str = ""
    message: str = ""
    # Sizes at the last looks, the newest last.
    sizes: tuple[int, ...] = ()
    waiting_before: tuple[int, ...] = ()
    trouble: str | None = None
    dry_run: bool = False

    @property
    def size(self) -> int:
        """Workers that are not on their way out."""
        return sum(1 for worker in self.workers if not worker.leaving)

    @property
    def quiet(self) -> bool:
        """Nothing waits and nothing runs, as far as is known; unknown is not quiet."""
        busy = any(worker.duty is Duty.BUSY for worker in self.workers)
        return (
            self.trouble is None
            and not busy
            and all(queue.waiting == 0 and queue.running == 0 for queue in self.queues)
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of it all. Waits are seconds from enqueue to start, of a sample if there were many jobs."""

    jobs: int = 0
    failures: int = 0
    peak_workers: int = 0
    crashes: int = 0
    wait_p50: float | None = None
    wait_p95: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class UpState:
    """Everything."""

    pools: tuple[PoolState, ...]
    summary: Summary
    # Jobs ended per second, lately.
    rate: float = 0.0
    # The last things that happened, oldest first.
    notes: tuple[str, ...] = ()
    stopping: bool = False

    @property
    def size(self) -> int:
        return sum(pool.size for pool in self.pools)

    @property
    def quiet(self) -> bool:
        return all(pool.quiet for pool in self.pools)

    @property
    def at_rest(self) -> bool:
        """Quiet, and every pool empty: scaled back to zero."""
        return self.quiet and not any(pool.workers for pool in self.pools)
