"""Where a job goes after an attempt: every outcome, with every option that matters to it."""

from __future__ import annotations

import base64
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqk.core import moves
from rqk.core.moves import DEFAULT_FAILURE_TTL, DEFAULT_RESULT_TTL, Attempt, Move, Policy
from rqk.core.records import JobRecord, ResultType
from rqk.core.states import MOVES, JobStatus
from rqk.core.times import LONGEST_TTL_S, to_date, to_epoch

NOW = datetime(2026, 8, 1, 12, 0, 0, 500, tzinfo=UTC)
ATTEMPT = Attempt("e" * 32, "w1", to_epoch(NOW) - 3, to_epoch(NOW))
ENDING = {
    "worker_name": b"w1",
    "started_at": to_date(NOW - timedelta(seconds=3)).encode(),
    "ended_at": to_date(NOW).encode(),
    "last_heartbeat": to_date(NOW).encode(),
}
TTLS = st.none() | st.integers(-1, 10**8)


def due(seconds: int) -> str:
    return str(int(to_epoch(NOW)) + seconds)


def kind(move: Move) -> ResultType | None:
    return ResultType(int(move.result["type"])) if move.result else None


def exc(move: Move) -> str:
    return zlib.decompress(base64.b64decode(move.result["exc_string"])).decode()


@pytest.mark.parametrize(
    ("ttl", "registry", "score", "job_ttl", "result_ttl"),
    [
        pytest.param(None, "finished", f"+{DEFAULT_RESULT_TTL}", "500", "500", id="the default"),
        pytest.param(60, "finished", "+60", "60", "60", id="a minute"),
        pytest.param(0, "", "", "0", "", id="0 keeps nothing"),
        pytest.param(-1, "finished", "+inf", "", "-1", id="-1 keeps it for ever"),
        pytest.param(
            10**17,
            "finished",
            f"+{LONGEST_TTL_S}",
            str(LONGEST_TTL_S),
            str(LONGEST_TTL_S),
            id="more than Redis can count",
        ),
    ],
)
def test_success(ttl: int | None, registry: str, score: str, job_ttl: str, result_ttl: str) -> None:
    move = moves.finished(JobRecord("j", result_ttl=ttl), ATTEMPT, b"value", NOW)
    assert move.status is JobStatus.FINISHED
    assert (move.registry, move.score, move.job_ttl, move.result_ttl) == (registry, score, job_ttl, result_ttl)
    assert (move.place, move.release, move.frees_slot, move.counter) == ("", "finished", True, "successful_job_count")
    assert move.fields == ENDING
    assert kind(move) == (None if ttl == 0 else ResultType.SUCCESSFUL)
    if ttl != 0:
        assert base64.b64decode(move.result["return_value"]) == b"value"
        assert float(move.result["execution_ended_at"]) - float(move.result["execution_started_at"]) == 3.0


def test_a_job_that_returned_none_has_no_return_value() -> None:
    assert "return_value" not in moves.finished(JobRecord("j"), ATTEMPT, None, NOW).result


def test_the_workers_own_default_serves_jobs_that_name_no_ttl() -> None:
    assert moves.finished(JobRecord("j"), ATTEMPT, None, NOW, default_result_ttl=9).job_ttl == "9"
    assert moves.finished(JobRecord("j", result_ttl=60), ATTEMPT, None, NOW, default_result_ttl=9).job_ttl == "60"


@pytest.mark.parametrize(
    ("intervals", "place", "when", "status"),
    [
        pytest.param((30, 40), "due", due(30), JobStatus.SCHEDULED, id="later"),
        pytest.param((0,), "back", "", JobStatus.QUEUED, id="at once"),
        pytest.param(None, "back", "", JobStatus.QUEUED, id="no interval"),
    ],
)
def test_success_of_a_repeating_job(
    intervals: tuple[int, ...] | None, place: str, when: str, status: JobStatus
) -> None:
    move = moves.finished(JobRecord("j", repeats_left=2, repeat_intervals=intervals), ATTEMPT, b"v", NOW)
    assert (move.status, move.place, move.due) == (status, place, when)
    assert move.fields["repeats_left"] == b"1"
    assert (move.registry, move.job_ttl) == ("finished", ""), "the hash lives on for the next run"
    assert kind(move) is ResultType.SUCCESSFUL
    assert ("enqueued_at" in move.fields) == (place == "back")
    assert move.frees_slot == (place != "back"), "a job that stays live keeps its slot"


def test_the_last_repeat_is_a_plain_success() -> None:
    assert moves.finished(JobRecord("j", repeats_left=0, repeat_intervals=(1,)), ATTEMPT, b"v", NOW) == moves.finished(
        JobRecord("j"), ATTEMPT, b"v", NOW
    )


