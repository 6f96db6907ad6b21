"""What is remembered of pools, pods and Deployments, in whatever order news of them come."""

from __future__ import annotations

from typing import Any

import pytest
from rqk_operator.names import POOL_LABEL
from rqk_operator.pools import Pools, PoolState, missed, version_of
from rqk_operator.sources import Access
from rqk_operator.views import DeploymentView, PodView, pod_view

from rqk.autoscale.decide import History, Reason, decide
from rqk.autoscale.seen import Observation, QueueSeen, WorkersSeen

KEY = ("ns", "shop")


def known() -> Pools:
    return Pools(lambda state: None, lambda state: None, lambda: 0.0)


def body(version: int, *, uid: str = "u1", generation: int = 1, **more: Any) -> dict[str, Any]:
    meta = {
        "namespace": "ns",
        "name": "shop",
        "uid": uid,
        "generation": generation,
        "resourceVersion": str(version),
        **more.pop("metadata", {}),
    }
    spec = {"queues": ["q"], "redis": {"url": "redis://r"}, "scaling": {"targetDepthPerWorker": 1}}
    return {"apiVersion": "rqk.dev/v1beta1", "kind": "RQWorkerPool", "metadata": meta, "spec": spec, **more}


def status(verdict: str, seconds: str = "2.5") -> dict[str, Any]:
    return {
        "conditions": [{"type": "Ready", "status": verdict, "reason": "x"}],
        "lastDecision": {"inputs": {"jobSeconds": seconds}},
    }


def pod(uid: str, **fields: Any) -> PodView:
    return PodView("ns", f"shop-{uid}", uid, **{"pool": "shop", "phase": "Running", **fields})


def live(uid: str = "d1", *, owner: str = "u1", version: int = 1, **fields: Any) -> DeploymentView:
    return DeploymentView("ns", **{"name": "shop", "pool": "shop", "replicas": 3, **fields}, uid=uid, version=version, owner=owner)  # fmt: skip


def pool_of(pools: Pools) -> PoolState:
    state = pools.get(KEY)
    assert state is not None
    return state


def test_a_standby_follows_what_the_leader_reports() -> None:
    """Else, once it leads, it would take its own first sight for what stands there, and never correct it."""
    pools = known()
    pools.remember(body(1, status=status("True")))
    pools.remember(body(2, status=status("False", "7.5")))
    state = pool_of(pools)
    assert state.status["conditions"][0]["status"] == "False"
    assert state.history.service_seconds == 7.5


def test_an_echo_of_an_older_report_does_not_undo_what_was_reported_since() -> None:
    pools = known()
    pools.remember(body(1))
    state = pool_of(pools)
    state.status, state.status_version = status("True"), 7
    pools.remember(body(5, status=status("False")))
    assert state.status["conditions"][0]["status"] == "True"
    pools.remember(body(8, status=status("Unknown")))
    assert state.status["conditions"][0]["status"] == "Unknown"


def test_a_status_that_is_kept_as_text_is_the_same() -> None:
    pools = known()
    state_before = status("True") | {"lastDecision": {"inputs": {"jobSeconds": "2.5"}, "message": "Größe: 1 > 0"}}
    pools.remember(body(1, status=state_before))
    state = pool_of(pools)
    for _ in range(2):
        state.pack()
        assert state.status == state_before


def test_pods_that_come_before_their_pool_are_kept_for_it() -> None:
    pools = known()
    assert pools.pod(pod("a")) == (None, None)
    assert pools.pod(pod("b")) == (None, None)
    assert pools.pod_gone("b") == (None, None)
    pools.remember(body(1))
    assert set(pool_of(pools).pods) == {"a"}


def test_the_pods_of_a_deleted_pool_stay_its_own_and_a_new_one_of_that_name_sees_them() -> None:
    pools = known()
    pools.remember(body(1))
    old = pool_of(pools)
    pools.pod(pod("a"))
    pools.remember(body(2, uid="u2"))
    new = pool_of(pools)
    assert old.gone
    assert new is not old
    assert set(new.pods) == {"a"}, "it may take the Deployment over"
    owner, before = pools.pod(pod("a", ready=True))
    assert owner is old, "whose jobs are in it is known"
    assert before == pod("a")
    assert pools.pod_gone("a") == (old, pod("a", ready=True))
    assert (old.pods, new.pods) == ({}, {})
    assert pools.pod_gone("a") == (None, None)


