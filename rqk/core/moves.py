"""How an attempt ended and where its job goes: one value that settle.lua carries out in one step.

Sources: docs/protocol.md 3.6 to 3.10. Every rule takes the job, the time and what happened, and returns a Move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from rqk.core.codec import result_fields
from rqk.core.records import JobRecord, ResultType
from rqk.core.retry import Again, Later, Never, after_failure, after_returned_retry, next_repeat
from rqk.core.states import JobStatus
from rqk.core.times import LONGEST_TTL_S, epoch_texts, to_date, to_epoch

DEFAULT_RESULT_TTL = 500  # seconds; RQ's default
DEFAULT_FAILURE_TTL = 31_536_000  # seconds: a year; RQ's default
DELIVERIES = "rqk_deliveries"  # job field of ours: how often a worker died with it

Place = Literal["", "back", "front", "due"]


class Attempt(NamedTuple):
    """One attempt at a job, as its worker knows it. Times are epoch seconds."""

    execution_id: str
    worker_name: str
    started_at: float | None
    ended_at: float | None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(self.ended_at - self.started_at, 0.0) if self.started_at and self.ended_at else 0.0


class Move(NamedTuple):
    """Where a job goes after an attempt. Empty strings mean "leave as it is"."""

    status: JobStatus
    fields: Mapping[str, bytes] = {}
    place: Place = ""
    due: str = ""
    registry: Literal["", "finished", "failed"] = ""
    score: str = ""  # "+n": n seconds from the server's now; else literally
    job_ttl: str = ""
    result: Mapping[str, bytes] = {}
    result_ttl: str = ""
    release: Literal["", "finished", "failed"] = ""
    frees_slot: bool = True
    counter: Literal["", "successful_job_count", "failed_job_count"] = ""
    webhook: Literal["", "finished", "failed"] = ""


def _ending(attempt: Attempt) -> dict[str, bytes]:
    fields = {"worker_name": attempt.worker_name.encode()}
    if attempt.started_at is not None:
        fields["started_at"] = epoch_texts(attempt.started_at)[0].encode()
    if attempt.ended_at is not None:
        fields["ended_at"] = fields["last_heartbeat"] = epoch_texts(attempt.ended_at)[0].encode()
    return fields


def _result(
    kind: ResultType, attempt: Attempt, *, value: bytes | None = None, exc: str | None = None
) -> dict[str, bytes]:
    started = epoch_texts(attempt.started_at)[1] if attempt.started_at is not None else None
    ended = epoch_texts(attempt.ended_at)[1] if attempt.ended_at is not None else None
    return result_fields(kind, attempt.worker_name, value, exc, attempt.execution_id or None, started, ended)


def _lasting(ttl: int) -> tuple[str, str]:
    """Registry score and TTL of job and result for a success."""
    return ("+inf", "-1") if ttl < 0 else (f"+{ttl}", str(ttl))


def _again(verdict: Again | Later) -> tuple[JobStatus, Place, str]:
    if isinstance(verdict, Later):
        return JobStatus.SCHEDULED, "due", str(int(to_epoch(verdict.due)))
    return JobStatus.QUEUED, "front" if verdict.at_front else "back", ""


def finished(
    job: JobRecord, attempt: Attempt, value: bytes | None, now: datetime, default_result_ttl: int = DEFAULT_RESULT_TTL
) -> Move:
    """Success. ``value`` is the serialized return value, None if the job returned None."""
    ttl = default_result_ttl if job.result_ttl is None else min(job.result_ttl, LONGEST_TTL_S)
    repeat = next_repeat(job, now) if job.repeats_left else None
    status, fields = JobStatus.FINISHED, _ending(attempt)
    place: Place = ""
    due = ""
    if repeat is not None:
        status, place, due = _again(repeat.when)
        fields |= {"repeats_left": b"%d" % repeat.left, "repeat_intervals": repeat.intervals}
        if place != "due":
            fields["enqueued_at"] = to_date(now).encode()
    score, result_ttl = _lasting(ttl)
    return Move(
        status,
        fields,
        place=place,
        due=due,
        registry="finished" if ttl else "",
        score=score if ttl else "",
        job_ttl="" if place or ttl < 0 else str(ttl),
        result=_result(ResultType.SUCCESSFUL, attempt, value=value) if ttl else {},
        result_ttl=result_ttl if ttl else "",
        release="finished",
        frees_slot=place != "back",
        counter="successful_job_count",
        webhook="finished",
    )


def _final_failure(job: JobRecord, attempt: Attempt, status: JobStatus, result: dict[str, bytes]) -> Move:
    ttl = DEFAULT_FAILURE_TTL if job.failure_ttl is None else min(job.failure_ttl, LONGEST_TTL_S)
    failed_for_good = status is JobStatus.FAILED
    return Move(
        status,
        _ending(attempt),
        registry="" if ttl == 0 else "failed",
        score=str(ttl) if ttl < 0 else f"+{ttl}",
        job_ttl="" if ttl < 0 else str(ttl),
        result={} if ttl == 0 else result,
        result_ttl="" if job.failure_ttl is None or ttl < 0 else str(ttl),
        counter="failed_job_count",
        release="failed" if failed_for_good else "",
        webhook="failed" if failed_for_good else "",
    )


def failed(job: JobRecord, attempt: Attempt, exc_string: str, now: datetime) -> Move:
    """An exception, a dead process or an abandoned job: a retry if one is left, else the failed registry."""
    verdict = after_failure(job, now)
    if isinstance(verdict, Never):
        return _final_failure(job, attempt, JobStatus.FAILED, _result(ResultType.FAILED, attempt, exc=exc_string))
    status, place, due = _again(verdict)
    fields = _ending(attempt) | {"retries_left": b"%d" % ((job.retries_left or 0) - 1)}
    if place != "due":
        fields["enqueued_at"] = to_date(now).encode()
    return Move(status, fields, place=place, due=due, counter="failed_job_count", frees_slot=place == "due")


def stopped(job: JobRecord, attempt: Attempt, text: str) -> Move:
    """Stopped on a user's request: in the failed registry, never retried."""
    unfinished = Attempt(attempt.execution_id, attempt.worker_name, attempt.started_at, None)
    return _final_failure(job, unfinished, JobStatus.STOPPED, _result(ResultType.FAILED, unfinished, exc=text))


