"""What a worker tells Prometheus about itself: one method per event, called by the supervisor.

The instruments are declared in catalogue.py. The two methods on the way of every job (`job_claimed`, `job_ended`) cost
a few microseconds: label children are looked up in plain dicts, not through prometheus_client's ``labels()``.

Import this module only after the zygote was forked: it loads prometheus_client, which the user's jobs should find
untouched (and which costs memory that every fork would carry).
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from prometheus_client import Counter, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from rqk.metrics import catalogue
from rqk.metrics.instruments import OwnRegistry, count_in_memory, counter, gauge, histogram, taken_names
from rqk.metrics.merge import DEFAULT_MAX_SERIES, MergedCollector
from rqk.metrics.untrusted import clean

OTHER = "other"
"""The function label of everything beyond the first `max_funcs` functions."""

_LONGEST_FUNC = 200
"""Characters of a function's name that become a label; the name comes from the job and may be anything."""


class WorkerMetrics:
    """The instruments of one worker.

    worker: the worker's name in Redis. queues: the queues it serves, in its order. version: rqk's version.
    max_funcs: how many different functions get a ``func`` label of their own (later ones share ``other``); at least 1.
    max_user_series: how many series of the users' own metrics are kept.

    Methods may be called from one thread (the supervisor's) while `registry` is collected in another.
    """

    def __init__(
        self,
        worker: str,
        queues: Sequence[str],
        version: str,
        max_funcs: int = 100,
        *,
        max_user_series: int = DEFAULT_MAX_SERIES,
    ) -> None:
        if max_funcs < 1:
            raise ValueError(f"max_funcs must be at least 1, not {max_funcs}")
        count_in_memory()
        self.registry = OwnRegistry()
        self._max_funcs = max_funcs
        self._funcs: dict[str, str] = {}
        self._running = dict.fromkeys(queues, 0)
        self._state = ""
        self._queue_series: set[tuple[str, ...]] = set()

        gauge(catalogue.BUILD_INFO, self.registry).labels(version, platform.python_version()).set(1)
        gauge(catalogue.WORKER_INFO, self.registry).labels(clean(worker), clean(",".join(queues))).set(1)
        states = gauge(catalogue.WORKER_STATE, self.registry)
        for state in catalogue.WORKER_STATES:
            states.labels(state).set_function(partial(self._is_in, state))
        self._heartbeat = gauge(catalogue.WORKER_HEARTBEAT, self.registry)

        self._claimed = counter(catalogue.JOBS_CLAIMED, self.registry)
        self._jobs = counter(catalogue.JOBS, self.registry)
        self._duration = histogram(catalogue.JOB_DURATION, self.registry)
        self._wait = histogram(catalogue.JOB_WAIT, self.registry)
        self._peak = gauge(catalogue.JOB_PEAK_MEMORY, self.registry)
        self._claims: dict[str, tuple[Counter, Histogram]] = {}
        self._ends: dict[tuple[str, str], _FuncSeries] = {}

        self._queue_jobs = gauge(catalogue.QUEUE_JOBS, self.registry)
        self._oldest = gauge(catalogue.QUEUE_OLDEST_WAIT, self.registry)
        self._seen = gauge(catalogue.QUEUE_SEEN, self.registry)
        self._janitor = counter(catalogue.JANITOR, self.registry)
        self._reconnects = counter(catalogue.REDIS_RECONNECTS, self.registry)
        self._roundtrip = histogram(catalogue.REDIS_ROUNDTRIP, self.registry)
        self._fork = histogram(catalogue.FORK, self.registry)
        self._zygotes = counter(catalogue.ZYGOTE_RESTARTS, self.registry)
        series = gauge(catalogue.USER_SERIES, self.registry)
        dropped = counter(catalogue.USER_DROPPED, self.registry)
        for reason in catalogue.DROP_REASONS:
            dropped.labels(reason)

        self.registry.register(_Running(self._running))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._users = MergedCollector(
            reserved=taken_names(self.registry.collect()),
            max_series=max_user_series,
            on_drop=lambda reason, count: dropped.labels(reason).inc(count),
        )
        series.set_function(lambda: self._users.series)
        self.registry.register(self._users)
        # Series that a rate is taken of exist from the start: a series born at 1 hides its first event from rate().
        for queue in queues:
            self._claim_series(queue)
            for action in catalogue.JANITOR_ACTIONS:
                self._janitor.labels(clean(queue), action)

    # --- the way of a job

    def job_claimed(self, queue: str, wait_seconds: float | None) -> None:
        """A job was taken from `queue` after waiting there (None: unknown). A negative wait (clocks differ) is 0."""
        series = self._claims.get(queue) or self._claim_series(queue)
        series[0].inc()
        if wait_seconds is not None and wait_seconds < math.inf:
            series[1].observe(max(wait_seconds, 0.0))
        self._running[queue] += 1

    def job_ended(
        self, queue: str, func: str, outcome: str, duration_seconds: float | None, peak_bytes: int | None
    ) -> None:
        """A claim is settled. `outcome`: one of catalogue.OUTCOMES (else ValueError). `duration_seconds`: None if the
        job never ran. `peak_bytes`: the largest resident memory of its process, None if unknown."""
        label = self._funcs.get(func) or self._label(func)
        series = self._ends.get((queue, label)) or self._func_series(queue, label)
        ended = series.outcomes.get(outcome)
        if ended is None:
            if outcome not in catalogue.OUTCOMES:
                raise ValueError(f"no such outcome: {outcome!r}; there are {', '.join(catalogue.OUTCOMES)}")
            ended = series.outcomes[outcome] = self._jobs.labels(clean(queue), label, outcome)
        ended.inc()
        if duration_seconds is not None and duration_seconds < math.inf:  # false for NaN, which would stay in the sum
            series.duration.observe(max(duration_seconds, 0.0))
        if peak_bytes is not None and peak_bytes > series.peak_bytes:
            series.peak_bytes = peak_bytes
            self._peak.labels(clean(queue), label).set(peak_bytes)
        if self._running.get(queue):  # an outcome of a claim made before a restart of ours must not go below zero
            self._running[queue] -= 1

    def user_delta(self, delta: bytes) -> None:
        """Add what a job sent of its own metrics (`rqk.metrics.delta.Baseline.delta`). Never raises, whatever is in
        it: refused parts are counted in rqk_user_metrics_dropped_total and logged once per cause."""
        if delta:
            self._users.add(delta)

    # --- the worker itself

    def worker_state(self, state: str) -> None:
        """The worker is in `state` now; one of catalogue.WORKER_STATES (else ValueError)."""
        if state == self._state:
            return
        if state not in catalogue.WORKER_STATES:
            raise ValueError(f"no such worker state: {state!r}; there are {', '.join(catalogue.WORKER_STATES)}")
        self._state = state

    def _is_in(self, state: str) -> float:
        """Whether the worker is in a state, at scrape time: it is told to be busy for each job, but idle at its next beat only."""
        busy = any(self._running.copy().values())
        now = "busy" if busy else "idle" if self._state == "busy" else self._state
        return float(state == now)

    def heartbeat(self, epoch: float) -> None:
        """Redis took our heartbeat at `epoch` (seconds since 1970, by this machine's clock)."""
        self._heartbeat.set(epoch)

    def redis_reconnect(self) -> None:
        """Redis was away and is back."""
        self._reconnects.inc()

    def redis_roundtrip(self, seconds: float) -> None:
        """Redis answered a step that does not wait for work."""
        self._roundtrip.observe(seconds)

    def fork_seconds(self, seconds: float) -> None:
        """A process for a job was asked for and arrived."""
        self._fork.observe(seconds)

    def zygote_restart(self) -> None:
        """The zygote died and a new one was started."""
        self._zygotes.inc()

    # --- the queues

    def queue_counts(
        self, counts: Mapping[str, Mapping[str, int]], oldest_wait: Mapping[str, float | None] | None = None
    ) -> None:
        """What a look at Redis found: jobs per queue and status, and how long each queue's first job has been waiting
        (None or missing: nobody waits). A queue that is not in `counts` could not be read and loses its series, since
        an old number would be taken for a true one."""
        seen: set[tuple[str, ...]] = set()
        for queue, statuses in counts.items():
            label = clean(queue)
            self._oldest.labels(label).set((oldest_wait or {}).get(queue) or 0.0)
            seen.add((label,))
            for status, number in statuses.items():
                self._queue_jobs.labels(label, status).set(number)
                seen.add((label, status))
        for gone in self._queue_series - seen:
            (self._oldest if len(gone) == 1 else self._queue_jobs).remove(*gone)
        self._queue_series = seen
        self._seen.set_to_current_time()

    def janitor(self, queue: str, action: str) -> None:
        """A dead worker's job was found; `action`: one of catalogue.JANITOR_ACTIONS (else ValueError)."""
        if action not in catalogue.JANITOR_ACTIONS:
            raise ValueError(f"no such action: {action!r}; there are {', '.join(catalogue.JANITOR_ACTIONS)}")
        self._janitor.labels(clean(queue), action).inc()

    # --- label children

    def _claim_series(self, queue: str) -> tuple[Counter, Histogram]:
        label = clean(queue)
        series = self._claims[queue] = (self._claimed.labels(label), self._wait.labels(label))
        self._running.setdefault(queue, 0)
        return series

    def _func_series(self, queue: str, label: str) -> _FuncSeries:
        shown = clean(queue)
        series = self._ends[queue, label] = _FuncSeries(self._duration.labels(shown, label))
        # Both from the start, so that a share of failures can be computed for a function that never failed.
        for outcome in ("finished", "failed"):
            series.outcomes[outcome] = self._jobs.labels(shown, label, outcome)
        return series

    def _label(self, func: str) -> str:
        label = clean(func)[:_LONGEST_FUNC] or "unknown"
        if len(self._funcs) >= self._max_funcs and label not in self._funcs:
            return OTHER
        # Keyed by what was given as well as by the label, but only names that fit: a job must not fill our memory.
        self._funcs[label] = label
        return label


class _FuncSeries:
    """The label children of one function in one queue."""

    __slots__ = ("duration", "outcomes", "peak_bytes")

    def __init__(self, duration: Histogram) -> None:
        self.duration = duration
        self.outcomes: dict[str, Counter] = {}
        self.peak_bytes = 0


class _Running:
    """rqk_jobs_running, read from plain numbers at scrape time: two gauge updates less for every job."""

    def __init__(self, running: dict[str, int]) -> None:
        self._running = running

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(catalogue.JOBS_RUNNING.name, catalogue.JOBS_RUNNING.help)]

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            catalogue.JOBS_RUNNING.name, catalogue.JOBS_RUNNING.help, labels=catalogue.JOBS_RUNNING.labels
        )
        for queue, number in self._running.copy().items():
            family.add_metric([clean(queue)], number)
        return [family]
