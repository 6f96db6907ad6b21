"""From what a horse reported, or from how it died, to the move of its job and a word for the metrics. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rqk.core import moves
from rqk.core.codec import Fields, decode_job
from rqk.core.moves import Attempt, Move
from rqk.core.records import JobRecord
from rqk.core.times import from_epoch
from rqk.core.verdict import Verdict
from rqk.errors import UnreadableJob
from rqk.worker.messages import Outcome

_TIMEOUTS = frozenset({"rqk.errors.JobTimeoutException"})


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended: what settle.lua is to do, and what metrics and log say."""

    move: Move
    outcome: str  # a label of the metrics
    attempt: Attempt
    func: str = ""
    text: str = ""  # for the log: the result's repr, or why it failed


def read_job(job_id: str, queue: str, fields: Fields) -> tuple[JobRecord, str | None]:
    """The record, or a bare one and the reason why the hash cannot be read: such a job fails, it does not stop the worker."""
    try:
        return decode_job(job_id, fields), None
    except UnreadableJob as error:
        return JobRecord(id=job_id, origin=queue, data=fields.get(b"data", b"")), str(error)


def reported(
    job: JobRecord, execution_id: str, worker: str, outcome: Outcome, now: datetime, result_ttl_s: int
) -> Ending:
    """The horse reported an outcome."""
    attempt = Attempt(execution_id, worker, from_epoch(outcome.started_at), from_epoch(outcome.ended_at))
    value = outcome.result if outcome.has_result else None
    if outcome.kind == "finished":
        return Ending(
            moves.finished(job, attempt, value, now, result_ttl_s),
            "finished",
            attempt,
            outcome.func,
            outcome.result_repr,
        )
    if outcome.kind == "retry" and outcome.retry is not None:
        wish = outcome.retry
        move = moves.returned_retry(
            job, attempt, value, now, most=wish.max, intervals=wish.intervals, at_front=wish.at_front
        )
        word = "retried" if move.place else "failed"
        return Ending(move, word, attempt, outcome.func, "it returned a Retry")
    move = moves.failed(job, attempt, outcome.exc_string, now)
    word = "retried" if move.place else "timeout" if outcome.exc_type in _TIMEOUTS else "failed"
    return Ending(move, word, attempt, outcome.func, outcome.exc_string)


def died(job: JobRecord, attempt: Attempt, verdict: Verdict, now: datetime, func: str) -> Ending:
    """The horse died without a word."""
    if verdict.outcome == "stopped":
        return Ending(moves.stopped(job, attempt, verdict.text), "stopped", attempt, func, verdict.text)
    move = moves.failed(job, attempt, verdict.text, now)
    return Ending(move, "retried" if move.place else verdict.outcome, attempt, func, verdict.text)


def unreadable(job: JobRecord, attempt: Attempt, problem: str, now: datetime) -> Ending:
    """The job's hash cannot be read: it fails with the reason."""
    text = f"The job cannot be run, since its record cannot be read: {problem}"
    return Ending(moves.failed(job, attempt, text, now), "failed", attempt, "", text)


def returned(attempt: Attempt, now: datetime, func: str, why: str) -> Ending:
    """The worker gives the job back unfinished."""
    return Ending(moves.put_back(now), "requeued", attempt, func, why)
