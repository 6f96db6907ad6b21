"""From a snapshot of Redis to what is known about one pool."""

from __future__ import annotations

from typing import Any

import pytest

from rqk.autoscale.compare import spec
from rqk.autoscale.model import PoolSpec, Worker
from rqk.autoscale.observe import duty, observe
from rqk.autoscale.retire import Duty
from rqk.autoscale.seen import Counter, Observation
from rqk.store.snapshot import QueueSnapshot, Snapshot, WorkerSnapshot

POOL = spec(depth=1).model_copy(update={"queues": ("high", "low")})


def snap(*workers: WorkerSnapshot, high: dict[str, Any] | None = None, **more: Any) -> Snapshot:
    queues = {"high": QueueSnapshot("high", **(high or {})), "low": QueueSnapshot("low")}
    return Snapshot(at=1.0, queues=queues, workers=workers, **more)


def seen(snapshot: Snapshot | None, pool: PoolSpec = POOL, replicas: int = 2) -> Observation:
    return observe(pool, snapshot, replicas=replicas, mine=lambda worker: worker.name.startswith("ours"))


def test_jobs_on_their_way_wait_too() -> None:
    found = seen(
        snap(high={"queued": 3, "intermediate": 1, "ready": 2, "oldest_wait": 7.5, "finished": 9, "failed": 9})
    )
    assert found.waiting == 6
    assert found.oldest_wait == 7.5
    assert found.readable


def test_due_jobs_count_only_where_somebody_would_move_them() -> None:
    due = snap(high={"due": 4, "scheduled": 9})
    assert seen(due).due == 4
    assert seen(due, POOL.model_copy(update={"worker": Worker(with_scheduler=False)})).due == 0


def test_no_answer_and_an_unreadable_queue_are_unknown() -> None:
    nothing = seen(None)
    assert not nothing.readable
    assert nothing.workers is None
    half = snap(high={"queued": 5})
    half.queues.pop("low")
    half.unreadable["low"] = "WRONGTYPE"
    assert not seen(half).readable
    assert seen(half).waiting == 5


@pytest.mark.parametrize(
    ("worker", "doing"),
    [
        (WorkerSnapshot("w", state="idle"), Duty.IDLE),
        (WorkerSnapshot("w", state="suspended"), Duty.IDLE),
        (WorkerSnapshot("w", state="started"), Duty.STARTING),
        (WorkerSnapshot("w", state="busy"), Duty.BUSY),
        (WorkerSnapshot("w", state="idle", executions=1), Duty.BUSY),
        (WorkerSnapshot("w", state="idle", current_job="j"), Duty.BUSY),
        (WorkerSnapshot("w", state="idle", retiring=True), Duty.RETIRING),
        (WorkerSnapshot("w", state="busy", executions=1, retiring=True), Duty.BUSY),
    ],
)
def test_what_a_worker_does(worker: WorkerSnapshot, doing: Duty) -> None:
    assert duty(worker) is doing


def test_only_the_pools_own_workers_make_its_crew() -> None:
    found = seen(
        snap(
            WorkerSnapshot("ours.1", ("high",), "busy", executions=1, successful=4, failed=1, working_time=2.5),
            WorkerSnapshot("ours.2", ("high",), "idle"),
            WorkerSnapshot("other", ("high",), "busy", executions=1),
            high={"started": 2},
        ),
        replicas=5,
    )
    assert found.workers is not None
    assert (found.workers.idle, found.workers.busy, found.workers.starting) == (1, 1, 3)
    assert found.workers.counters == (Counter("ours.1", 5, 2.5), Counter("ours.2", 0, 0.0))
    assert found.abandoned == 0


def test_a_started_job_that_no_live_worker_runs_is_abandoned() -> None:
    elsewhere = WorkerSnapshot("x", ("other queue",), "busy", executions=1)
    here = WorkerSnapshot("y", ("high",), "busy", executions=1)
    assert seen(snap(elsewhere, here, high={"started": 3})).abandoned == 2


def test_suspension_is_seen() -> None:
    assert seen(snap(suspended=True)).suspended


def test_a_smaller_crowd_gives_the_same_as_all_workers() -> None:
    both = WorkerSnapshot("ours.1", ("high", "low"), "idle")
    other = WorkerSnapshot("ours.2", ("other",), "idle")
    found = observe(POOL, snap(other), replicas=1, mine=lambda worker: True, crowd=[both, other])
    assert found == observe(POOL, snap(both, other), replicas=1, mine=lambda worker: True)
    assert found.workers is not None
    assert found.workers.idle == 1
