"""A queue: put calls in, look at what waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from rqk import clock
from rqk.connections import resolve_connection
from rqk.core import keys
from rqk.core.call import Serializer
from rqk.core.codec import encode_job
from rqk.core.records import JobRecord
from rqk.core.states import JobStatus
from rqk.core.times import parse_duration, to_epoch
from rqk.errors import DuplicateJobError, NoSuchJobError
from rqk.foreign import sort_out
from rqk.job import Job
from rqk.making import EnqueueData, dump_meta, new_id, new_record, validate_job_id
from rqk.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rqk.serializers import resolve_serializer
from rqk.store import jobs, queues, transitions
from rqk.store.connect import Client
from rqk.store.transitions import NewJob, Stored
from rqk.sync import run_now

DEFAULT_TIMEOUT = 180  # seconds a job may run


# Keywords of enqueue() that are options of the job and not arguments of the function, under RQ's names.
_OPTIONS = frozenset(EnqueueData._fields) - {"func", "args", "kwargs", "timeout"} | {
    "job_timeout",
    "unique",
    "pipeline",
}


class Queue:
    """A named list of jobs in Redis. Any text is a name; a bare ``Queue()`` is ``default`` on the default connection."""

    def __init__(
        self,
        name: str = "default",
        connection: Client | None = None,
        default_timeout: int | str | None = None,
        is_async: bool = True,
        serializer: Serializer | str | None = None,
        **of_rq: Any,
    ) -> None:
        if of_rq:
            sort_out("Queue", of_rq)
        if not isinstance(name, str) or not name:
            raise ValueError(f"a queue's name is a text that is not empty, not {name!r}")
        if "," in name:
            raise ValueError(f"a queue's name cannot hold a comma, since worker records join names with it: {name!r}")
        self.name = name
        self.connection = resolve_connection(connection)
        self.default_timeout = parse_duration(default_timeout) or DEFAULT_TIMEOUT
        self.is_async = is_async
        self.serializer = resolve_serializer(serializer)

    @classmethod
    def all(cls, connection: Client | None = None, serializer: Serializer | str | None = None) -> list[Queue]:
        """Every queue that a producer has used."""
        client = resolve_connection(connection)
        return [cls(name, client, serializer=serializer) for name in queues.names(client)]

    @classmethod
    def from_queue_key(
        cls, queue_key: str, connection: Client | None = None, serializer: Serializer | str | None = None
    ) -> Queue:
        """A queue from its full key; raises ValueError for another kind of key."""
        return cls(keys.queue_name(queue_key), connection, serializer=serializer)

    # Enqueueing
    def enqueue(self, f: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> Job:
        """Run ``f(*args, **kwargs)`` in a worker, as soon as one is free.

        Keywords that are options and not arguments: job_timeout, result_ttl, ttl, failure_ttl (seconds, or text such as '1h'), description,
        depends_on, job_id, at_front, meta, retry, repeat, on_success, on_failure, on_stopped, unique, pipeline. If ``args=`` or ``kwargs=`` is
        given, these are the function's arguments. Raises TypeError or ValueError for a callable no worker could import, SerializationError
        for arguments that cannot be stored, DuplicateJobError (with unique=True), StoreUnavailable.
        """
        data, unique, pipeline = self._parse(f, args, kwargs)
        return self._enqueue_one(data, unique=unique, pipeline=pipeline)

    def enqueue_call(
        self,
        func: Callable[..., Any] | str,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        timeout: int | str | None = None,
        **options: Any,
    ) -> Job:
        """The same with the function's arguments as a tuple and a dict; options as in :meth:`enqueue`."""
        unique, pipeline = options.pop("unique", False), options.pop("pipeline", None)
        return self._enqueue_one(EnqueueData(func, args, kwargs, timeout, **options), unique=unique, pipeline=pipeline)

    def enqueue_at(self, datetime: datetime, f: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> Job:
        """Run it at a moment (a naive one is local time); workers move it into the queue when it is due."""
        data, unique, pipeline = self._parse(f, args, kwargs)
        return self._enqueue_one(data, due=_moment(datetime), unique=unique, pipeline=pipeline)

    def enqueue_in(self, time_delta: timedelta, func: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> Job:
        """Run it after some time."""
        if not isinstance(time_delta, timedelta):
            raise TypeError(f"enqueue_in takes a timedelta, such as timedelta(minutes=5), not {time_delta!r}")
        return self.enqueue_at(clock.now() + time_delta, func, *args, **kwargs)

    prepare_data = staticmethod(EnqueueData)

    def enqueue_many(
        self, job_datas: Sequence[EnqueueData], pipeline: Any = None, group_id: str | None = None
    ) -> list[Job]:
        """Enqueue many jobs, in order, in about one round trip. Raises ValueError if an id is given twice (nothing is stored
        then), and what :meth:`enqueue` raises; if Redis fails in the midst of it, the first ones may be stored.
        """
        ids = [data.job_id for data in job_datas if data.job_id is not None]
        if len(ids) != len(set(ids)):
            raise ValueError("the same job_id is given more than once")
        now = clock.now()
        made = [self._make(data, now, group_id=group_id) for data in job_datas]
        if pipeline is not None:
            for job, new in made:
                transitions.append(pipeline, new)
            return [job for job, _ in made]
        codes = transitions.enqueue(self.connection, [new for _, new in made], now)
        for (job, _), code in zip(made, codes, strict=True):
            _note(job, code)
        return [job for job, _ in made]

    def create_job(
        self,
        func: Callable[..., Any] | str,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        timeout: int | str | None = None,
        **options: Any,
    ) -> Job:
        """A job of this queue that is not stored yet."""
        return self._make(EnqueueData(func, args, kwargs, timeout, **options), clock.now())[0]

    def enqueue_job(self, job: Job, pipeline: Any = None, at_front: bool = False, unique: bool = False) -> Job:
        """Put a job that exists as an object into this queue."""
        now = clock.now()
        if job._meta:  # noqa: SLF001 - a job's own meta, set before it was stored
            job.record = job.record._replace(meta_raw=dump_meta(job._meta, job.serializer))  # noqa: SLF001
        new = self._place(job, now, at_front=at_front, unique=unique)
        return self._store(job, new, now, pipeline)

    def schedule_job(self, job: Job, datetime: datetime, pipeline: Any = None) -> Job:
        """Put a job that exists as an object into this queue at a moment (a naive one is local time)."""
        now = clock.now()
        if job._meta:  # noqa: SLF001 - as above
            job.record = job.record._replace(meta_raw=dump_meta(job._meta, job.serializer))  # noqa: SLF001
        return self._store(job, self._place(job, now, due=datetime), now, pipeline)

    def _parse(
        self, f: Callable[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[EnqueueData, bool, Any]:
        options = {name: kwargs.pop(name) for name in _OPTIONS & kwargs.keys()}
        unique, pipeline = options.pop("unique", False), options.pop("pipeline", None)
        timeout = options.pop("job_timeout", None)
        if "args" in kwargs or "kwargs" in kwargs:
            if args:
                raise ValueError("give the function's arguments either in place or with args= and kwargs=, not both")
            args, kwargs = kwargs.pop("args", ()) or (), {**(kwargs.pop("kwargs", None) or {}), **kwargs}
        return EnqueueData(f, args, kwargs, timeout, **options), bool(unique), pipeline

    def _make(
        self,
        data: EnqueueData,
        now: datetime,
        *,
        due: datetime | None = None,
        unique: bool = False,
        group_id: str | None = None,
    ) -> tuple[Job, NewJob]:
        timeout = self.default_timeout if data.timeout is None else parse_duration(data.timeout)
        if timeout == 0:
            raise ValueError("timeout=0 is not allowed; use -1 for no limit")
        ttl = parse_duration(data.ttl)
        if ttl is not None and ttl <= 0:
            raise ValueError("ttl must be greater than 0")
        if unique and data.job_id is None:
            raise ValueError("unique=True needs a job_id")
        # The record is made in one go, as it is stored: enqueueing is the producer's hot path.
        record, call = new_record(
            data.func,
            data.args,
            data.kwargs,
            self.serializer,
            id=new_id() if data.job_id is None else validate_job_id(data.job_id),
            now=now,
            status=JobStatus.QUEUED if due is None else JobStatus.SCHEDULED,
            enqueued_at=now if due is None else None,
            origin=self.name,
            description=data.description,
            timeout=timeout,
            result_ttl=data.result_ttl,
            failure_ttl=data.failure_ttl,
            ttl=ttl,
            meta=data.meta,
            group_id=group_id,
            depends_on=data.depends_on,
            retry=data.retry,
            repeat=data.repeat,
            on_success=data.on_success,
            on_failure=data.on_failure,
            on_stopped=data.on_stopped,
            enqueue_at_front=True if due is not None and data.at_front else None,
        )
        job = Job.from_record(record, self.connection, self.serializer, call=call)
        return job, self._new(record, data.at_front, due, unique=unique, new_id=data.job_id is None)

    def _place(
        self, job: Job, now: datetime, *, at_front: bool = False, due: datetime | None = None, unique: bool = False
    ) -> NewJob:
        record: JobRecord = job.record._replace(origin=self.name, timeout=job.record.timeout or self.default_timeout)
        if due is None:
            record = record._replace(status=JobStatus.QUEUED, enqueued_at=now)
        else:
            record = record._replace(
                status=JobStatus.SCHEDULED, enqueue_at_front=True if at_front else record.enqueue_at_front
            )
        job.record = record
        return self._new(record, at_front, due, unique=unique)

    def _new(
        self, record: JobRecord, at_front: bool, due: datetime | None, *, unique: bool, new_id: bool = False
    ) -> NewJob:
        return NewJob(
            record.id,
            self.name,
            encode_job(record),
            place="due" if due is not None else "front" if at_front else "back",
            due=to_epoch(due) if due is not None else 0.0,
            ttl=record.ttl,
            unique=unique,
            group=record.group_id or "",
            depends_on=record.dependency_ids,
            tolerant=bool(record.allow_dependency_failures),
            new_id=new_id,
        )

    def _enqueue_one(
        self, data: EnqueueData, *, due: datetime | None = None, unique: bool = False, pipeline: Any = None
    ) -> Job:
        now = clock.now()
        job, new = self._make(data, now, due=due, unique=unique)
        if not self.is_async and due is None:
            return run_now(job, data.func)
        return self._store(job, new, now, pipeline)

    def _store(self, job: Job, new: NewJob, now: datetime, pipeline: Any) -> Job:
        if pipeline is not None:
            if new.unique or new.depends_on:
                raise ValueError(
                    "unique= and depends_on= need an answer at once and cannot be part of a caller's pipeline"
                )
            transitions.append(pipeline, new)
            return job
        code = transitions.enqueue(self.connection, [new], now)[0]
        if code is Stored.DUPLICATE:
            raise DuplicateJobError(f"a job with id {job.id!r} exists already")
        return _note(job, code)

    # Looking
    @property
    def key(self) -> str:
        """The key of the list."""
        return keys.queue(self.name)

    @property
    def count(self) -> int:
        """How many jobs wait."""
        return queues.length(self.connection, self.name)

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return True

    def is_empty(self) -> bool:
        """Whether none waits."""
        return self.count == 0

    def get_job_ids(self, offset: int = 0, length: int = -1) -> list[str]:
        """Ids of waiting jobs, next first."""
        return queues.job_ids(self.connection, self.name, offset, length)

    def get_jobs(self, offset: int = 0, length: int = -1) -> list[Job]:
        """Waiting jobs, next first."""
        found = Job.fetch_many(self.get_job_ids(offset, length), self.connection, self.serializer)
        return [job for job in found if job is not None]

    @property
    def job_ids(self) -> list[str]:
        """Ids of all waiting jobs."""
        return self.get_job_ids()

    @property
    def jobs(self) -> list[Job]:
        """All waiting jobs."""
        return self.get_jobs()

    def fetch_job(self, job_id: str) -> Job | None:
        """A job of this queue, None if there is none."""
        try:
            job = Job.fetch(job_id, self.connection, self.serializer)
        except NoSuchJobError:
            return None
        return job if job.record.origin == self.name else None

    def get_job_position(self, job_or_id: Job | str) -> int | None:
        """Place of a job, 0 is next."""
        return jobs.position(self.connection, self.name, job_or_id if isinstance(job_or_id, str) else job_or_id.id)

    def remove(self, job_or_id: Job | str) -> int:
        """Take a job out of the list without deleting it."""
        return queues.remove(self.connection, self.name, job_or_id if isinstance(job_or_id, str) else job_or_id.id)

    def empty(self) -> int:
        """Delete all waiting jobs; returns how many."""
        return transitions.empty(self.connection, self.name)

    def delete(self, delete_jobs: bool = True) -> None:
        """Forget the queue, with its waiting jobs unless told otherwise."""
        if delete_jobs:
            self.empty()
        queues.forget(self.connection, self.name)

    @property
    def started_job_registry(self) -> StartedJobRegistry:
        """Jobs that run."""
        return StartedJobRegistry(self.name, self.connection, serializer=self.serializer)

    @property
    def finished_job_registry(self) -> FinishedJobRegistry:
        """Jobs that succeeded."""
        return FinishedJobRegistry(self.name, self.connection, serializer=self.serializer)

    @property
    def failed_job_registry(self) -> FailedJobRegistry:
        """Jobs that failed or were stopped."""
        return FailedJobRegistry(self.name, self.connection, serializer=self.serializer)

    @property
    def deferred_job_registry(self) -> DeferredJobRegistry:
        """Jobs that wait for others."""
        return DeferredJobRegistry(self.name, self.connection, serializer=self.serializer)

    @property
    def scheduled_job_registry(self) -> ScheduledJobRegistry:
        """Jobs that wait for a time."""
        return ScheduledJobRegistry(self.name, self.connection, serializer=self.serializer)

    @property
    def canceled_job_registry(self) -> CanceledJobRegistry:
        """Jobs that were canceled."""
        return CanceledJobRegistry(self.name, self.connection, serializer=self.serializer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Queue) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Queue({self.name!r})"

    def __str__(self) -> str:
        return f"<Queue {self.name}>"


def _moment(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"enqueue_at takes a datetime, not {value!r}")
    return value


def _note(job: Job, code: Stored) -> Job:
    """The job as it is after the server decided where it went."""
    if code is Stored.DEFERRED:
        job.record = job.record._replace(status=JobStatus.DEFERRED, enqueued_at=None)
    return job
