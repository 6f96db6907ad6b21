"""From what was seen of one pool to what is done: holding, blindness, a Deployment that is not ours."""

from __future__ import annotations

import time
from typing import Any

import pytest
from rqk_operator.events import About
from rqk_operator.metrics import OperatorMetrics
from rqk_operator.pools import PoolState
from rqk_operator.retire import LOWEST_COST, Directory, Plan
from rqk_operator.rules import GLANCE_S, REST_S, consider, rest, status_of, still_rests
from rqk_operator.status import Trouble, news
from rqk_operator.views import DeploymentView, PodView

from rqk.autoscale.decide import Reason
from rqk.autoscale.history import OUT_OF_SIGHT_S
from rqk.store.glance import Glance
from rqk.store.snapshot import QueueSnapshot, Snapshot, WorkerSnapshot
from tests.operator.test_manifests import pool
from tests.operator.test_status import NOW

QUICK = {"stabilizationSeconds": 0, "toZeroAfterSeconds": 0}


def state(*pods: PodView, replicas: int = 2, owner: str = "u1", **spec: Any) -> PoolState:
    scaling = {"targetDepthPerWorker": 1, "scaleDown": QUICK, **spec.pop("scaling", {})}
    made = PoolState(About("ns", "shop", "u1"), pool(scaling=scaling, **spec), 1)
    made.pods = {it.uid: it for it in pods}
    made.deployment = DeploymentView("ns", "shop", "d", 1, "shop", owner, replicas)
    return made


def pod(uid: str, **fields: Any) -> PodView:
    whole = {"phase": "Running", "running": True, "ready": True, "assigned": True, "template": "t", **fields}
    return PodView("ns", f"p-{uid}", uid, "shop", **whole)


def worker(uid: str, **fields: Any) -> WorkerSnapshot:
    return WorkerSnapshot(name=f"p-{uid}.{uid}", queues=("high", "low"), **{"state": "idle", **fields})


def snapshot(*workers: WorkerSnapshot, unreadable: tuple[str, ...] = ()) -> Snapshot:
    queues = {name: QueueSnapshot(name) for name in ("high", "low") if name not in unreadable}
    return Snapshot(
        at=time.time(), queues=queues, workers=tuple(workers), unreadable=dict.fromkeys(unreadable, "WRONGTYPE")
    )


def look(pool_state: PoolState, seen: Snapshot | None, at: float = 100.0) -> tuple[Reason, Plan]:
    directory = Directory(seen.workers if seen is not None else ())
    assert pool_state.pool is not None
    decision, steps, _ = consider(pool_state, pool_state.pool, seen, directory, at, time.time())
    return decision.reason, steps


LEAVING = (pod("a"), pod("b", ready=False, cost=LOWEST_COST))
THERE = (worker("a"), worker("b", retiring=True))


def test_the_shrinking_that_is_held_in_the_tests_below_would_go_on() -> None:
    found = state(*LEAVING)
    look(found, snapshot(*THERE))
    reason, steps = look(found, snapshot(*THERE), 101.0)
    assert reason is not Reason.PAUSED
    assert steps.unretire == ()
    assert (steps.replicas, steps.retire) != (None, ())


@pytest.mark.parametrize(
    ("spec", "unreadable", "wanted"),
    [
        ({"scaling": {"paused": True}}, (), Reason.PAUSED),
        ({}, ("low",), Reason.UNREADABLE),
    ],
)
def test_holding_a_size_keeps_those_who_were_about_to_leave(
    spec: dict[str, Any], unreadable: tuple[str, ...], wanted: Reason
) -> None:
    found = state(*LEAVING, **spec)
    for at in (100.0, 101.0):
        reason, steps = look(found, snapshot(*THERE, unreadable=unreadable), at)
        assert reason is wanted
        assert steps.replicas is None
        assert [mate.pod.uid for mate in steps.unretire] == ["b"]


def test_with_dry_run_those_who_were_about_to_leave_stay_and_nothing_else_happens() -> None:
    """Nobody else would ever take it back, and they would wait for the end of the dry run without taking a job."""
    found = state(*LEAVING, scaling={"dryRun": True})
    for at in (100.0, 101.0):
        _, steps = look(found, snapshot(*THERE), at)
        assert ([mate.pod.uid for mate in steps.unretire], steps.unmark) == (["b"], (LEAVING[1],))
        assert (steps.retire, steps.mark, steps.replicas) == ((), (), None)
    wishes_more = state(pod("a"), scaling={"dryRun": True, "minReplicas": 4})
    assert look(wishes_more, snapshot(worker("a")))[1].empty
    wishes_less = state(pod("a"), pod("b"), scaling={"dryRun": True})
    for at in (100.0, 101.0, 102.0):
        assert look(wishes_less, snapshot(worker("a"), worker("b")), at)[1].empty
    beyond = state(*LEAVING, scaling={"dryRun": True}, replicas=1)
    assert look(beyond, snapshot(*THERE))[1].empty, "who leaves already is not replaced"


def test_the_deployment_of_a_deleted_pool_of_this_name_is_not_scaled() -> None:
    found = state(pod("a"), owner="somebody-else", scaling={"minReplicas": 4})
    assert look(found, snapshot())[1].empty
    ours = state(pod("a"), scaling={"minReplicas": 4})
    assert look(ours, snapshot())[1].replicas == 4


def test_a_deleted_deployment_comes_back_with_its_size_while_the_pool_is_paused() -> None:
    found = state(scaling={"paused": True})
    found.deployment, found.lost_size = None, 5
    look(found, snapshot())
    assert found.decision is not None
    assert found.decision.replicas == 5


