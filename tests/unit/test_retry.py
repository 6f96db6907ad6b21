"""Again, later or never: RQ 3.0's rules for retries and repeats."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqk.core.records import JobRecord
from rqk.core.retry import LONGEST_WAIT_S, Again, Later, Never, after_failure, after_returned_retry, next_repeat

NOW = datetime(2026, 8, 1, 12, 0, 0, tzinfo=UTC)
WAITS = st.lists(st.integers(0, 10**6), max_size=8).map(tuple)


def later(seconds: int) -> Later:
    return Later(NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("left", "intervals", "wanted"),
    [
        pytest.param(None, None, Never("no retries left"), id="no retry was asked for"),
        pytest.param(0, (5,), Never("no retries left"), id="all used"),
        pytest.param(2, None, Again(), id="no interval is at once"),
        pytest.param(2, (0,), Again(), id="an interval of 0 is at once"),
        pytest.param(3, (1, 2, 3), later(1), id="the first"),
        pytest.param(2, (1, 2, 3), later(2), id="the second"),
        pytest.param(1, (1, 2, 3), later(3), id="the last"),
        pytest.param(2, (1, 2, 3, 4), later(3), id="a longer list starts in its middle"),
        pytest.param(5, (7, 8), later(7), id="a shorter list repeats its first"),
    ],
)
def test_after_a_failure(left: int | None, intervals: tuple[int, ...] | None, wanted: object) -> None:
    assert after_failure(JobRecord("j", retries_left=left, retry_intervals=intervals), NOW) == wanted


def test_a_retry_at_the_front_stays_at_the_front() -> None:
    assert after_failure(JobRecord("j", retries_left=1, enqueue_at_front_on_retry=True), NOW) == Again(at_front=True)


@given(st.integers(-3, 20), WAITS)
def test_a_failure_is_final_exactly_when_no_retry_is_left(left: int, intervals: tuple[int, ...]) -> None:
    verdict = after_failure(JobRecord("j", retries_left=left, retry_intervals=intervals), NOW)
    assert isinstance(verdict, Never) == (left <= 0)
    if isinstance(verdict, Later):
        assert (verdict.due - NOW).total_seconds() in intervals


@pytest.mark.parametrize(
    ("done", "most", "intervals", "wanted"),
    [
        pytest.param(None, 1, (), Again(), id="the first, at once"),
        pytest.param(1, 1, (), Never("maximum of returned retries reached"), id="all used"),
        pytest.param(0, 3, (1, 2), later(1), id="the first interval"),
        pytest.param(1, 3, (1, 2), later(2), id="the second"),
        pytest.param(2, 3, (1, 2), later(2), id="the last repeats"),
    ],
)
def test_after_a_returned_retry(done: int | None, most: int, intervals: tuple[int, ...], wanted: object) -> None:
    job = JobRecord("j", number_of_retries=done)
    assert after_returned_retry(job, most, intervals, at_front=False, now=NOW) == wanted


def test_a_returned_retry_says_itself_whether_it_goes_to_the_front() -> None:
    assert after_returned_retry(JobRecord("j"), 1, (), at_front=True, now=NOW) == Again(at_front=True)


@given(st.integers(1, 6), WAITS.filter(bool))
def test_a_job_repeats_as_often_as_asked_with_its_intervals_in_order(times: int, intervals: tuple[int, ...]) -> None:
    job = JobRecord("j", repeats_left=times, repeat_intervals=intervals)
    waits = []
    while (following := next_repeat(job, NOW)) is not None:
        when = following.when
        waits.append(0 if isinstance(when, Again) else int((when.due - NOW).total_seconds()))
        job = JobRecord("j", repeats_left=following.left, repeat_intervals=tuple(json.loads(following.intervals)))
    wanted = list(intervals[:times]) + [intervals[-1]] * (times - len(intervals))
    assert waits == wanted


def test_without_intervals_a_repeat_is_at_once() -> None:
    following = next_repeat(JobRecord("j", repeats_left=1), NOW)
    assert following is not None
    assert (following.when, following.left) == (Again(), 0)


@pytest.mark.parametrize("wait", [LONGEST_WAIT_S + 1, 1_800_000_000_000, 10**30])
def test_a_wait_beyond_any_calendar_is_ten_years(wait: int) -> None:
    """An epoch in milliseconds, say. RQ lets such a job in."""
    job = JobRecord("j", retries_left=1, retry_intervals=(wait,), repeats_left=1, repeat_intervals=(wait,))
    repeat = next_repeat(job, NOW)
    assert repeat is not None
    whens = (after_failure(job, NOW), after_returned_retry(job, 1, (wait,), at_front=False, now=NOW), repeat.when)
    assert whens == (later(LONGEST_WAIT_S),) * 3