def returned_retry(
    job: JobRecord,
    attempt: Attempt,
    value: bytes | None,
    now: datetime,
    *,
    most: int,
    intervals: tuple[int, ...],
    at_front: bool,
) -> Move:
    """The function returned a Retry."""
    verdict = after_returned_retry(job, most, intervals, at_front, now)
    if isinstance(verdict, Never):
        return _final_failure(
            job, attempt, JobStatus.FAILED, _result(ResultType.MAX_RETRIES_EXCEEDED, attempt, value=value)
        )
    status, place, due = _again(verdict)
    fields = _ending(attempt) | {"number_of_retries": b"%d" % ((job.number_of_retries or 0) + 1)}
    if at_front:
        fields["enqueue_at_front_on_retry"] = b"1"
    if place != "due":
        fields["enqueued_at"] = to_date(now).encode()
    ttl = "" if job.failure_ttl is None else str(min(job.failure_ttl, LONGEST_TTL_S))
    return Move(
        status,
        fields,
        place=place,
        due=due,
        result=_result(ResultType.RETRIED, attempt, value=value),
        result_ttl=ttl,
        counter="failed_job_count",
        frees_slot=place == "due",
    )


def put_back(now: datetime, *, deliveries: int | None = None) -> Move:
    """Back to the head of its queue as if it had not been started; the user's retries are not touched."""
    fields = {"started_at": b"", "ended_at": b"", "worker_name": b"", "enqueued_at": to_date(now).encode()}
    if deliveries is not None:
        fields[DELIVERIES] = b"%d" % deliveries
    return Move(JobStatus.QUEUED, fields, place="front", frees_slot=False)


def never_started() -> Move:
    """Back to the head of its queue, where it waits on as before: no date and no time to live begins again."""
    return Move(JobStatus.QUEUED, place="front", frees_slot=False)


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of a job whose worker died."""

    abandoned: Literal["fail", "requeue"] = "fail"
    max_deliveries: int = 3  # how many workers may die with a job before it fails after all


def abandoned(job: JobRecord, execution_id: str, policy: Policy, now: datetime, reason: str | None = None) -> Move:
    """A started job whose lease ended, or whose worker is known to be dead."""
    seen = deliveries_of(job) + 1
    if policy.abandoned == "requeue" and seen < policy.max_deliveries:
        return put_back(now, deliveries=seen)
    # RQ's readers (and people's searches) know this sentence.
    text = f"Moved to FailedJobRegistry, due to AbandonedJobError, at {now.replace(tzinfo=None)}"
    if reason:
        text += f"\n{reason}"
    if policy.abandoned == "requeue":
        text += f"\n{seen} workers died while they ran this job (the limit is {policy.max_deliveries})."
    started = to_epoch(job.started_at) if job.started_at is not None else None
    move = failed(job, Attempt(execution_id, "", started, to_epoch(now)), text, now)
    fields = {name: value for name, value in move.fields.items() if name not in {"worker_name", "last_heartbeat"}}
    return move._replace(fields=fields, counter="")


def deliveries_of(job: JobRecord) -> int:
    """How many workers have died with this job so far."""
    for name, raw in job.extra:
        if name == DELIVERIES and raw.isdigit():
            return int(raw)
    return 0
