"""Frozen records of what Redis holds about jobs, executions, results and workers. A change is a new value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple

from rqk.core.states import JobStatus

Extra = tuple[tuple[str, bytes], ...]


class JobRecord(NamedTuple):
    """One job hash. Durations are whole seconds; -1 means "for ever"; None means that the field is absent.

    A tuple, since every enqueue makes one: a frozen dataclass of so many fields takes six times as long to make.
    """

    id: str
    status: JobStatus | None = None
    created_at: datetime | None = None
    data: bytes = b""  # compressed call, see core.payload
    origin: str | None = None  # queue name
    description: str | None = None
    enqueued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    last_heartbeat: datetime | None = None
    worker_name: str | None = None
    timeout: int | None = None
    result_ttl: int | None = None
    failure_ttl: int | None = None
    ttl: int | None = None
    meta_raw: bytes | None = None  # serialized, not compressed
    dependency_ids: tuple[str, ...] = ()
    allow_dependency_failures: bool | None = None
    enqueue_at_front: bool | None = None
    retries_left: int | None = None
    retry_intervals: tuple[int, ...] | None = None
    number_of_retries: int | None = None
    enqueue_at_front_on_retry: bool = False
    repeats_left: int | None = None
    repeat_intervals: tuple[int, ...] | None = None
    success_callback_name: str | None = None
    success_callback_timeout: int | None = None
    failure_callback_name: str | None = None
    failure_callback_timeout: int | None = None
    stopped_callback_name: str | None = None
    stopped_callback_timeout: int | None = None
    webhooks: tuple[dict[str, Any], ...] = ()
    group_id: str | None = None
    rate_limit_key: str | None = None
    rate_limit_concurrency: int | None = None
    result_raw: bytes | None = None  # legacy field
    exc_info_raw: bytes | None = None  # legacy field, compressed
    extra: Extra = ()  # fields of others, kept as they are


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """One attempt at one job."""

    id: str
    job_id: str
    worker_name: str = ""
    created_at: datetime | None = None
    last_heartbeat: datetime | None = None
    names_job: bool = True  # RQ 2.12 leaves the job_id field out


class ResultType(IntEnum):
    """The ``type`` field of a result entry."""

    SUCCESSFUL = 1
    FAILED = 2
    STOPPED = 3
    RETRIED = 4
    MAX_RETRIES_EXCEEDED = 5


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """One entry of a results stream, values still serialized."""

    type: ResultType
    worker_name: str = ""
    return_value: bytes | None = None  # serialized; None when the job returned None
    exc_string: str | None = None
    execution_id: str | None = None
    execution_started_at: float | None = None
    execution_ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """One worker hash."""

    name: str
    birth: datetime | None = None
    last_heartbeat: datetime | None = None
    queues: tuple[str, ...] = ()
    pid: int | None = None
    hostname: str | None = None
    ip_address: str | None = None
    version: str | None = None
    python_version: str | None = None
    state: str | None = None
    current_job: str | None = None
    current_job_working_time: float | None = None
    successful_job_count: int | None = None
    failed_job_count: int | None = None
    total_working_time: float | None = None
    shutdown_requested_date: datetime | None = None
    death: datetime | None = None
    extra: Extra = ()
