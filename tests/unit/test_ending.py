"""From what a horse reported, or how it died, to its job's move and the word for the metrics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqk.core.codec import encode_job
from rqk.core.moves import Attempt
from rqk.core.records import JobRecord
from rqk.core.states import JobStatus
from rqk.core.verdict import explain
from rqk.worker import ending
from rqk.worker.messages import Outcome, RetryWish

NOW = datetime(2026, 8, 1, 12, 0, 0, tzinfo=UTC)
START = NOW.timestamp() - 2
ATTEMPT = Attempt("e", "w", NOW.timestamp(), NOW.timestamp())


def outcome(kind: Any, **more: Any) -> Outcome:
    return Outcome(kind, START, NOW.timestamp(), func="m.f", **more)


def reported(job: JobRecord, what: Outcome) -> ending.Ending:
    return ending.reported(job, "e", "w", what, NOW, 500)


def test_success() -> None:
    end = reported(JobRecord("j"), outcome("finished", has_result=True, result=b"v", result_repr="5"))
    assert (end.move.status, end.outcome, end.func, end.text) == (JobStatus.FINISHED, "finished", "m.f", "5")
    assert end.attempt.seconds == 2.0
    assert "return_value" in end.move.result


def test_none_is_no_result() -> None:
    assert "return_value" not in reported(JobRecord("j"), outcome("finished", result=b"ignored")).move.result


@pytest.mark.parametrize(
    ("job", "exc_type", "word", "status"),
    [
        (JobRecord("j"), "builtins.ValueError", "failed", JobStatus.FAILED),
        (JobRecord("j"), "rqk.errors.JobTimeoutException", "timeout", JobStatus.FAILED),
        (JobRecord("j", retries_left=1), "builtins.ValueError", "retried", JobStatus.QUEUED),
        (JobRecord("j", retries_left=1), "rqk.errors.JobTimeoutException", "retried", JobStatus.QUEUED),
    ],
)
def test_failure(job: JobRecord, exc_type: str, word: str, status: JobStatus) -> None:
    end = reported(job, outcome("failed", exc_type=exc_type, exc_string="Traceback ..."))
    assert (end.outcome, end.move.status, end.text) == (word, status, "Traceback ...")


@pytest.mark.parametrize(("done", "word"), [(0, "retried"), (1, "failed")])
def test_a_returned_retry(done: int, word: str) -> None:
    wish = RetryWish(1, at_front=False, intervals=(0,))
    end = reported(JobRecord("j", number_of_retries=done), outcome("retry", retry=wish))
    assert end.outcome == word
    assert (end.move.place == "back") == (word == "retried")


@pytest.mark.parametrize(
    ("killed_for", "status", "retries", "word", "becomes"),
    [
        ("timeout", 9, 0, "timeout", JobStatus.FAILED),
        ("timeout", 9, 1, "retried", JobStatus.QUEUED),
        (None, 11, 0, "crashed", JobStatus.FAILED),
        (None, 3 << 8, 0, "crashed", JobStatus.FAILED),
        ("stop", 9, 1, "stopped", JobStatus.STOPPED),
        ("memory", 9, 0, "oom", JobStatus.FAILED),
    ],
)
def test_death(killed_for: Any, status: int, retries: int, word: str, becomes: JobStatus) -> None:
    verdict = explain(status, killed_for=killed_for)
    end = ending.died(JobRecord("j", retries_left=retries), ATTEMPT, verdict, NOW, "m.f")
    assert (end.outcome, end.move.status, end.text) == (word, becomes, verdict.text)


def test_given_back() -> None:
    end = ending.returned(ATTEMPT, NOW, "m.f", "the worker stops")
    assert (end.outcome, end.move.place, end.move.status) == ("requeued", "front", JobStatus.QUEUED)


BRIEF_JOBS = st.builds(
    JobRecord,
    webhooks=st.just(()),
    id=st.just("j"),
    origin=st.just("q"),
    created_at=st.just(NOW),
    description=st.text(st.characters(exclude_categories=["Cs"])),
    result_ttl=st.none() | st.integers(-1, 99),
    failure_ttl=st.none() | st.integers(-1, 99),
    retries_left=st.none() | st.integers(0, 3),
    retry_intervals=st.none() | st.lists(st.integers(0, 9)).map(tuple),
    number_of_retries=st.none() | st.integers(0, 3),
    enqueue_at_front_on_retry=st.booleans(),
    repeats_left=st.none() | st.integers(0, 3),
    repeat_intervals=st.none() | st.lists(st.integers(0, 9), min_size=1).map(tuple),
    ttl=st.none() | st.integers(1, 9),
)
REPORTS = st.sampled_from(
    [
        outcome("finished", has_result=True, result=b"v"),
        outcome("failed", exc_string="boom"),
        outcome("retry", retry=RetryWish(2, at_front=True, intervals=(0, 5))),
    ]
)


@given(BRIEF_JOBS, REPORTS)
def test_the_brief_reading_decides_as_the_whole_record_does(job: JobRecord, report: Outcome) -> None:
    found = {name.encode(): raw for name, raw in encode_job(job).items()}
    brief = ending.read_brief("j", "q", found)
    whole = ending.read_job("j", "q", found)
    assert reported(brief, report).move == reported(whole, report).move


def test_a_hash_that_cannot_be_read_still_has_its_data_and_queue() -> None:
    job = ending.read_job("j", "q", {b"timeout": b"soon", b"data": b"d"})
    assert job == JobRecord("j", origin="q", data=b"d")