@pytest.mark.parametrize("early", [False, True], ids=["of a known pool", "of one not known yet"])
def test_a_pod_whose_label_names_another_pool_leaves_the_first_one(early: bool) -> None:
    """`kubectl label --overwrite`, to look at a pod in peace: its ReplicaSet lets go of it and makes another."""
    pools = known()
    if not early:
        pools.remember(body(1))
    for uid in "ab":
        pools.pod(pod(uid))
    if not early:
        pool_of(pools).look_at = 100.0
    pools.pod(pod("a", pool="debug", owned=False))
    if early:
        pools.remember(body(1))
    assert set(pool_of(pools).pods) == {"b"}
    assert pool_of(pools).look_at == 0.0
    pools.pod(pod("a"))
    assert set(pool_of(pools).pods) == {"a", "b"}, "it is labelled back"
    pools.pod_gone("a")
    assert set(pool_of(pools).pods) == {"b"}


def test_a_pod_that_left_a_deleted_pool_is_still_that_ones_to_mourn_but_not_its_successors() -> None:
    pools = known()
    pools.remember(body(1))
    old = pool_of(pools)
    pools.pod(pod("a"))
    pools.forget(KEY)
    assert pools.pod(pod("a", pool="debug")) == (old, pod("a"))
    pools.remember(body(2, uid="u2"))
    assert pool_of(pools).pods == {}
    assert pools.pod_gone("a")[0] is old


def test_who_leads_again_starts_from_what_the_other_one_reported() -> None:
    """Another one led meanwhile: what was decided before that is no reason to shrink, and the Secret may be another."""
    pools = known()
    pools.remember(body(1, status=status("True")))
    state = pool_of(pools)
    assert state.pool is not None
    seen = Observation(1, (QueueSeen("q", 0),), WorkersSeen(idle=1))
    state.decision, state.history = decide(state.pool.spec, seen, state.history, 10.0)
    state.observed, state.shrinking = seen, state.decision
    state.access, state.wanted = Access("redis://r", {}), "digest"
    pools.remember(body(9, status=status("True", "7.5")))
    state.take_over(50.0)
    assert state.history == History.resumed(service_seconds=7.5)
    forgotten = ("decision", "observed", "shrinking", "access", "wanted")
    assert [getattr(state, name) for name in forgotten] == [None] * len(forgotten)
    assert state.changed_at == 50.0, "a Secret read before that is read anew"
    ten = Observation(10, (QueueSeen("q", 0),), WorkersSeen(idle=10))
    assert decide(state.pool.spec, ten, state.history, 50.0)[0].reason is Reason.STABILIZING


def test_a_deployment_that_still_belongs_to_a_deleted_pool_is_nobodys_to_scale() -> None:
    pools = known()
    pools.remember(body(1, uid="u2"))
    state = pool_of(pools)
    assert pools.deployment(live(owner="u1")) is state
    assert (state.own, state.size_now) == (None, 0)
    pools.deployment(live(owner="", version=2))
    assert state.own is not None, "left behind by --cascade=orphan: to be taken over"
    assert state.size_now == 3


def test_a_deleted_deployment_leaves_its_size() -> None:
    pools = known()
    pools.remember(body(1))
    pools.deployment(live())
    state = pools.deployment_gone("ns", "shop", "d1")
    assert state is not None
    assert (state.own, state.size_now) == (None, 3)


@pytest.mark.parametrize("first", ["pool", "deployment"])
def test_a_deployment_of_another_name_is_no_pools(first: str) -> None:
    pools = known()
    if first == "pool":
        pools.remember(body(1))
    assert pools.deployment(live(name="other", owner="")) is None
    pools.remember(body(2))
    assert pool_of(pools).deployment is None


def test_what_a_watch_missed_is_found_by_comparing() -> None:
    pools = known()
    pools.remember(body(1, generation=3))
    seen = {state.key: state.version for state in pools}
    there = dict(seen)
    assert missed(seen, there) == ()
    assert missed(seen, {}) == (KEY,)
    assert missed(seen, there | {("ns", "new"): ("u9", 1, None)}) == (("ns", "new"),)
    meta = body(9, generation=4)["metadata"]
    assert missed(seen, {KEY: version_of(meta)}) == (KEY,)
    paused = body(9, generation=3, metadata={"annotations": {"rqk.dev/paused": "true"}})
    assert missed(seen, {KEY: version_of(paused["metadata"])}) == (KEY,)
    pools.remember(paused)
    assert missed({KEY: pool_of(pools).version}, {KEY: version_of(paused["metadata"])}) == ()


def test_a_pod_that_was_taken_out_of_its_replica_set_does_not_count() -> None:
    """As people do to look at a pod in peace: its labels are changed, and a new one takes its place."""
    owner = {"kind": "ReplicaSet", "name": "shop-1", "uid": "r", "controller": True}
    meta = {"namespace": "ns", "name": "shop-a", "uid": "a", "labels": {POOL_LABEL: "shop", "pod-template-hash": "1"}}
    item = {"metadata": {**meta, "ownerReferences": [owner]}, "status": {"phase": "Running"}}
    assert pod_view(item).active
    assert not pod_view({**item, "metadata": meta}).active
