"""A job as users hold it: fetch it, ask how it fares, read its result, cancel, requeue or delete it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from rqk import clock
from rqk.connections import resolve_connection
from rqk.core import keys
from rqk.core.call import Call, Serializer
from rqk.core.records import JobRecord
from rqk.core.states import JobStatus
from rqk.current import current
from rqk.errors import InvalidJobOperation, NoSuchJobError
from rqk.making import dump_meta, load_meta, new_id, new_record, validate_job_id
from rqk.policies import Callback, Dependency, Repeat, Retry
from rqk.result import Result
from rqk.serializers import resolve_serializer
from rqk.store import jobs, transitions
from rqk.store import results as streams
from rqk.stored import StoredJob

if TYPE_CHECKING:
    from rqk.execution import Execution
    from rqk.store.connect import Client

# RQ's users import these from here, too.
__all__ = [
    "Callback",
    "Dependency",
    "Job",
    "JobStatus",
    "Repeat",
    "Retry",
    "cancel_job",
    "get_current_job",
    "requeue_job",
]


def get_current_job(connection: Client | None = None) -> Job | None:
    """The job whose function is running here; None outside a job."""
    return cast("Job | None", current())


def cancel_job(
    job_id: str,
    connection: Client | None = None,
    serializer: Serializer | str | None = None,
    enqueue_dependents: bool = False,
) -> None:
    """``Job.fetch(…).cancel(…)`` in one word. Raises NoSuchJobError, InvalidJobOperation."""
    Job.fetch(job_id, connection, serializer).cancel(enqueue_dependents=enqueue_dependents)


def requeue_job(job_id: str, connection: Client | None = None, serializer: Serializer | str | None = None) -> Job:
    """``Job.fetch(…).requeue()`` in one word. Raises NoSuchJobError, InvalidJobOperation."""
    return Job.fetch(job_id, connection, serializer).requeue()


def _asked_id(given: str) -> str:
    """The job's id of an id, or of ``<job>:<execution>``."""
    if not isinstance(given, str):
        raise TypeError(f"a job id is text, not {given!r}")
    return keys.parse_lease(given)[0]


