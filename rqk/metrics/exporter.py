"""Metrics of a whole Redis on one target: rq-exporter's names, labels and values, and what it lacks.

Each scrape takes one snapshot, which never writes (rq-exporter's dashboards keep working, and no registry is cleaned
by a look at it). While Redis is away a scrape still succeeds: it says so, and has no queue or worker in it, because old
numbers would be taken for true ones.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    Summary,
    make_wsgi_app,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from rqk.errors import StoreError, StoreRefused
from rqk.metrics import catalogue
from rqk.metrics.catalogue import Family
from rqk.metrics.endpoint import Endpoint, Health
from rqk.metrics.instruments import count_in_memory
from rqk.metrics.settings import DEFAULT_HOST, exporter_settings
from rqk.metrics.untrusted import clean
from rqk.settings import DEFAULT_EXPORTER_PORT
from rqk.store.connect import bytes_client, connect, describe, talk
from rqk.store.snapshot import QueueSnapshot, Snapshot, WorkerSnapshot, snapshot

if TYPE_CHECKING:
    from rqk.store.connect import Client

log = logging.getLogger(__name__)

_MEMORY = {"used": "used_memory", "peak": "used_memory_peak", "rss": "used_memory_rss", "max": "maxmemory"}


class RedisCollector:
    """A collector for a prometheus_client registry: all queues and workers of one Redis.

    client: to ask with; anything that `rqk.store.connect` makes, or a user's own. django_names: also emit the names of
    django-rq's collector. observe: told how many seconds each scrape took.
    """

    def __init__(
        self,
        client: Client,
        *,
        django_names: bool = False,
        observe: Callable[[float], object] | None = None,
    ) -> None:
        self._client = bytes_client(client)
        self._django_names = django_names
        self._observe = observe
        self._away = False

    def describe(self) -> Iterable[Metric]:
        """The names, so that registering does not ask Redis."""
        families = [family for family in catalogue.EXPORTER_FAMILIES if family is not catalogue.RQ_SCRAPE]
        if self._django_names:
            families += [family for family in catalogue.DJANGO_FAMILIES if family is not catalogue.DJANGO_SCRAPE]
        return [_family(family) for family in families]

    def collect(self) -> Iterator[Metric]:
        """Everything of this moment."""
        start = time.perf_counter()
        try:
            seen = snapshot(self._client)
            memory = self._memory()
        except StoreError as error:
            if not self._away:
                log.warning("%s; serving rqk_exporter_redis_up 0 until it answers", error, extra={"action": "away"})
            self._away = True
            yield _single(catalogue.REDIS_UP, 0)
        else:
            if self._away:
                log.info("%s answers again", describe(self._client), extra={"action": "back"})
            self._away = False
            yield from self._workers(seen)
            yield from self._queues(seen)
            yield _single(catalogue.REDIS_UP, 1)
            yield _single(catalogue.UNREADABLE, len(seen.unreadable))
            yield _single(catalogue.SUSPENDED, int(seen.suspended))
            if memory:
                yield _table(catalogue.REDIS_MEMORY, (((kind,), size) for kind, size in memory.items()))
        finally:
            if self._observe is not None:
                self._observe(time.perf_counter() - start)

    def _workers(self, seen: Snapshot) -> Iterator[Metric]:
        yield _table(
            catalogue.RQ_WORKERS, (((worker.name, worker.state, _joined(worker)), 1) for worker in seen.workers)
        )
        sources: list[tuple[Family, Callable[[WorkerSnapshot], float]]] = [
            (catalogue.RQ_SUCCESS, lambda worker: worker.successful),
            (catalogue.RQ_FAILED, lambda worker: worker.failed),
            (catalogue.RQ_WORKING, lambda worker: worker.working_time),
        ]
        if self._django_names:
            aliases = (catalogue.DJANGO_SUCCESS, catalogue.DJANGO_FAILED, catalogue.DJANGO_WORKING)
            sources += [(alias, value) for alias, (_, value) in zip(aliases, sources, strict=True)]
        for family, value in sources:
            yield _table(family, (((worker.name, _joined(worker)), value(worker)) for worker in seen.workers))

    def _queues(self, seen: Snapshot) -> Iterator[Metric]:
        queues = list(seen.queues.values())
        for family, states in (
            (catalogue.RQ_JOBS, catalogue.RQ_STATUSES),
            (catalogue.QUEUE_DEPTH, catalogue.ALL_STATES),
        ):
            yield _table(family, (((queue.name, state), getattr(queue, state)) for queue in queues for state in states))
        per_queue: list[tuple[Family, Callable[[QueueSnapshot], float]]] = [
            (catalogue.OLDEST_JOB_AGE, lambda queue: queue.oldest_wait or 0.0),
            (
                catalogue.SCHEDULER_LAG,
                lambda queue: 0.0 if queue.next_due is None else max(seen.at - queue.next_due, 0.0),
            ),
            (catalogue.SCHEDULER_DUE, lambda queue: queue.due),
        ]
        for family, value in per_queue:
            yield _table(family, (((queue.name,), value(queue)) for queue in queues))
        yield _table(catalogue.QUEUE_WORKERS, _served(seen).items())

    def _memory(self) -> dict[str, float]:
        try:
            with talk(self._client) as asked:
                told: dict[str, Any] = asked.info("memory")
        except StoreRefused:
            return {}  # the user of this exporter may not ask for INFO; the queues are what matters
        return {kind: float(told[name]) for kind, name in _MEMORY.items() if name in told}


def registry(client: Client, *, django_names: bool = False) -> CollectorRegistry:
    """Everything that the exporter shows, in a registry of its own."""
    count_in_memory()
    found = CollectorRegistry()
    GCCollector(registry=found)
    PlatformCollector(registry=found)
    ProcessCollector(registry=found)
    names = [catalogue.RQ_SCRAPE] + ([catalogue.DJANGO_SCRAPE] if django_names else [])
    summaries = [Summary(family.name, family.help, registry=found) for family in names]

    def observe(seconds: float) -> None:
        for summary in summaries:
            summary.observe(seconds)

    found.register(RedisCollector(client, django_names=django_names, observe=observe))
    return found


def serve(
    client: Client,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_EXPORTER_PORT,
    *,
    django_names: bool = False,
    stop: threading.Event | None = None,
    ready: Callable[[int], object] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, or until ``stop`` is set, if given (the signals are then left alone).

    ready: called with the port once it is open. Raises EndpointError if the address cannot be used; a taken port is not
    replaced, since Prometheus would not find another one. Redis need not be there, now or later.
    """
    if stop is None:
        stop = _on_signals()
    # The probes say that this process answers. They do not ask Redis: a restart would not bring it back.
    endpoint = Endpoint(
        host,
        port,
        registry(client, django_names=django_names),
        lambda: Health(live=True, ready=True),
        title="rqk exporter",
    )
    bound = endpoint.start(any_port=False)
    try:
        log.info("serving the metrics of %s on port %d", describe(client), bound, extra={"action": "serving"})
        if ready is not None:
            ready(bound)
        stop.wait()
    finally:
        endpoint.stop()


