"""What one attempt at a job gave."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rqk.core.call import Serializer
from rqk.core.records import ResultRecord, ResultType
from rqk.core.times import from_epoch
from rqk.errors import DeserializationError


@dataclass(frozen=True)
class Result:
    """One entry of a job's results; ``return_value`` is deserialized when it is asked for."""

    Type = ResultType

    id: str
    job_id: str
    type: ResultType
    created_at: datetime
    record: ResultRecord
    serializer: Serializer

    @property
    def return_value(self) -> Any:
        """What the function returned; None for a failure. Raises DeserializationError."""
        if self.record.return_value is None:
            return None
        try:
            return self.serializer.loads(self.record.return_value)
        except Exception as error:  # noqa: BLE001 - unpickling runs user code
            raise DeserializationError(f"job {self.job_id}: the result cannot be read: {error}") from error

    @property
    def exc_string(self) -> str | None:
        """The traceback of a failure."""
        return self.record.exc_string

    @property
    def worker_name(self) -> str:
        """Who ran it."""
        return self.record.worker_name

    @property
    def execution_id(self) -> str | None:
        """Which attempt it was."""
        return self.record.execution_id

    @property
    def execution_started_at(self) -> datetime | None:
        """When the attempt began."""
        return None if self.record.execution_started_at is None else from_epoch(self.record.execution_started_at)

    @property
    def execution_ended_at(self) -> datetime | None:
        """When the attempt ended."""
        return None if self.record.execution_ended_at is None else from_epoch(self.record.execution_ended_at)
