"""What a job did to its own metrics, seen from the other side of a fork."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import prometheus_client as prom
import pytest

from rqk.metrics.delta import MAX_BYTES, Baseline
from tests.metrics.forks import deltas, in_fork, merged

ROOT = Path(__file__).resolve().parents[2]
made: dict[str, Any] = {}
"""What `preload` of a test made, for its jobs; filled in forked processes only."""


def a_counter() -> None:
    made["c"] = prom.Counter("shop_orders", "Orders", ["shop"])
    made["c"].labels("north").inc(5)


def test_counters_histograms_and_summaries_add_up_over_jobs() -> None:
    def job() -> None:
        prom.Counter("orders_total", "Orders", ["shop"]).labels("north").inc(2)
        histogram = prom.Histogram("price_euros", "Prices", buckets=(1, 10))
        for price in (0.5, 5, 50):
            histogram.observe(price)
        summary = prom.Summary("weight_grams", "Weights", ["kind"])
        summary.labels("box").observe(3)

    assert merged(deltas([job, job])) == {
        "orders_total{shop=north}": 4,
        "price_euros_bucket{le=1.0}": 2,
        "price_euros_bucket{le=10.0}": 4,
        "price_euros_bucket{le=+Inf}": 6,
        "price_euros_count": 6,
        "price_euros_sum": 111,
        "weight_grams_count{kind=box}": 2,
        "weight_grams_sum{kind=box}": 6,
    }


def test_gauges_infos_and_enums_show_what_was_set_last() -> None:
    def preload() -> None:
        made["g"] = prom.Gauge("temperature", "Degrees")
        made["i"] = prom.Info("release", "Release")
        made["e"] = prom.Enum("door", "Door", states=["open", "shut"])

    def first() -> None:
        made["g"].set(20)
        made["i"].info({"name": "one"})
        made["e"].state("shut")

    def second() -> None:
        made["g"].set(-4.5)
        made["i"].info({"name": "two"})
        made["e"].state("open")

    assert merged(deltas([first, second], preload)) == {
        "temperature": -4.5,
        "release_info{name=two}": 1,
        "door{door=open}": 1,
        "door{door=shut}": 0,
    }


def test_what_a_fork_inherits_is_not_counted_again() -> None:
    jobs = [lambda: made["c"].labels("north").inc()] * 3
    assert merged(deltas(jobs, a_counter)) == {"shop_orders_total{shop=north}": 3}


def test_a_label_first_used_in_a_job_counts_from_zero() -> None:
    assert merged(deltas([lambda: made["c"].labels("south").inc(7)], a_counter)) == {"shop_orders_total{shop=south}": 7}


def test_nothing_changed_is_nothing_to_send() -> None:
    assert deltas([lambda: None], a_counter) == [b""]


def test_a_recycled_process_sends_each_job_once() -> None:
    jobs = [lambda: made["c"].labels("north").inc(1), lambda: None, lambda: made["c"].labels("north").inc(10)]
    sent = deltas(jobs, a_counter, recycled=True)
    assert sent[1] == b""
    assert merged(sent) == {"shop_orders_total{shop=north}": 11}


@pytest.mark.parametrize("recycled", [False, True])
def test_a_gauge_set_to_the_value_it_has_was_set(recycled: bool) -> None:
    def preload() -> None:
        made["g"] = prom.Gauge("level", "Level")

    jobs = [lambda: made["g"].set(3), lambda: made["g"].set(0), lambda: made["g"].set(0.0)]
    sent = deltas(jobs, preload, recycled=recycled)
    assert all(sent)
    assert merged(sent) == {"level": 0}


def test_defining_a_gauge_does_not_overwrite_what_another_job_set() -> None:
    def importing() -> None:
        made["g"] = prom.Gauge("level", "Level")
        made["n"] = prom.Gauge("levels", "Level", ["tank"])
        made["n"].labels("a")

    def setting() -> None:
        importing()
        made["g"].set(0.0)
        made["n"].labels("a").inc()
        made["n"].labels("a").dec()

    assert deltas([importing]) == [b""]
    assert merged(deltas([setting, importing])) == {"level": 0, "levels{tank=a}": 0}


def test_a_series_removed_and_made_again_starts_anew() -> None:
    def job() -> None:
        made["c"].remove("north")
        made["c"].labels("north").inc(9)

    assert merged(deltas([job], a_counter)) == {"shop_orders_total{shop=north}": 9}


def test_a_reset_counter_counts_from_zero() -> None:
    def job() -> None:
        made["c"].labels("north").reset()
        made["c"].labels("north").inc(2)

    assert merged(deltas([job], a_counter)) == {"shop_orders_total{shop=north}": 2}


def test_a_metric_unregistered_by_the_job_is_left_out() -> None:
    assert deltas([lambda: prom.REGISTRY.unregister(made["c"])], a_counter) == [b""]


def test_units_texts_and_names_of_the_library_survive() -> None:
    def job() -> None:
        prom.Gauge("heat", "How hot \\ it\nis", unit="celsius", namespace="oven").set(float("nan"))
        prom.Counter("seen", "Ünïcode", ["x"]).labels('a "quoted"\nline\\').inc()
        prom.Gauge("infinite", "").set(float("inf"))

    found = merged(deltas([job]))
    assert found.keys() == {"oven_heat_celsius", 'seen_total{x=a "quoted"\nline\\}', "infinite"}
    assert found["infinite"] == float("inf")


def test_the_process_itself_and_callbacks_are_not_shipped() -> None:
    def job() -> None:
        prom.Gauge("callback", "").set_function(lambda: 42)

    assert deltas([job]) == [b""]
    assert deltas([lambda: None], job) == [b""]


def test_a_metric_that_keeps_its_values_elsewhere_loses_only_itself() -> None:
    class Odd(prom.Counter):
        def _metric_init(self) -> None:
            self._values = 1

    def job() -> None:
        Odd("odd", "")
        prom.Counter("even", "").inc()

    sent = deltas([job])
    assert json.loads(sent[0])["x"] == 1
    assert merged(sent) == {"even_total": 1}


def test_what_does_not_fit_is_left_out_and_counted() -> None:
    def job() -> None:
        prom.Counter("small", "").inc()
        huge = prom.Counter("huge", "", ["x"])
        for number in range(30_000):
            huge.labels(f"{number:050}").inc()

    [sent] = deltas([job])
    assert len(sent) <= MAX_BYTES
    assert json.loads(sent)["x"] == 30_000
    assert merged([sent]) == {"small_total": 1}


def test_looking_at_unchanged_metrics_is_much_cheaper_than_collecting_them() -> None:
    def measured() -> bytes:
        counter = prom.Counter("many", "", ["x"])
        histogram = prom.Histogram("more", "", ["x"])
        for number in range(200):
            counter.labels(number).inc()
            histogram.labels(number).observe(1)
        baseline = Baseline.take()
        looking = min(clocked(baseline.delta) for _ in range(10))
        collecting = min(clocked(lambda: list(prom.REGISTRY.collect())) for _ in range(5))
        return json.dumps([looking, collecting]).encode()

    looking, collecting = json.loads(in_fork(measured))
    assert looking < collecting / 4


def clocked(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def python(code: str, **environment: str) -> str:
    return subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True, env={**environment, "PATH": ""})


def test_without_prometheus_client_nothing_is_imported_and_nothing_sent() -> None:
    code = (
        "import sys; from rqk.metrics.delta import Baseline; "
        "print(Baseline.take().delta(), 'prometheus_client' in sys.modules)"
    )
    assert python(code).split() == ["b''", "False"]


def test_multi_process_mode_is_said_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = (
        "from rqk.metrics.delta import Baseline; import prometheus_client as p; b = Baseline.take(); "
        "p.Counter('c', '').inc(); print(b.delta().decode(), end='')"
    )
    sent = python(code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).encode()
    assert merged([sent, sent]) == {}
    assert caplog.text.count("PROMETHEUS_MULTIPROC_DIR") == 1
