"""The operator's own metrics. What is about pools is read from them when somebody asks, so it is never stale or left over."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rqk.autoscale.retire import Duty
from rqk.metrics.catalogue import Family
from rqk.metrics.instruments import OwnRegistry, counter, gauge, histogram
from rqk.version import __version__
from rqk_operator import catalogue
from rqk_operator.pools import PoolState


class OperatorMetrics:
    """What the loop tells. ``pools`` gives those that are served now; a standby shows none."""

    def __init__(self, pools: Callable[[], Iterable[PoolState]]) -> None:
        self.registry = OwnRegistry()
        build = gauge(catalogue.BUILD_INFO, self.registry)
        build.labels(__version__, platform.python_version()).set(1)
        self._leader = gauge(catalogue.LEADER, self.registry)
        self._last_tick = gauge(catalogue.LAST_TICK, self.registry)
        self._tick = histogram(catalogue.TICK, self.registry)
        self._decisions = counter(catalogue.DECISIONS, self.registry)
        self._polls = counter(catalogue.POLLS, self.registry)
        self._errors = counter(catalogue.ERRORS, self.registry)
        self._reaction = histogram(catalogue.REACTION, self.registry)
        self._requests = counter(catalogue.REQUESTS, self.registry)
        for kind in catalogue.ERROR_KINDS:
            self._errors.labels(kind)
        for outcome in catalogue.POLL_OUTCOMES:
            self._polls.labels(outcome)
        self.registry.register(_PoolCollector(pools))
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self.registry.register(collector)

    def leads(self, leads: bool) -> None:
        """Whether this replica acts."""
        self._leader.set(1 if leads else 0)

    def ticked(self, seconds: float, at: float) -> None:
        """A round ended; ``at`` is epoch seconds."""
        self._tick.observe(seconds)
        self._last_tick.set(at)

    def polled(self, ok: bool) -> None:
        """A Redis was looked at."""
        self._polls.labels("ok" if ok else "error").inc()

    def decided(self, namespace: str, pool: str, reason: str) -> None:
        """A pool's size was decided on."""
        self._decisions.labels(namespace, pool, reason).inc()

    def forget(self, namespace: str, pool: str) -> None:
        """The pool is gone; its series end."""
        self._decisions.remove_by_labels({"namespace": namespace, "pool": pool})

    def failed(self, kind: str) -> None:
        """Something could not be done: redis, kubernetes, manifest or internal."""
        self._errors.labels(kind).inc()

    def reacted(self, seconds: float) -> None:
        """A pool grew so long after its oldest job was enqueued."""
        self._reaction.observe(seconds)

    def requested(self, verb: str, status: int) -> None:
        """The API server was asked."""
        self._requests.labels(verb, str(status)).inc()


class _PoolCollector(Collector):
    """Gauges of all pools, made when they are asked for."""

    def __init__(self, pools: Callable[[], Iterable[PoolState]]) -> None:
        self._pools = pools

    def collect(self) -> Iterator[Metric]:
        pools = list(self._pools())
        families = {
            family: GaugeMetricFamily(family.name, family.help, labels=family.labels)
            for family in (
                catalogue.REPLICAS,
                catalogue.DEPTH,
                catalogue.WAIT,
                catalogue.LIMITS,
                catalogue.TARGET_WAIT,
                catalogue.REDIS_UP,
            )
        }
        count = GaugeMetricFamily(catalogue.POOLS.name, catalogue.POOLS.help)
        count.add_metric([], len(pools))
        yield count
        for state in pools:
            _add(families, state)
        yield from families.values()

    def describe(self) -> Iterator[Metric]:
        return iter(())


def _add(families: dict[Family, GaugeMetricFamily], state: PoolState) -> None:
    where = [state.about.namespace, state.about.name]
    for kind, number in _replicas(state).items():
        families[catalogue.REPLICAS].add_metric([*where, kind], number)
    for queue in state.observed.queues if state.observed is not None else ():
        if queue.waiting is not None:
            families[catalogue.DEPTH].add_metric([*where, queue.name], queue.waiting + queue.due)
            families[catalogue.WAIT].add_metric([*where, queue.name], queue.oldest_wait or 0.0)
    if state.pool is not None:
        scaling = state.pool.spec.scaling
        families[catalogue.LIMITS].add_metric([*where, "min"], scaling.min_replicas)
        families[catalogue.LIMITS].add_metric([*where, "max"], scaling.max_replicas)
        if scaling.target_wait_seconds is not None:
            families[catalogue.TARGET_WAIT].add_metric(where, scaling.target_wait_seconds)
    if state.redis_known or state.access_trouble is not None:
        families[catalogue.REDIS_UP].add_metric(
            where, 0 if state.redis_since is not None or state.access_trouble is not None else 1
        )


def _replicas(state: PoolState) -> dict[str, int]:
    active = [pod for pod in list(state.pods.values()) if pod.active]
    found = {"actual": len(active), "ready": sum(pod.ready for pod in active)}
    if state.decision is not None:
        found["desired"] = state.decision.replicas
    crew = state.observed.workers if state.observed is not None else None
    if crew is not None:
        found |= {Duty.BUSY.value: crew.busy, Duty.IDLE.value: crew.idle, Duty.RETIRING.value: crew.retiring}
    return found
