"""An attempt at a job that is under way."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rqk.core import keys
from rqk.core.codec import decode_execution
from rqk.core.records import ExecutionRecord
from rqk.store.connect import Client, talk

if TYPE_CHECKING:
    from rqk.job import Job


class Execution:
    """One attempt: which job, which worker, since when."""

    def __init__(self, record: ExecutionRecord, connection: Client) -> None:
        self.record = record
        self.connection = connection

    @classmethod
    def fetch(cls, id: str, job_id: str, connection: Client) -> Execution:  # noqa: A002 - RQ's name
        """One attempt; raises ValueError if it is over."""
        with talk(connection) as asked:
            fields = asked.hgetall(keys.execution(job_id, id))
        if not fields:
            raise ValueError(f"no execution {id} of job {job_id}")
        return cls(decode_execution(id, job_id, fields), connection)

    @classmethod
    def of_job(cls, job_id: str, connection: Client) -> list[Execution]:
        """All attempts of a job that are under way."""
        with talk(connection) as asked:
            ids = [member.decode() for member in asked.zrange(keys.executions(job_id), 0, -1)]
            hashes = [asked.hgetall(keys.execution(job_id, one)) for one in ids]
        found = zip(ids, hashes, strict=True)
        return [cls(decode_execution(one, job_id, fields), connection) for one, fields in found if fields]

    @property
    def id(self) -> str:
        """The attempt's id."""
        return self.record.id

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.record.job_id

    @property
    def job(self) -> Job:
        """The job, as it is in Redis now. Raises NoSuchJobError."""
        from rqk.job import Job

        return Job.fetch(self.job_id, self.connection)

    @property
    def worker_name(self) -> str:
        """Who runs it."""
        return self.record.worker_name

    @property
    def created_at(self) -> datetime | None:
        """Since when."""
        return self.record.created_at

    @property
    def last_heartbeat(self) -> datetime | None:
        """When its worker last said that it goes on."""
        return self.record.last_heartbeat

    @property
    def composite_key(self) -> str:
        """``<job>:<execution>``, the member of the started registry."""
        return keys.lease(self.job_id, self.id)
