"""Registries as users hold them: which jobs of a queue run, finished, failed, wait. Counting never changes anything."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from rqk import clock
from rqk.connections import resolve_connection
from rqk.core import keys
from rqk.core.call import Serializer
from rqk.core.times import from_epoch
from rqk.errors import InvalidJobOperation, NoSuchJobError
from rqk.job import Job
from rqk.serializers import resolve_serializer
from rqk.store import registries, transitions
from rqk.store.connect import Client

if TYPE_CHECKING:
    from rqk.queue import Queue


class BaseRegistry:
    """One registry of one queue."""

    registry: ClassVar[str] = ""

    def __init__(
        self,
        name: str = "default",
        connection: Client | None = None,
        *,
        queue: Queue | None = None,
        serializer: Serializer | str | None = None,
    ) -> None:
        self.name = queue.name if queue is not None else name
        self.connection = resolve_connection(queue.connection if queue is not None else connection)
        self.serializer = resolve_serializer(serializer)

    @property
    def key(self) -> str:
        """The key of the sorted set."""
        return registries.KEYS[self.registry](self.name)

    @property
    def count(self) -> int:
        """How many entries."""
        return registries.count(self.connection, self.registry, self.name)

    def get_job_count(self, cleanup: bool = False) -> int:
        """The same; ``cleanup`` is taken for RQ's sake and does nothing, since workers do the cleaning."""
        return self.count

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return True

    def get_job_ids(self, start: int = 0, end: int = -1, desc: bool = False, cleanup: bool = False) -> list[str]:
        """Ids by score."""
        return [
            keys.parse_lease(member)[0]
            for member in registries.members(self.connection, self.registry, self.name, start, end, desc=desc)
        ]

    def get_queue(self) -> Queue:
        """The queue it belongs to."""
        from rqk.queue import Queue

        return Queue(self.name, self.connection, serializer=self.serializer)

    def get_expiration_time(self, job_or_id: Job | str) -> datetime | None:
        """The time that an entry is ordered by: when a finished or failed job goes (None: never), when a running one's lease ends
        unless it is renewed, when a scheduled one is due, when others came in. Raises NoSuchJobError if it is not here.
        """
        score = self._score(job_or_id if isinstance(job_or_id, str) else job_or_id.id)
        if score is None:
            raise NoSuchJobError(f"there is no job {job_or_id!r} in {self!r}")
        return from_epoch(score) if 0 <= score < math.inf else None

    def cleanup(self, timestamp: float | None = None) -> None:
        """Taken for RQ's sake: what is over in this registry, workers find and settle."""

    def _score(self, job_id: str) -> float | None:
        return registries.score(self.connection, self.registry, self.name, job_id)

    def __contains__(self, item: Job | str) -> bool:
        job_id = item if isinstance(item, str) else item.id
        return self._score(job_id) is not None

    def requeue(self, job_or_id: Job | str, at_front: bool = False) -> Job:
        """Put a job of this registry back into its queue. Raises InvalidJobOperation if it is not here, NoSuchJobError if it is gone."""
        job_id = job_or_id if isinstance(job_or_id, str) else job_or_id.id
        done = transitions.requeue(self.connection, self.registry, self.name, job_id, clock.now(), at_front=at_front)
        if done is transitions.Requeued.NOT_THERE:
            raise InvalidJobOperation(f"job {job_id} is not among the {self.registry} jobs of queue {self.name!r}")
        if done is transitions.Requeued.GONE:
            raise NoSuchJobError(f"No such job: {job_id}")
        return Job.fetch(job_id, self.connection, self.serializer)

    def remove(self, job_or_id: Job | str, delete_job: bool = False) -> int:
        """Take an entry out, deleting its job if asked to; returns how many went."""
        job_id = job_or_id if isinstance(job_or_id, str) else job_or_id.id
        removed = registries.remove(self.connection, self.registry, self.name, job_id)
        if delete_job:
            transitions.delete(self.connection, [job_id], clock.now())
        return removed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseRegistry) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class _ExpiringRegistry(BaseRegistry):
    """Entries go at the time they are ordered by."""

    def cleanup(self, timestamp: float | None = None) -> None:
        """Take out jobs whose time is over (at ``timestamp``, epoch seconds; None: now), as workers do all the time."""
        until = registries.server_epoch(self.connection) if timestamp is None else int(timestamp)
        registries.remove_until(self.connection, self.registry, self.name, until)


class StartedJobRegistry(BaseRegistry):
    """Jobs that run now."""

    registry = "started"

    def _score(self, job_id: str) -> float | None:
        # Entries are named after the attempt, too; of several the last one to end.
        leases = [lease for lease in self.get_job_and_execution_ids() if lease[0] == job_id]
        found = [super(StartedJobRegistry, self)._score(keys.lease(*lease)) for lease in leases]
        return max((score for score in found if score is not None), default=None)

    def get_job_and_execution_ids(self) -> list[tuple[str, str]]:
        """Job ids with the attempt each runs under."""
        return [keys.parse_lease(member) for member in registries.members(self.connection, self.registry, self.name)]

    def requeue(self, job_or_id: Any, at_front: bool = False) -> Job:
        """A running job cannot be requeued."""
        raise InvalidJobOperation("a running job cannot be requeued; stop it first")

    def remove(self, job_or_id: Any, delete_job: bool = False) -> int:
        """Entries of running jobs belong to their workers."""
        raise NotImplementedError("entries of running jobs belong to their workers")


class FinishedJobRegistry(_ExpiringRegistry):
    """Jobs that succeeded, until their results expire."""

    registry = "finished"


class FailedJobRegistry(_ExpiringRegistry):
    """Jobs that failed or were stopped."""

    registry = "failed"


class DeferredJobRegistry(BaseRegistry):
    """Jobs that wait for other jobs."""

    registry = "deferred"


class CanceledJobRegistry(BaseRegistry):
    """Jobs that were canceled."""

    registry = "canceled"


class ScheduledJobRegistry(BaseRegistry):
    """Jobs that wait for a time."""

    registry = "scheduled"

    def get_scheduled_time(self, job_or_id: Job | str) -> datetime:
        """When a job is due. Raises NoSuchJobError if it is not scheduled."""
        job_id = job_or_id if isinstance(job_or_id, str) else job_or_id.id
        score = self._score(job_id)
        if score is None:
            raise NoSuchJobError(f"job {job_id} is not scheduled in queue {self.name!r}")
        return from_epoch(score)
