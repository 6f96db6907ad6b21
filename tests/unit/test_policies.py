"""Retries, repeats, callbacks and dependencies as callers give them."""

from __future__ import annotations

from typing import Any

import pytest

from rqk import Callback, Dependency, Job, Repeat, Retry
from rqk.policies import as_callback, as_dependency
from tests.support.jobs import add


@pytest.mark.parametrize(
    ("interval", "wanted"), [(0, [0]), (5, [5]), ([1, 2], [1, 2]), ((3,), [3]), ([], [0]), (range(4, 6), [4, 5])]
)
def test_intervals(interval: Any, wanted: list[int]) -> None:
    assert Retry(3, interval).intervals == wanted
    assert Repeat(3, interval).intervals == wanted


@pytest.mark.parametrize("interval", [-1, 1.5, [1, -2], [1.5], ["10"], "10"])
def test_an_interval_is_whole_and_not_negative(interval: Any) -> None:
    with pytest.raises(ValueError, match="whole and not negative"):
        Retry(3, interval)
    with pytest.raises(ValueError, match="whole and not negative"):
        Repeat(3, interval)


@pytest.mark.parametrize("interval", [1_800_000_000_000, [1, 10**30]])
def test_an_interval_ends_within_ten_years(interval: Any) -> None:
    with pytest.raises(ValueError, match="at most 315360000 of them"):
        Retry(3, interval)
    with pytest.raises(ValueError, match="at most 315360000 of them"):
        Repeat(3, interval)


@pytest.mark.parametrize("times", [0, -1])
def test_at_least_once(times: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, not {times}"):
        Retry(max=times)
    with pytest.raises(ValueError, match=f"at least 1, not {times}"):
        Repeat(times=times)


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 60), (5, 5), ("2m", 120), (0, 60)])
def test_a_callbacks_time(timeout: Any, seconds: int) -> None:
    assert Callback(add, timeout).timeout == seconds


def test_callbacks_from_functions_and_names() -> None:
    assert as_callback(None) is None
    made = Callback("a.b")
    assert as_callback(made) is made
    for given in (add, "tests.support.jobs.add"):
        callback = as_callback(given)
        assert callback is not None
        assert (callback.name, callback.timeout) == ("tests.support.jobs.add", 60)


def test_dependencies_in_every_form() -> None:
    job = Job("a")
    assert as_dependency(None) is None
    assert as_dependency([]) is None
    made = Dependency([job, "b"])
    assert as_dependency(made) is made
    assert made.ids == ("a", "b")
    for given in (job, "a", [job], ("a",), Dependency("a")):
        found = as_dependency(given)
        assert found is not None
        assert found.ids == ("a",)


def test_a_flag_of_one_dependency_applies_to_all() -> None:
    found = as_dependency(["a", Dependency("b", allow_failure=True), Dependency(["c"], enqueue_at_front=True)])
    assert found is not None
    assert (found.ids, found.allow_failure, found.enqueue_at_front) == (("a", "b", "c"), True, True)


def test_a_dependency_on_nothing() -> None:
    with pytest.raises(ValueError, match="at least one job"):
        Dependency([])


@pytest.mark.parametrize("thing", [5, object(), [b"a"]])
def test_a_dependency_on_what_is_no_job(thing: Any) -> None:
    with pytest.raises(ValueError, match="takes jobs or job ids"):
        Dependency(thing)
