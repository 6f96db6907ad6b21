"""Deltas from jobs are somebody's code speaking: all of it is checked, and the page stays whole."""

from __future__ import annotations

import json
from collections import Counter as Tally
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from rqk.metrics.delta import MAX_BYTES
from rqk.metrics.merge import MergedCollector
from tests.metrics.reading import openmetrics, page, parse_openmetrics


class Watched(MergedCollector):
    """Remembers what was refused."""

    def __init__(self, reserved: frozenset[str] = frozenset(), max_series: int = 1000) -> None:
        self.dropped: Tally[str] = Tally()

        def drop(reason: str, count: int) -> None:
            self.dropped[reason] += count

        super().__init__(reserved, max_series, drop)

    def send(self, *families: Any) -> dict[str, float]:
        """Add these families as one delta and return the page."""
        self.add(json.dumps({"v": 1, "f": families}).encode())
        return page(self)


def counter(name: Any = "c", value: Any = 1, **more: Any) -> dict[str, Any]:
    return {"t": "counter", "n": name, "d": "", "s": [[[], value]], **more}


@pytest.mark.parametrize(
    "delta",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"v":2,"f":[]}',
        b'{"v":1,"f":{}}',
        b"[" * 100_000,
        b"1" * 10_000,
        b'{"v":1,"f":[' + b"[" * 900 + b"]" * 900 + b"]}",
    ],
)
def test_what_is_no_delta_is_counted(delta: bytes) -> None:
    collector = Watched()
    collector.add(delta)
    assert collector.dropped == {"malformed": 1}
    assert page(collector) == {}


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(7, id="no object"),
        pytest.param(counter(name="böse"), id="name not of the classic kind"),
        pytest.param(counter(name="new\nline 1"), id="name with a line of its own"),
        pytest.param(counter(name="n" * 300), id="name too long"),
        pytest.param(counter(name=7), id="name no text"),
        pytest.param(counter(t="native"), id="unknown type"),
        pytest.param(counter(t=["counter"]), id="type no text"),
        pytest.param(counter(s=None), id="no samples"),
        pytest.param(counter(s=[[]]), id="sample no pair"),
        pytest.param(counter(s=[[["x"], 1]]), id="label value without a name"),
        pytest.param(counter(l=["a"]), id="label name without a value"),
        pytest.param(counter(l=["a", "a"], s=[[["1", "2"], 1]]), id="label name twice"),
        pytest.param(counter(l=["__name__"], s=[[["1"], 1]]), id="reserved label name"),
        pytest.param(counter(l=['a="',], s=[[["1"], 1]]), id="label name with syntax"),
        pytest.param(counter(l=["a"], s=[[["x" * 5000], 1]]), id="label value too long"),
        pytest.param(counter(l=["a"], s=[[[1], 1]]), id="label value no text"),
        pytest.param(counter(value=-1), id="counter going down"),
        pytest.param(counter(value=float("nan")), id="not a number"),
        pytest.param(counter(value=float("inf")), id="endless increase"),
        pytest.param(counter(value="1"), id="value as text"),
        pytest.param(counter(value=True), id="value as truth"),
        pytest.param(counter(value=10**400), id="value beyond floats"),
        pytest.param(counter(t="histogram", b=[1, 1], s=[[[], [[0, 0, 0], 0]]]), id="buckets that do not rise"),
        pytest.param(counter(t="histogram", b=[1], s=[[[], [[0], 0]]]), id="too few counts"),
        pytest.param(counter(t="histogram", b=list(range(500)), s=[]), id="too many buckets"),
        pytest.param(counter(t="histogram", l=["le"], b=[1], s=[[["x"], [[0, 0], 0]]]), id="le as a label"),
        pytest.param(counter(t="summary", s=[[[], 3]]), id="summary of one number"),
        pytest.param(counter(t="summary", s=[[[], [-3, 1]]]), id="summary going down"),
        pytest.param(counter(t="stateset", b=[], s=[[[], 0]]), id="no states"),
        pytest.param(counter(t="stateset", b=["a"], s=[[[], 1]]), id="no such state"),
        pytest.param(counter(t="stateset", b=["a"], s=[[[], -1]]), id="negative state"),
        pytest.param(counter(t="info", s=[[[], {"a-b": "x"}]]), id="info with a bad key"),
        pytest.param(counter(t="info", s=[[[], {"a": 1}]]), id="info with a number"),
    ],
)  # fmt: skip
def test_a_bad_family_is_refused_and_the_next_one_is_kept(family: Any) -> None:
    collector = Watched()
    found = collector.send(family, counter("good"))
    assert found == {"good_total": 1}
    assert sum(collector.dropped.values()) >= (0 if isinstance(family, dict) and family.get("s") == [] else 1)