def test_without_its_secret_a_pool_counts_its_pods_and_tells_no_queues() -> None:
    found = state(pod("a"), pod("b"))
    look(found, snapshot(worker("a"), worker("b", state="busy")))
    assert found.observed is not None
    found.redis_known, found.template_known = True, True
    assert found.pool is not None
    _, _, mates = consider(found, found.pool, None, Directory(()), 101.0, time.time())
    found.access_trouble = Trouble("SourceMissing", "Secret login does not exist")
    told = status_of(found, mates, None, NOW, push=True)
    assert (told["replicas"], told["readyReplicas"], told["desiredReplicas"]) == (2, 2, 2)
    assert "depth" not in told
    assert "busyWorkers" not in told
    metrics = OperatorMetrics(lambda: [found])
    labels = {"namespace": "ns", "pool": "shop"}
    assert metrics.registry.get_sample_value("rqk_operator_pool_redis_up", labels) == 0
    assert metrics.registry.get_sample_value("rqk_operator_pool_depth", {**labels, "queue": "high"}) is None


def condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": f"{reason}!"}


def test_each_thing_that_goes_wrong_is_an_event_once() -> None:
    well = {"conditions": [condition("Ready", "True", "FollowsQueues"), condition("ScalingLimited", "False", "Within")]}
    away = {
        "conditions": [
            condition("Ready", "False", "Unreachable"),
            condition("RedisReachable", "False", "Unreachable"),
            condition("ScalingActive", "False", "RedisUnreachable"),
            condition("ScalingLimited", "False", "Within"),
        ]
    }
    both = {"conditions": [condition("Ready", "False", "Rejected"), condition("TemplateValid", "False", "Rejected")]}
    blind = {"conditions": [condition("ScalingActive", "False", "Unreadable")]}
    assert [it.reason for it in news({}, well)] == []
    assert [(it.reason, it.message) for it in news(well, away)] == [("Unreachable", "Unreachable!")]
    assert news(away, away) == ()
    assert [it.reason for it in news(away, both)] == ["Rejected"]
    assert [it.reason for it in news(well, blind)] == ["Unreadable"]
    assert news(well, {"conditions": [condition("ScalingActive", "False", "Paused")]}) == ()


def at_zero(now: float = 100.0, **fields: Any) -> PoolState:
    """A pool that was looked at, at rest unless ``fields`` of its state say otherwise."""
    found = state(replicas=0)
    look(found, snapshot(), now)
    for name, value in fields.items():
        setattr(found, name, value)
    rest(found, snapshot(), now)
    return found


def glanced(*stirred: str, suspended: bool = False, next_due: float | None = None) -> Snapshot:
    now = time.time()
    dues = {} if next_due is None else {"high": now + next_due}
    return Snapshot(at=now, suspended=suspended, glance=Glance(now, frozenset(stirred), dues))


def test_a_pool_at_zero_rests_and_is_glanced_at_more_often_than_decided_for() -> None:
    found = at_zero()
    assert 100.0 + REST_S / 2 < found.look_at < 100.0 + min(2 * REST_S, OUT_OF_SIGHT_S)
    assert 100.0 + GLANCE_S / 2 < found.glance_at < 100.0 + 2 * GLANCE_S


@pytest.mark.parametrize(
    "fields",
    [
        {"pods": {"a": pod("a")}},
        {"deployment": None},
        {"deployment": DeploymentView("ns", "shop", "d", 1, "shop", "u1", 1)},
        {"deployment": DeploymentView("ns", "shop", "d", 1, "shop", "another pool", 0)},
        {"refused": "digest"},
        {"failing": Trouble("ImagePullBackOff", "no image")},
        {"errors_in_a_row": 1},
        {"stumbling": Trouble("Failing", "no right to it")},
        {"children_trouble": Trouble("PodMonitorRejected", "no CRD")},
    ],
)
def test_a_pool_with_something_left_to_do_or_to_tell_does_not_rest(fields: dict[str, Any]) -> None:
    assert at_zero(**fields).look_at == 0.0


@pytest.mark.parametrize("queue", [{"queued": 1}, {"intermediate": 1}, {"started": 1}, {"ready": 1}, {"due": 1}])
def test_a_pool_with_jobs_does_not_rest(queue: dict[str, int]) -> None:
    found = state(replicas=0, scaling={"paused": True})  # so that its size stays
    seen = snapshot()
    seen.queues["low"] = QueueSnapshot("low", **queue)
    look(found, seen)
    rest(found, seen, 100.0)
    assert found.look_at == 0.0


def test_a_pool_stays_at_rest_until_one_of_its_own_queues_stirs() -> None:
    found = at_zero()
    look_at = found.look_at
    assert still_rests(found, glanced("someone else's"), 110.0)
    assert found.glance_at > 110.0
    assert found.look_at == look_at, "decided for again at the same time as before"
    assert not still_rests(found, glanced("low"), 120.0)


def test_a_pod_that_failed_and_stays_behind_keeps_no_pool_awake() -> None:
    evicted = pod("a", phase="Failed", running=False, ready=False, reason="Evicted")
    assert at_zero(pods={"a": evicted}).look_at > 100.0


def test_suspension_ends_the_rest() -> None:
    """The pool's status tells of it."""
    assert not still_rests(at_zero(), glanced(suspended=True), 110.0)


def test_a_scheduled_job_is_looked_for_when_it_is_due() -> None:
    """Nobody tells of it: no key is written."""
    found = at_zero()
    assert still_rests(found, glanced(next_due=2.0), 110.0)
    assert 111.5 < found.glance_at < 112.5
    seen = snapshot()
    seen.queues["low"] = QueueSnapshot("low", scheduled=1, next_due=seen.at + 3.0)
    rest(found, seen, 200.0)
    assert 202.5 < found.glance_at < 203.5