class Job(StoredJob):
    """One job. Attributes are those of the moment it was fetched; ``refresh()`` and ``get_status()`` ask Redis again."""

    def __init__(
        self,
        id: str | None = None,  # noqa: A002 - RQ's name
        connection: Client | None = None,
        serializer: Serializer | str | None = None,
        *,
        record: JobRecord | None = None,
        connection_factory: Callable[[], Client] | None = None,
    ) -> None:
        self.record = record or JobRecord(
            id=validate_job_id(id) if id is not None else new_id(), created_at=clock.now()
        )
        self.serializer = resolve_serializer(serializer)
        self._connection = connection
        self._connection_factory = connection_factory
        self._call: Call | None = None
        self._meta: dict[str, Any] | None = None

    @classmethod
    def from_record(
        cls,
        record: JobRecord,
        connection: Client | None = None,
        serializer: Serializer | str | None = None,
        connection_factory: Callable[[], Client] | None = None,
        call: Call | None = None,
    ) -> Job:
        """A job from its record; the connection is made when it is first needed."""
        job = cls(connection=connection, serializer=serializer, record=record, connection_factory=connection_factory)
        job._call = call
        return job

    @classmethod
    def create(
        cls,
        func: Callable[..., Any] | str,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        connection: Client | None = None,
        result_ttl: int | str | None = None,
        ttl: int | str | None = None,
        status: JobStatus | None = None,
        description: str | None = None,
        depends_on: Any = None,
        timeout: int | str | None = None,
        retry: Retry | None = None,
        id: str | None = None,  # noqa: A002 - RQ's name
        origin: str = "",
        meta: dict[str, Any] | None = None,
        failure_ttl: int | str | None = None,
        serializer: Serializer | str | None = None,
        group_id: str | None = None,
        *,
        repeat: Repeat | None = None,
        on_success: Callback | Callable[..., Any] | str | None = None,
        on_failure: Callback | Callable[..., Any] | str | None = None,
        on_stopped: Callback | Callable[..., Any] | str | None = None,
    ) -> Job:
        """A job that is not stored yet.

        Raises TypeError or ValueError for a callable that no worker could import, SerializationError for arguments that cannot be stored.
        """
        used = resolve_serializer(serializer)
        record, call = new_record(
            func,
            args,
            kwargs,
            used,
            id=new_id() if id is None else validate_job_id(id),
            now=clock.now(),
            status=status or JobStatus.CREATED,
            origin=origin,
            description=description,
            timeout=timeout,
            result_ttl=result_ttl,
            failure_ttl=failure_ttl,
            ttl=ttl,
            meta=meta,
            group_id=group_id,
            depends_on=depends_on,
            retry=retry,
            repeat=repeat,
            on_success=on_success,
            on_failure=on_failure,
            on_stopped=on_stopped,
        )
        return cls.from_record(record, connection, used, call=call)

    # Finding jobs
    @classmethod
    def fetch(cls, id: str, connection: Client | None = None, serializer: Serializer | str | None = None) -> Job:  # noqa: A002
        """The job with this id (``<job>:<execution>`` will do too). Raises NoSuchJobError."""
        client = resolve_connection(connection)
        return cls.from_record(jobs.fetch(client, _asked_id(id)), client, serializer)

    @classmethod
    def fetch_many(
        cls, job_ids: Iterable[str], connection: Client | None = None, serializer: Serializer | str | None = None
    ) -> list[Job | None]:
        """Jobs in the given order, None for those that are gone."""
        client = resolve_connection(connection)
        ids = [_asked_id(one) for one in job_ids]
        return [
            cls.from_record(record, client, serializer) if record else None for record in jobs.fetch_many(client, ids)
        ]

    @classmethod
    def exists(cls, job_id: str, connection: Client | None = None) -> bool:
        """Whether there is such a job."""
        return jobs.exists(resolve_connection(connection), job_id)

    @staticmethod
    def key_for(job_id: str) -> bytes:
        """The Redis key of a job's hash."""
        return keys.job(job_id).encode()

    @property
    def connection(self) -> Client:
        """The Redis client; made on first use inside a worker."""
        if self._connection is None:
            self._connection = self._connection_factory() if self._connection_factory else resolve_connection()
        return self._connection

    @property
    def _client(self) -> Client:
        return resolve_connection(self.connection)

    # How it fares
    def get_status(self, refresh: bool = True) -> JobStatus:
        """The status, from Redis unless refresh is False. Raises InvalidJobOperation if the job is gone."""
        if refresh:
            self.record = self.record._replace(status=jobs.status(self._client, self.id))
        if self.record.status is None:
            raise InvalidJobOperation(f"Failed to retrieve status for job: {self.id}")
        return self.record.status

    def set_status(self, status: JobStatus, pipeline: Any = None) -> None:
        """Store a status; the job stays in the queue or registry in which it is."""
        jobs.write(self._client if pipeline is None else pipeline, self.id, {"status": JobStatus(status).encode()})
        self.record = self.record._replace(status=JobStatus(status))

    # Each asks Redis.
    is_queued = property(lambda self: self.get_status() is JobStatus.QUEUED, doc="Whether the status is queued.")
    is_started = property(lambda self: self.get_status() is JobStatus.STARTED, doc="Whether the status is started.")
    is_finished = property(lambda self: self.get_status() is JobStatus.FINISHED, doc="Whether the status is finished.")
    is_failed = property(lambda self: self.get_status() is JobStatus.FAILED, doc="Whether the status is failed.")
    is_deferred = property(lambda self: self.get_status() is JobStatus.DEFERRED, doc="Whether the status is deferred.")
    is_scheduled = property(
        lambda self: self.get_status() is JobStatus.SCHEDULED, doc="Whether the status is scheduled."
    )
    is_canceled = property(lambda self: self.get_status() is JobStatus.CANCELED, doc="Whether the status is canceled.")
    is_stopped = property(lambda self: self.get_status() is JobStatus.STOPPED, doc="Whether the status is stopped.")

    def refresh(self) -> None:
        """Read the job again. Raises NoSuchJobError."""
        self.record = jobs.fetch(self._client, self.id)
        self._call = self._meta = None
        self._changed = frozenset()

    def get_position(self) -> int | None:
        """Place in its queue, 0 is next; None if it does not wait there."""
        return jobs.position(self._client, self.record.origin or "", self.id)

    def get_executions(self) -> list[Execution]:
        """Attempts that are under way."""
        from rqk.execution import Execution

        return Execution.of_job(self.id, self._client)

    # Results
    def latest_result(self, timeout: float = 0) -> Result | None:
        """The newest result; waits up to ``timeout`` seconds for the first one."""
        entry = streams.wait(self._client, self.id, timeout) if timeout > 0 else streams.newest(self._client, self.id)
        return self._result(entry) if entry else None

    def results(self) -> list[Result]:
        """All results that are kept, newest first."""
        return [self._result(entry) for entry in streams.all_of(self._client, self.id)]

    def _result(self, entry: streams.Entry) -> Result:
        entry_id, created, record = entry
        return Result(entry_id, self.id, record.type, created, record, self.serializer)

    def return_value(self, refresh: bool = False) -> Any:
        """What the function returned; None if it has not succeeded (yet)."""
        latest = self.latest_result()
        if latest is not None:
            return latest.return_value if latest.type is Result.Type.SUCCESSFUL else None
        return self.serializer.loads(self.record.result_raw) if self.record.result_raw else None

    @property
    def result(self) -> Any:
        """RQ's older name of :meth:`return_value`."""
        return self.return_value()

    @property
    def exc_info(self) -> str | None:
        """The traceback of the newest failure."""
        latest = self.latest_result()
        return latest.exc_string if latest else None

    # Meta
    @property
    def meta(self) -> dict[str, Any]:
        """The user's dictionary; stored by save_meta()."""
        if self._meta is None:
            self._meta = load_meta(self.record.meta_raw, self.serializer)
        return self._meta

    @meta.setter
    def meta(self, value: dict[str, Any]) -> None:
        self._meta = value

    def get_meta(self, refresh: bool = True) -> dict[str, Any]:
        """The dictionary, from Redis unless refresh is False."""
        if refresh:
            self.record = self.record._replace(meta_raw=jobs.fetch(self._client, self.id).meta_raw)
            self._meta = None
        return self.meta

    def save_meta(self) -> None:
        """Store the dictionary."""
        raw = dump_meta(self.meta, self.serializer)
        jobs.write(self._client, self.id, {"meta": raw})
        self.record = self.record._replace(meta_raw=raw)

    # Acting
    def save(self) -> None:
        """Store the job's fields. Of a job that is stored already, what queues and workers write (status, times, worker) stays."""
        if self._meta:
            self.record = self.record._replace(meta_raw=dump_meta(self._meta, self.serializer))
        jobs.save(self._client, self.record, self._changed)
        self._changed = frozenset()

    def cancel(self, enqueue_dependents: bool = False, remove_from_dependencies: bool = False) -> None:
        """Take the job out of its queue or registry and mark it canceled; a running job is not interrupted.

        Raises InvalidJobOperation if it is canceled already, NoSuchJobError if it is gone.
        """
        done = transitions.cancel(
            self._client,
            self.id,
            clock.now(),
            release_dependents=enqueue_dependents,
            leave_dependencies=remove_from_dependencies,
        )
        if done is transitions.Canceled.GONE:
            raise NoSuchJobError(f"No such job: {self.id}")
        if done is transitions.Canceled.ALREADY:
            raise InvalidJobOperation(f"Cannot cancel already canceled job: {self.id}")
        self.record = self.record._replace(status=JobStatus.CANCELED)

    def requeue(self, at_front: bool = False) -> Job:
        """Put a failed job back into its queue. Raises InvalidJobOperation if it is not in the failed registry."""
        done = transitions.requeue(
            self._client, "failed", self.record.origin or "", self.id, clock.now(), at_front=at_front
        )
        if done is not transitions.Requeued.DONE:
            raise InvalidJobOperation(
                f"Cannot requeue job {self.id}: it is not among the failed jobs of queue {self.record.origin!r}"
            )
        self.refresh()
        return self

    def delete(self, remove_from_queue: bool = True, delete_dependents: bool = False) -> None:
        """Remove the job, its results and its traces; a running job is not interrupted."""
        transitions.delete(
            self._client, [self.id], clock.now(), from_list=remove_from_queue, dependents=delete_dependents
        )

    @property
    def dependency_ids(self) -> list[str]:
        """Ids of the jobs it waits or waited for."""
        return jobs.ids_in(self._client, self.dependencies_key) or list(self.record.dependency_ids)

    @property
    def dependency(self) -> Job | None:
        """The first of the jobs it waits or waited for; None if there is none (any more)."""
        return next(iter(self.fetch_dependencies()), None)

    def fetch_dependencies(self) -> list[Job]:
        """The jobs it waits or waited for, as far as they still exist."""
        found = Job.fetch_many(self.dependency_ids, self._client, self.serializer)
        return [job for job in found if job is not None]

    @property
    def dependent_ids(self) -> list[str]:
        """Ids of the jobs that wait for it."""
        return jobs.ids_in(self._client, self.dependents_key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"Job({self.id!r}, enqueued_at={self.record.enqueued_at!r})"

    def __str__(self) -> str:
        return f"<Job {self.id}: {self.record.description}>"
