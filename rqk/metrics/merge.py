"""In the supervisor: what jobs sent of the user's own metrics, checked and added up, for the worker's /metrics.

A delta (delta.py says how it looks) comes from a process that ran somebody's code and is not trusted: every size, type
and name is checked here before anything is kept, and the number of series is bounded. For one name the first meaning
wins; a later one with another type, other labels or other buckets is refused. Names of our own are refused too.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from rqk.metrics.delta import MAX_BYTES, VERSION
from rqk.metrics.instruments import sample_names
from rqk.metrics.untrusted import Malformed, Meaning, Refused, Sample, read_families

DEFAULT_MAX_SERIES = 10_000
"""About 10 MB of memory and half a second of a scrape; a worker's job metrics should have dozens."""

OWN_PREFIX = "rqk_"

_MOST_CAUSES_LOGGED = 100

_bound_text: Callable[[float], str] = floatToGoString
"""A bucket's bound as prometheus_client writes it, so that shipped and local histograms have the same labels."""

log = logging.getLogger(__name__)


@dataclass
class _Kept:
    """One family: its meaning, and per label values what the jobs' deltas came to."""

    meaning: Meaning
    series: dict[tuple[str, ...], Any] = field(default_factory=dict)


class MergedCollector:
    """The user's metrics of all jobs of this worker so far, as a collector for a prometheus_client registry.

    reserved: names (with their suffixes) that no user metric may take, beside everything that starts with ``rqk_``.
    max_series: how many series to keep, counted as Prometheus will (a histogram's child is its buckets and two more).
    on_drop(reason, count): told about everything refused; reasons are catalogue.DROP_REASONS.

    `add` and `collect` may run in different threads.
    """

    def __init__(
        self,
        reserved: Iterable[str] = (),
        max_series: int = DEFAULT_MAX_SERIES,
        on_drop: Callable[[str, int], object] = lambda reason, count: None,
    ) -> None:
        self._reserved = frozenset(reserved)
        self._max_series = max_series
        self._on_drop = on_drop
        self._kept: dict[str, _Kept] = {}
        self._owners: dict[str, str] = {}
        self._logged: set[tuple[str, str]] = set()
        self._lock = Lock()
        self.series = 0
        """How many series are kept now."""

    def add(self, delta: bytes) -> None:
        """Add one job's delta. Never raises, whatever the bytes are."""
        if len(delta) > MAX_BYTES:
            self._drop("oversize", 1, "", f"a job sent {len(delta)} bytes of metrics, more than {MAX_BYTES}")
            return
        try:
            message = json.loads(delta)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or message.get("v") != VERSION or not isinstance(message.get("f"), list):
            self._drop("malformed", 1, "", "a job sent metrics that cannot be understood")
            return
        if message.get("note") == "multiprocess":
            self._log_once(
                ("note", ""),
                "jobs run with PROMETHEUS_MULTIPROC_DIR set: their metrics go to its files and not to this page; "
                "unset it to see them here",
            )
        left_out = message.get("x")
        if isinstance(left_out, int) and left_out > 0:
            self._drop("oversize", min(left_out, MAX_BYTES), "", "a job had more metrics than fit into its message")
        with self._lock:
            for family in read_families(message["f"]):
                if isinstance(family, Malformed):
                    self._drop("malformed", 1, family.name, f"a job sent a bad metric: {family.why}")
                else:
                    meaning, samples = family
                    try:
                        self._merge(self._family(meaning), samples)
                    except Refused as refused:
                        self._drop(refused.reason, len(samples), meaning.name, str(refused))

    def describe(self) -> list[Metric]:
        """No names in advance: they are only known when jobs run, and `add` keeps them apart from the registry's."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families in the order in which they first appeared."""
        with self._lock:
            metrics = [_metric(kept) for kept in self._kept.values()]
        yield from metrics

    def _family(self, meaning: Meaning) -> _Kept:
        """The family with this meaning; a new one claims its names. Raises Refused."""
        kept = self._kept.get(meaning.name)
        if kept is not None:
            if not kept.meaning.agrees(meaning):
                raise Refused("conflict", f"{meaning.name} has two meanings; the first one stays: {kept.meaning}")
            return kept
        names = sample_names(meaning.name, meaning.kind)
        if any(name.startswith(OWN_PREFIX) or name in self._reserved for name in names):
            raise Refused("name", f"{meaning.name} is refused: the name belongs to the worker's own metrics")
        for name in names:
            if name in self._owners:
                raise Refused("conflict", f"{meaning.name} would share the name {name} with {self._owners[name]}")
        if self.series + meaning.width > self._max_series:
            raise Refused("limit", f"{meaning.name} is refused: {self._max_series} series are kept already")
        kept = self._kept[meaning.name] = _Kept(meaning)
        self._owners.update(dict.fromkeys(names, meaning.name))
        return kept

    def _merge(self, kept: _Kept, samples: list[Sample]) -> None:
        width = kept.meaning.width
        for labels, value in samples:
            old = kept.series.get(labels)
            if old is None:
                if self.series + width > self._max_series:
                    why = f"a new series of {kept.meaning.name} is refused: {self._max_series} are kept already"
                    self._drop("limit", 1, kept.meaning.name, why)
                    continue
                self.series += width
            kept.series[labels] = _sum(kept.meaning.kind, old, value)

    def _drop(self, reason: str, count: int, name: str, why: str) -> None:
        self._on_drop(reason, count)
        self._log_once((reason, name), f"{why}; counted in rqk_user_metrics_dropped_total, not logged again")

    def _log_once(self, cause: tuple[str, str], text: str) -> None:
        if cause not in self._logged and len(self._logged) < _MOST_CAUSES_LOGGED:
            self._logged.add(cause)
            log.warning("%s", text, extra={"action": "user_metrics"})


def _sum(kind: str, old: Any, value: Any) -> Any:
    """What was kept and what a job adds; values are never changed in place."""
    if old is None or kind in ("gauge", "info", "stateset"):
        return value
    if kind == "counter":
        return old + value
    if kind == "summary":
        return (old[0] + value[0], old[1] + value[1])
    return (tuple(map(float.__add__, old[0], value[0])), old[1] + value[1])


def _metric(kept: _Kept) -> Metric:
    """A family as prometheus_client's exposition wants it."""
    meaning = kept.meaning
    name, kind = meaning.name, meaning.kind
    metric = Metric(name, meaning.help, kind, meaning.unit)
    for values, value in kept.series.items():
        labels = dict(zip(meaning.labels, values, strict=True))
        if kind == "counter":
            metric.add_sample(name + "_total", labels, value)
        elif kind == "gauge":
            metric.add_sample(name, labels, value)
        elif kind == "summary":
            metric.add_sample(name + "_count", labels, value[0])
            metric.add_sample(name + "_sum", labels, value[1])
        elif kind == "info":
            metric.add_sample(name + "_info", {**value, **labels}, 1.0)
        elif kind == "stateset":
            for index, state in enumerate(meaning.states):
                metric.add_sample(name, {**labels, name: state}, 1.0 if index == value else 0.0)
        else:
            total = 0.0
            for bound, count in zip((*meaning.bounds, math.inf), value[0], strict=True):
                total += count
                metric.add_sample(name + "_bucket", {**labels, "le": _bound_text(bound)}, total)
            metric.add_sample(name + "_count", labels, total)
            if not meaning.bounds or meaning.bounds[0] >= 0:
                metric.add_sample(name + "_sum", labels, value[1])
    return metric
