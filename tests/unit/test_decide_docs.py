"""docs/scaling.md tells the truth: its tables are what the code computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rqk.autoscale.compare import HEADER, POLICIES, TRACES, spec, summarised
from rqk.autoscale.decide import History, Reason, decide
from rqk.autoscale.seen import Observation, QueueSeen, WorkersSeen
from rqk.autoscale.simulate import simulate

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text()
SEEDS = 5

# second, waiting, busy, size before, size after, reason: the table "A day in the life".
DAY = [
    (0, 47, 0, 0, 10, "DepthTarget"),
    (5, 37, 10, 10, 10, "Steady"),
    (30, 2, 10, 10, 10, "Stabilizing"),
    (40, 0, 1, 10, 10, "Stabilizing"),
    (41, 0, 0, 10, 10, "Stabilizing"),
    (90, 0, 0, 10, 3, "Surplus"),
    (100, 0, 0, 3, 1, "Surplus"),
    (101, 0, 0, 1, 1, "KeptWarm"),
    (160, 0, 0, 1, 0, "Idle"),
]


def test_a_day_in_the_life() -> None:
    pool, history, size = spec(depth=5, most=10), History(), 0
    for second in range(161):
        row = next(row for row in reversed(DAY) if row[0] <= second)
        seen = Observation(size, (QueueSeen("q", row[1]),), WorkersSeen(idle=max(0, size - row[2]), busy=row[2]))
        decision, history = decide(pool, seen, history, float(second))
        if row[0] == second:
            assert (decision.before, decision.replicas, decision.reason.value) == row[3:], f"second {second}"
        size = decision.replicas


@pytest.mark.parametrize("row", DAY, ids=lambda row: f"second {row[0]}")
def test_the_day_is_told_in_the_document(row: tuple[int, int, int, int, int, str]) -> None:
    second, waiting, busy, before, after, reason = row
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {second} | ")]
    assert reason in line
    assert (f"{before} → {after}" if before != after else f"| {after} |") in line
    assert not waiting or f"{waiting} waiting" in line
    assert not busy or f"{busy} busy" in line


def test_every_reason_is_explained() -> None:
    for reason in Reason:
        assert f"`{reason.value}`" in TEXT


def test_the_comparison_has_a_row_for_each_policy_and_trace() -> None:
    assert HEADER in TEXT
    for trace in TRACES:
        for policy in POLICIES:
            assert f"| {trace} | {policy} | " in TEXT


@pytest.mark.parametrize(
    ("trace", "policy"),
    [
        ("100 jobs of 10 min at once", "KEDA, list, target 5 (default)"),
        ("100 jobs of 10 min at once", "rqk, targetDepthPerWorker 1"),
        ("1000 jobs of 10 s at once", "rqk, targetWaitSeconds 30"),
    ],
)
def test_its_figures_are_those_of_the_simulation(trace: str, policy: str) -> None:
    """Three rows of it; all of them take minutes."""
    make, horizon = TRACES[trace]
    outcomes = [simulate(make(seed), POLICIES[policy](), seed=seed, horizon=horizon) for seed in range(SEEDS)]
    assert str(summarised(trace, policy, outcomes)) in TEXT
