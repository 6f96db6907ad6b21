"""The table of docs/scaling.md: ``python -m rqk.autoscale.compare [SEEDS]`` runs every policy on every trace and prints it.

A few minutes of simulated hours; the same numbers each time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import mean

from rqk.autoscale.keda import KedaHpa
from rqk.autoscale.model import PoolSpec, Scaling
from rqk.autoscale.simulate import Outcome, Policy, Rqk, simulate
from rqk.autoscale.traces import Trace, burst, poisson, sparse

HOUR_S = 3600.0
HORIZON_S = 5.5 * HOUR_S

TRACES: dict[str, tuple[Callable[[int], Trace], float]] = {
    "100 jobs of 10 min at once": (lambda seed: burst(100, 600), HORIZON_S),
    "1000 jobs of 10 s at once": (lambda seed: burst(1000, 10), HORIZON_S),
    "an hour of 0.2 jobs/s, log-normal, mean 60 s": (lambda seed: poisson(0.2, 60, 1.5, HOUR_S, seed), HORIZON_S),
    "one job of 5 s every 10 min, 10 h": (lambda seed: sparse(600, 5, 10 * HOUR_S), 11 * HOUR_S),
}


def spec(*, depth: int | None = None, wait: int | None = None, most: int = 100) -> PoolSpec:
    """A pool with the default times."""
    return PoolSpec(
        queues=("default",),
        scaling=Scaling(max_replicas=most, target_depth_per_worker=depth, target_wait_seconds=wait),
    )


POLICIES: dict[str, Callable[[], Policy]] = {
    "KEDA, list, target 5 (default)": lambda: KedaHpa(list_length=5),
    "KEDA, list, target 1": lambda: KedaHpa(list_length=1),
    "KEDA, list + running, target 1": lambda: KedaHpa(list_length=1, count_running=True),
    "rqk, targetDepthPerWorker 5": lambda: Rqk(spec(depth=5)),
    "rqk, targetDepthPerWorker 1": lambda: Rqk(spec(depth=1)),
    "rqk, targetWaitSeconds 30": lambda: Rqk(spec(wait=30)),
}


@dataclass(frozen=True, slots=True)
class Row:
    """The means over the seeds."""

    trace: str
    policy: str
    killed: float
    thrown_away_hours: float
    wait_p50: float
    wait_p95: float
    pod_hours: float
    useful_hours: float
    peak: float
    finished: bool

    def __str__(self) -> str:
        unfinished = "" if self.finished else " (not done)"
        return (
            f"| {self.trace} | {self.policy} | {self.killed:.0f} | {self.thrown_away_hours:.1f} h "
            f"| {_short(self.wait_p50)} / {_short(self.wait_p95)} s | {self.pod_hours:.1f} ({self.useful_hours:.1f}) "
            f"| {self.peak:.0f}{unfinished} |"
        )


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


HEADER = """\
| trace | policy | busy workers killed | work thrown away | wait p50 / p95 | pod hours (useful) | most pods |
|---|---|---|---|---|---|---|"""


def rows(seeds: int) -> Iterator[Row]:
    """One row for each trace and policy."""
    for trace, (make, horizon) in TRACES.items():
        for policy, build in POLICIES.items():
            outcomes = [simulate(make(seed), build(), seed=seed, horizon=horizon) for seed in range(seeds)]
            yield summarised(trace, policy, outcomes)


def summarised(trace: str, policy: str, outcomes: list[Outcome]) -> Row:
    """The means of several runs."""
    return Row(
        trace,
        policy,
        killed=mean(outcome.killed for outcome in outcomes),
        thrown_away_hours=mean(outcome.thrown_away for outcome in outcomes) / HOUR_S,
        wait_p50=mean(outcome.wait_p50 for outcome in outcomes),
        wait_p95=mean(outcome.wait_p95 for outcome in outcomes),
        pod_hours=mean(outcome.pod_seconds for outcome in outcomes) / HOUR_S,
        useful_hours=mean(outcome.useful_seconds for outcome in outcomes) / HOUR_S,
        peak=mean(outcome.peak for outcome in outcomes),
        finished=all(outcome.done_at is not None for outcome in outcomes),
    )


if __name__ == "__main__":
    print(HEADER)
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        print(row, flush=True)