def _on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: asked.set())
    return asked


def create_app() -> Callable[..., Iterable[bytes]]:
    """A WSGI application configured by the environment, for ``gunicorn 'rqk.metrics.exporter:create_app()'``."""
    settings = exporter_settings()
    app: Callable[..., Iterable[bytes]] = make_wsgi_app(
        registry(connect(settings.redis_url), django_names=settings.django_names)
    )
    return app


def _served(seen: Snapshot) -> dict[tuple[str, str], int]:
    """How many workers of each state serve each queue."""
    tally: Tally[tuple[str, str]] = Tally()
    for worker in seen.workers:
        for queue in worker.queues:
            tally[queue, "retiring" if worker.retiring else worker.state] += 1
    idle = set(seen.queues) - {queue for queue, _ in tally}
    return {**tally, **{(queue, "none"): 0 for queue in idle}}


def _joined(worker: WorkerSnapshot) -> str:
    return ",".join(worker.queues)


def _family(family: Family) -> GaugeMetricFamily | CounterMetricFamily:
    kind = CounterMetricFamily if family.kind is catalogue.Kind.COUNTER else GaugeMetricFamily
    return kind(family.name, family.help, labels=family.labels)


def _table(family: Family, rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    metric = _family(family)
    for labels, value in rows:
        metric.add_metric([clean(label) for label in labels], value)
    return metric


def _single(family: Family, value: float) -> Metric:
    return _table(family, [((), value)])