@pytest.mark.parametrize(
    ("ttl", "registry", "score", "job_ttl", "result_ttl"),
    [
        pytest.param(None, "failed", f"+{DEFAULT_FAILURE_TTL}", str(DEFAULT_FAILURE_TTL), "", id="a year"),
        pytest.param(60, "failed", "+60", "60", "60", id="a minute"),
        pytest.param(0, "", "+0", "0", "0", id="0 keeps nothing"),
        pytest.param(-1, "failed", "-1", "", "", id="-1 is stored as it is, as RQ does"),
        pytest.param(
            10**17,
            "failed",
            f"+{LONGEST_TTL_S}",
            str(LONGEST_TTL_S),
            str(LONGEST_TTL_S),
            id="more than Redis can count",
        ),
    ],
)
@pytest.mark.parametrize("outcome", ["failed", "stopped", "too many returned retries"])
def test_final_failures(
    outcome: str, ttl: int | None, registry: str, score: str, job_ttl: str, result_ttl: str
) -> None:
    job = JobRecord("j", failure_ttl=ttl)
    if outcome == "failed":
        move = moves.failed(job, ATTEMPT, "boom", NOW)
    elif outcome == "stopped":
        move = moves.stopped(job, ATTEMPT, "boom")
    else:
        move = moves.returned_retry(job, ATTEMPT, b"v", NOW, most=0, intervals=(), at_front=False)
    stopped = outcome == "stopped"
    assert move.status is (JobStatus.STOPPED if stopped else JobStatus.FAILED)
    assert (move.registry, move.score, move.job_ttl, move.result_ttl) == (registry, score, job_ttl, result_ttl)
    assert (move.place, move.counter) == ("", "failed_job_count")
    assert move.release == move.webhook == ("" if stopped else "failed")
    assert ("ended_at" in move.fields) == (not stopped), "RQ leaves a stopped job without an end"
    wanted = {"failed": ResultType.FAILED, "stopped": ResultType.FAILED}.get(outcome, ResultType.MAX_RETRIES_EXCEEDED)
    assert kind(move) == (None if ttl == 0 else wanted)
    if ttl != 0 and "exc_string" in move.result:
        assert exc(move) == "boom"


@pytest.mark.parametrize(
    ("job", "place", "when", "status"),
    [
        (JobRecord("j", retries_left=2), "back", "", JobStatus.QUEUED),
        (JobRecord("j", retries_left=2, enqueue_at_front_on_retry=True), "front", "", JobStatus.QUEUED),
        (JobRecord("j", retries_left=2, retry_intervals=(7, 9)), "due", due(7), JobStatus.SCHEDULED),
    ],
)
def test_a_failure_with_retries_left(job: JobRecord, place: str, when: str, status: JobStatus) -> None:
    move = moves.failed(job, ATTEMPT, "boom", NOW)
    assert (move.status, move.place, move.due, move.fields["retries_left"]) == (status, place, when, b"1")
    assert (move.registry, move.job_ttl, move.release, move.webhook, move.result) == ("", "", "", "", {})
    assert move.counter == "failed_job_count"
    assert move.frees_slot == (place == "due")


def test_a_stopped_job_is_never_retried() -> None:
    assert moves.stopped(JobRecord("j", retries_left=5), ATTEMPT, "stop").place == ""


@pytest.mark.parametrize(
    ("at_front", "intervals", "place", "when"),
    [(False, (), "back", ""), (True, (), "front", ""), (True, (4,), "due", due(4))],
)
def test_a_returned_retry(at_front: bool, intervals: tuple[int, ...], place: str, when: str) -> None:
    job = JobRecord("j", number_of_retries=1, failure_ttl=60)
    move = moves.returned_retry(job, ATTEMPT, b"v", NOW, most=3, intervals=intervals, at_front=at_front)
    assert (move.place, move.due, move.fields["number_of_retries"]) == (place, when, b"2")
    assert (kind(move), move.result_ttl, move.registry) == (ResultType.RETRIED, "60", "")
    assert move.fields.get("enqueue_at_front_on_retry") == (b"1" if at_front else None)


def test_exception_retries_and_returned_ones_are_counted_apart() -> None:
    job = JobRecord("j", retries_left=0, number_of_retries=0)
    assert moves.returned_retry(job, ATTEMPT, b"v", NOW, most=1, intervals=(), at_front=False).place == "back"
    assert moves.failed(JobRecord("j", retries_left=1, number_of_retries=9), ATTEMPT, "", NOW).place == "back"


