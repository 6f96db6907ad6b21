"""A worker as Redis knows it, under RQ's names: what ``Worker.all()`` gives. Only looks; nothing is kept up to date."""

from __future__ import annotations

from datetime import datetime

from rqk.core import keys
from rqk.job import Job
from rqk.queue import Queue
from rqk.store.connect import Client
from rqk.store.snapshot import WorkerSnapshot


class KnownWorker:
    """One registered worker at the moment it was looked at."""

    def __init__(self, seen: WorkerSnapshot, connection: Client) -> None:
        self.seen = seen
        self.connection = connection

    @property
    def name(self) -> str:
        """Its name."""
        return self.seen.name

    @property
    def key(self) -> str:
        """The key of its hash."""
        return keys.worker(self.seen.name)

    @property
    def queues(self) -> list[Queue]:
        """The queues it serves, in its order."""
        return [Queue(name, self.connection) for name in self.seen.queues]

    def queue_names(self) -> list[str]:
        """Their names."""
        return list(self.seen.queues)

    @property
    def state(self) -> str:
        """started, idle, busy or suspended."""
        return self.seen.state

    def get_state(self) -> str:
        """The same."""
        return self.seen.state

    @property
    def hostname(self) -> str | None:
        """The machine's or pod's name."""
        return self.seen.hostname

    @property
    def ip_address(self) -> str | None:
        """Its address, as Redis sees it."""
        return self.seen.ip_address

    @property
    def pid(self) -> int | None:
        """Its process id there."""
        return self.seen.pid

    @property
    def version(self) -> str | None:
        """The release it runs."""
        return self.seen.version

    @property
    def python_version(self) -> str | None:
        """The Python it runs on."""
        return self.seen.python_version

    @property
    def birth_date(self) -> datetime | None:
        """When it registered."""
        return self.seen.birth

    @property
    def last_heartbeat(self) -> datetime | None:
        """Its last sign of life."""
        return self.seen.last_heartbeat

    @property
    def successful_job_count(self) -> int:
        """Jobs it finished."""
        return self.seen.successful

    @property
    def failed_job_count(self) -> int:
        """Jobs that failed in it."""
        return self.seen.failed

    @property
    def total_working_time(self) -> float:
        """Seconds it spent on jobs."""
        return self.seen.working_time

    def get_current_job_id(self) -> str | None:
        """The id of the job it is at."""
        return self.seen.current_job

    def get_current_job(self) -> Job | None:
        """The job it is at; None if it is at none. Raises NoSuchJobError if that job is gone meanwhile."""
        return Job.fetch(self.seen.current_job, self.connection) if self.seen.current_job else None

    @property
    def current_job(self) -> Job | None:
        """The same."""
        return self.get_current_job()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KnownWorker) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<Worker {self.name}: {self.state}>"
