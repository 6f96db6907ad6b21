"""From the catalogue's declarations to prometheus_client's instruments, and the registry they live in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import RestrictedRegistry

from rqk.metrics.catalogue import Family, Kind

_HAS_CREATED = frozenset({"counter", "summary", "histogram"})


class OwnRegistry(CollectorRegistry):
    """A registry of our own: never the process-wide one, and without the ``_created`` series.

    The text format turns each counter's and histogram's creation time into one more gauge series, which hardly anybody
    reads and everybody pays for. prometheus_client's own switch for that is process-wide and belongs to the user.
    """

    def collect(self) -> Iterator[Metric]:
        for metric in super().collect():
            if metric.type in _HAS_CREATED:
                yield _only(metric, sample_names(metric.name, metric.type) - {metric.name + "_created"})
            else:
                yield metric

    def restricted_registry(self, names: Iterable[str]) -> Selection:
        """Only the samples with these names; other than the base class', also of collectors that cannot tell in
        advance what they hold, as the users' metrics."""
        return Selection(self, frozenset(names))


class Selection(RestrictedRegistry):
    """A registry cut down to some names, as ``/metrics?name[]=…`` asks for."""

    def __init__(self, registry: OwnRegistry, names: frozenset[str]) -> None:
        super().__init__(names, registry)
        self._whole = registry
        self._names = names

    def collect(self) -> Iterator[Metric]:
        for metric in self._whole.collect():
            chosen = _only(metric, self._names)
            if chosen.samples:
                yield chosen


def _only(metric: Metric, names: Collection[str]) -> Metric:
    """A copy with the samples of these names; some collectors hand out the same object each time."""
    chosen = Metric(metric.name, metric.documentation, metric.type, metric.unit)
    chosen.samples = [sample for sample in metric.samples if sample.name in names]
    return chosen


def count_in_memory() -> None:
    """Let the instruments made from now on in this process count in its memory, whatever the environment says.

    A PROMETHEUS_MULTIPROC_DIR left over from another worker would make prometheus_client write ours into files of that
    directory, and fail if it does not exist. A supervisor is one process and needs no files.
    """
    values.ValueClass = values.MutexValue


def counter(family: Family, registry: CollectorRegistry) -> Counter:
    """The counter that ``family`` declares. Raises ValueError if it declares something else."""
    _expect(family, Kind.COUNTER)
    return Counter(family.name, family.help, family.labels, registry=registry)


def gauge(family: Family, registry: CollectorRegistry) -> Gauge:
    """The gauge that ``family`` declares. Raises ValueError if it declares something else."""
    _expect(family, Kind.GAUGE)
    return Gauge(family.name, family.help, family.labels, registry=registry)


def histogram(family: Family, registry: CollectorRegistry) -> Histogram:
    """The histogram that ``family`` declares. Raises ValueError if it declares something else."""
    _expect(family, Kind.HISTOGRAM)
    return Histogram(family.name, family.help, family.labels, registry=registry, buckets=family.buckets)


def sample_names(name: str, kind: str) -> frozenset[str]:
    """Every name under which a metric of this type (prometheus_client's word) may appear on a page, its own included."""
    suffixes = {
        "counter": ("_total", "_created"),
        "summary": ("_sum", "_count", "_created"),
        "histogram": ("_bucket", "_sum", "_count", "_created"),
        "info": ("_info",),
    }.get(kind, ())
    return frozenset({name, *(name + suffix for suffix in suffixes)})


def taken_names(metrics: Iterable[Metric]) -> frozenset[str]:
    """Every name that these metrics occupy on a page."""
    return frozenset().union(*(sample_names(metric.name, metric.type) for metric in metrics))


def _expect(family: Family, kind: Kind) -> None:
    if family.kind is not kind:
        raise ValueError(f"{family.name} is declared as a {family.kind.value}, not as a {kind.value}")