def test_putting_back_is_as_if_nothing_had_been() -> None:
    move = moves.put_back(NOW)
    assert (move.status, move.place, move.counter, move.registry, move.result) == (
        JobStatus.QUEUED,
        "front",
        "",
        "",
        {},
    )
    assert move.fields["started_at"] == move.fields["worker_name"] == b""
    assert not {"retries_left", moves.DELIVERIES} & move.fields.keys()
    assert move.frees_slot is False


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_poison_job_is_delivered_a_bounded_number_of_times(most: int) -> None:
    job = JobRecord("j", retries_left=None)
    deliveries, move = 1, moves.abandoned(job, "e", Policy("requeue", most), NOW)
    while move.place == "front":
        job = JobRecord("j", extra=((moves.DELIVERIES, move.fields[moves.DELIVERIES]),))
        deliveries, move = deliveries + 1, moves.abandoned(job, "e", Policy("requeue", most), NOW)
    assert deliveries == most
    assert move.status is JobStatus.FAILED
    assert f"{most} workers died while they ran this job (the limit is {most})." in exc(move)


def test_an_abandoned_job_fails_in_rqs_words_with_the_reason() -> None:
    move = moves.abandoned(JobRecord("j", started_at=NOW), "e", Policy(), NOW, "It was unplugged.")
    first, second = exc(move).splitlines()
    assert first == "Moved to FailedJobRegistry, due to AbandonedJobError, at 2026-08-01 12:00:00.000500"
    assert second == "It was unplugged."
    assert move.counter == "", "no worker's count: the one that ran it is gone"
    assert "worker_name" not in move.fields, "who ran it stays on record"


@pytest.mark.parametrize("policy", [Policy("fail"), Policy("requeue", 1)])
def test_an_abandoned_job_with_retries_is_retried(policy: Policy) -> None:
    move = moves.abandoned(JobRecord("j", retries_left=1, retry_intervals=(5,)), "e", policy, NOW)
    assert (move.place, move.due, move.fields["retries_left"]) == ("due", due(5), b"0")


@pytest.mark.parametrize(("raw", "seen"), [(b"2", 2), (b"", 0), (b"x", 0), (b"-1", 0)])
def test_deliveries_are_read_whatever_the_field_holds(raw: bytes, seen: int) -> None:
    assert moves.deliveries_of(JobRecord("j", extra=((moves.DELIVERIES, raw),))) == seen


def test_the_time_an_attempt_took() -> None:
    assert ATTEMPT.seconds == 3.0
    assert Attempt("e", "w", 7.0, None).seconds == 0.0
    assert Attempt("e", "w", 7.0, 6.0).seconds == 0.0, "clocks that ran backwards"


JOBS = st.builds(
    JobRecord,
    webhooks=st.just(()),
    id=st.just("j"),
    result_ttl=TTLS,
    failure_ttl=TTLS,
    retries_left=st.none() | st.integers(0, 3),
    retry_intervals=st.none() | st.lists(st.integers(0, 9), max_size=3).map(tuple),
    number_of_retries=st.none() | st.integers(0, 3),
    enqueue_at_front_on_retry=st.booleans(),
    repeats_left=st.none() | st.integers(0, 3),
    repeat_intervals=st.none() | st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple),
    started_at=st.none() | st.just(NOW),
)
OUTCOMES: list[Any] = [
    lambda job: moves.finished(job, ATTEMPT, b"v", NOW),
    lambda job: moves.failed(job, ATTEMPT, "boom", NOW),
    lambda job: moves.stopped(job, ATTEMPT, "stop"),
    lambda job: moves.returned_retry(job, ATTEMPT, b"v", NOW, most=2, intervals=(0, 3), at_front=True),
    lambda job: moves.put_back(NOW, deliveries=1),
    lambda job: moves.abandoned(job, "e", Policy("fail"), NOW),
    lambda job: moves.abandoned(job, "e", Policy("requeue", 2), NOW),
]


@given(JOBS, st.sampled_from(OUTCOMES))
def test_every_move_is_whole(job: JobRecord, outcome: Any) -> None:
    """Laws that hold for each move: an allowed status, one place to be, and nothing that another field contradicts."""
    move: Move = outcome(job)
    assert move.status in MOVES[JobStatus.STARTED]
    lives_on = move.place != ""
    assert lives_on == (move.status in {JobStatus.QUEUED, JobStatus.SCHEDULED})
    assert (move.place == "due") == (move.status is JobStatus.SCHEDULED) == (move.due != "")
    if lives_on:
        assert move.job_ttl == "", "a job that runs again must not expire"
    else:
        assert move.registry or move.job_ttl == "0", "an ended job is in a registry or gone"
        assert move.frees_slot
    assert bool(move.registry) == bool(move.score) or move.score == "+0"
    assert (move.status is JobStatus.QUEUED) == ("enqueued_at" in move.fields)
    assert all(isinstance(value, bytes) for value in (*move.fields.values(), *move.result.values()))