def test_the_first_meaning_of_a_name_wins_and_the_others_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    collector = Watched()
    collector.send(counter("a"), {"t": "histogram", "n": "h", "b": [1, 2], "s": [[[], [[1, 0, 0], 1]]]})
    conflicts = [
        {"t": "gauge", "n": "a", "s": [[[], 5]]},
        counter("a", l=["x"], s=[[["1"], 1]]),
        {"t": "gauge", "n": "a_total", "s": [[[], 5]]},
        {"t": "gauge", "n": "h_bucket", "s": [[[], 5]]},
        {"t": "histogram", "n": "h", "b": [1, 3], "s": [[[], [[1, 0, 0], 1]]]},
    ]
    for _ in range(3):
        found = collector.send(*conflicts)
    assert found["a_total"] == 1
    assert found["h_count"] == 1
    assert collector.dropped == {"conflict": 15}
    assert caplog.text.count("a has two meanings; the first one stays: counter with labels (none)") == 1


@pytest.mark.parametrize("name", ["rqk_jobs", "rqk_anything", "python", "process_open_fds"])
def test_names_of_the_worker_are_refused(name: str) -> None:
    collector = Watched(reserved=frozenset({"python_info", "process_open_fds"}))
    kind = "info" if name == "python" else "gauge"
    assert collector.send({"t": kind, "n": name, "s": [[[], {} if kind == "info" else 1]]}) == {}
    assert collector.dropped == {"name": 1}


def test_the_number_of_series_is_bounded_and_known_series_go_on() -> None:
    collector = Watched(max_series=10)
    many = counter("many", l=["x"], s=[[[str(number)], 1] for number in range(15)])
    collector.send(many)
    found = collector.send(many, counter("other"), {"t": "histogram", "n": "h", "b": [1], "s": [[[], [[1, 0], 1]]]})
    assert found == {f"many_total{{x={number}}}": 2 for number in range(10)}
    assert collector.series == 10
    assert collector.dropped == {"limit": 5 + 5 + 1 + 1}


def test_too_many_bytes_are_not_even_parsed() -> None:
    collector = Watched()
    collector.add(b" " * (MAX_BYTES + 1))
    assert collector.dropped == {"oversize": 1}


def test_what_the_job_left_out_is_counted() -> None:
    collector = Watched()
    collector.add(b'{"v":1,"f":[],"x":12}')
    assert collector.dropped == {"oversize": 12}


def test_text_that_utf8_cannot_say_does_not_break_the_page() -> None:
    collector = Watched()
    assert collector.send(counter(l=["x"], s=[[["\ud800"], 1]], d="\udfff")) == {"c_total{x=?}": 1}


def test_one_nan_in_a_sum_does_not_stay() -> None:
    collector = Watched()
    collector.send({"t": "summary", "n": "s", "s": [[[], [1, float("nan")]]]})
    assert collector.send({"t": "summary", "n": "s", "s": [[[], [1, 5]]]}) == {"s_count": 2, "s_sum": 5}


texts = st.text(max_size=8) | st.sampled_from(["c", "n", "le", "a_total", "rqk_x", "\ud800", "counter", "histogram"])
numbers = st.integers() | st.floats() | st.booleans() | st.none()
anything = st.recursive(
    numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["a", "a_total", "a_sum", "b", "b_bucket", "b_info", "rqk_no"])
values = st.lists(texts, max_size=2)
families = st.fixed_dictionaries(
    {
        "t": st.sampled_from(["counter", "gauge", "histogram", "summary", "info", "stateset"]),
        "n": names,
        "s": st.lists(st.tuples(values, anything | st.tuples(st.lists(numbers, max_size=3), numbers)), max_size=3),
    },
    optional={
        "l": st.lists(st.sampled_from(["x", "y", "le"]), max_size=2),
        "b": anything,
        "d": anything,
        "u": anything,
    },
)


@given(st.lists(st.lists(families | anything, max_size=4), max_size=4))
def test_whatever_jobs_send_both_formats_can_be_read_again(sent: list[list[Any]]) -> None:
    collector = Watched(max_series=20)
    for delta in sent:
        collector.send(*delta)
    registry = CollectorRegistry()
    registry.register(collector)
    list(parse_openmetrics(openmetrics(registry).decode()))
    assert collector.series <= 20
