"""From what a horse reported, or from how it died, to the move of its job and a word for the metrics. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from rqk.core import moves
from rqk.core.codec import Fields, decode_job
from rqk.core.moves import Attempt, Move
from rqk.core.records import JobRecord
from rqk.core.verdict import Verdict
from rqk.errors import UnreadableJob
from rqk.worker.messages import Outcome

_TIMEOUTS = frozenset({"rqk.errors.JobTimeoutException"})


class Ending(NamedTuple):
    """How an attempt ended: what settle.lua is to do, and what metrics and log say."""

    move: Move
    outcome: str  # a label of the metrics
    attempt: Attempt
    func: str = ""
    text: str = ""  # for the log: the result's repr, or why it failed


def read_job(job_id: str, queue: str, fields: Fields) -> JobRecord:
    """The record, or a bare one if the hash cannot be read: the horse fails such a job with the reason, the worker goes on."""
    try:
        return decode_job(job_id, fields)
    except UnreadableJob:
        return JobRecord(id=job_id, origin=queue, data=fields.get(b"data", b""))


_BRIEF = frozenset(
    {
        *(b"result_ttl", b"failure_ttl", b"retries_left", b"repeats_left", b"enqueue_at_front_on_retry"),
        *(b"retry_intervals", b"repeat_intervals", b"number_of_retries"),
    }
)
_PLAIN = JobRecord("")  # most jobs have none of these, and nothing else of them is looked at


def read_brief(job_id: str, queue: str, fields: Fields) -> JobRecord:
    """Only what the end of a job that was reported depends on: a seventh of the time of a whole record."""
    if _BRIEF.isdisjoint(fields):
        return _PLAIN
    return read_job(job_id, queue, {name: fields[name] for name in _BRIEF & fields.keys()})


def reported(
    job: JobRecord, execution_id: str, worker: str, outcome: Outcome, now: datetime, result_ttl_s: int
) -> Ending:
    """The horse reported an outcome."""
    attempt = Attempt(execution_id, worker, outcome.started_at, outcome.ended_at)
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


def without_value(end: Ending) -> Ending:
    """The same end, its return value left out."""
    rest = {name: value for name, value in end.move.result.items() if name != "return_value"}
    return end._replace(move=end.move._replace(result=rest))


def died(job: JobRecord, attempt: Attempt, verdict: Verdict, now: datetime, func: str) -> Ending:
    """The horse died without a word."""
    if verdict.outcome == "stopped":
        return Ending(moves.stopped(job, attempt, verdict.text), "stopped", attempt, func, verdict.text)
    move = moves.failed(job, attempt, verdict.text, now)
    return Ending(move, "retried" if move.place else verdict.outcome, attempt, func, verdict.text)


def returned(attempt: Attempt, now: datetime, func: str, why: str) -> Ending:
    """The worker gives the job back unfinished."""
    return Ending(moves.put_back(now), "requeued", attempt, func, why)
