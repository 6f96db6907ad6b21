"""The optional children of a pool: made, kept, and never fought over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rqk_operator import children as childhood
from rqk_operator.children import AGAIN_S, Children
from rqk_operator.errors import KubeError
from rqk_operator.events import About, Events
from rqk_operator.pools import Pools, PoolState

from tests.operator.answers import Answer, Answers, answering, refusal
from tests.operator.test_comparing import until
from tests.operator.test_manifests import pool
from tests.operator.test_refusals import Clock, deployment, known

BUDGET = "/apis/policy/v1/namespaces/ns/poddisruptionbudgets/shop"
NOTHING = refusal(404, "NotFound", "there is none")


def conflict(manager: str) -> Answer:
    cause = {
        "reason": "FieldManagerConflict",
        "message": f'conflict with "{manager}" using policy/v1',
        "field": ".spec.x",
    }
    return refusal(409, "Conflict", "Apply failed with 1 conflict", (cause,))


OWNER = {"kind": "RQWorkerPool", "name": "shop", "uid": "u1", "controller": True}


def budget(**meta: Any) -> dict[str, Any]:
    own = {
        "namespace": "ns",
        "name": "shop",
        "uid": "b",
        "labels": {"rqk.dev/pool": "shop"},
        "ownerReferences": [OWNER],
    }
    return {"metadata": {**own, **meta}, "spec": {"maxUnavailable": 1}}


class Api:
    """One PodDisruptionBudget or none; ``refuses`` are the answers to the first writes."""

    def __init__(self, live: dict[str, Any] | None, *refuses: Answer) -> None:
        self.live, self.refuses = live, list(refuses)

    def __call__(self, method: str, path: str, sent: Any) -> Answer:
        if "poddisruptionbudgets" not in path:
            return 200, {"metadata": {"resourceVersion": "1"}, "items": []}
        if path != BUDGET:
            return 200, {"metadata": {"resourceVersion": "1"}, "items": [self.live] if self.live is not None else []}
        if method == "GET":
            return (200, self.live) if self.live is not None else NOTHING
        if method == "PATCH" and self.refuses:
            return self.refuses.pop(0)
        if method == "DELETE":
            uid = (sent.get("preconditions") or {}).get("uid")
            if self.live is not None and uid not in (None, self.live["metadata"]["uid"]):
                return refusal(409, "Conflict", "the UID in the precondition is another one")
        self.live = budget(annotations=sent["metadata"]["annotations"]) if method == "PATCH" else None
        return 200, self.live or {}


async def settled(server: Answers, clock: Clock, state: PoolState, noted: list[str] | None = None) -> Children:
    """As the loop does it, once. ``noted`` gets the events."""
    events = Events(server.kube, clock, "me")
    if noted is not None:

        def note(about: About, kind: str, reason: str, message: str) -> None:
            noted.append(f"{reason}: {message}")

        events.note = note  # type: ignore[method-assign]
    children = Children(server.kube, Pools(lambda it: None, lambda it: None, clock), events, (), clock)
    await children._audit()
    assert children.differ(state)
    await children.settle(state)
    return children


def wanting() -> PoolState:
    return known(deployment("m"), podDisruptionBudget={"maxUnavailable": 1})


@pytest.mark.parametrize(
    "live",
    [
        pytest.param(None, id="there is none"),
        pytest.param(budget(), id="an older one"),
        pytest.param(budget(ownerReferences=[]), id="left behind by a pool of that name"),
    ],
)
def test_what_is_the_pools_own_is_applied_without_force(live: dict[str, Any] | None) -> None:
    async def run() -> None:
        async with answering(Api(live)) as server:
            state = wanting()
            children = await settled(server, Clock(), state)
            assert state.children_trouble is None
            assert not children.differ(state)
            assert server.count("PATCH") == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    "live",
    [
        pytest.param(budget(labels={}, ownerReferences=[]), id="somebody's own"),
        pytest.param(budget(ownerReferences=[{"uid": "other", "controller": True}]), id="another controller's"),
    ],
)
def test_what_is_somebody_elses_is_left_alone_and_asked_for_now_and_then(live: dict[str, Any]) -> None:
    async def run() -> None:
        api, clock, state = Api(live), Clock(), wanting()
        async with answering(api) as server:
            children = await settled(server, clock, state)
            assert state.children_trouble is not None
            assert state.children_trouble.reason == "NameTaken"
            assert "PodDisruptionBudget named shop" in state.children_trouble.message
            assert server.count("PATCH") == 0
            assert not children.differ(state), "not in every round"
            api.live = None
            clock.now += AGAIN_S
            assert children.differ(state)
            await children.settle(state)
            assert state.children_trouble is None
            assert server.count("PATCH") == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    "live",
    [
        pytest.param(budget(ownerReferences=[{**OWNER, "uid": "u0"}]), id="of a pool of this name that was deleted"),
        pytest.param(budget(deletionTimestamp="2026-01-01T00:00:00Z"), id="the pool's own, being deleted"),
        pytest.param(
            budget(deletionTimestamp="2026-01-01T00:00:00Z", ownerReferences=[]), id="left behind, being deleted"
        ),
    ],
)
def test_what_is_about_to_go_is_waited_for(live: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(childhood, "GOING_AGAIN_S", 0.1)

    async def run() -> None:
        api, state = Api(live), wanting()
        async with answering(api) as server:
            children = await settled(server, Clock(), state)
            assert state.children_trouble is None, "it is none"
            assert server.count("PATCH") == 0
            assert not children.differ(state), "not in every round"
            api.live = None
            state.look_at = 1e9  # at rest
            await until(lambda: state.look_at == 0.0)
            assert children.differ(state)
            await children.settle(state)
            assert server.count("PATCH") == 1
            assert not children.differ(state)

    asyncio.run(run())


def test_what_is_about_to_go_is_waited_for_although_something_else_is_refused() -> None:
    policy = "/apis/networking.k8s.io/v1/namespaces/ns/networkpolicies/shop"
    api = Api(budget(ownerReferences=[{**OWNER, "uid": "u0"}]))

    def script(method: str, path: str, sent: Any) -> Answer:
        if path == policy:
            return NOTHING if method == "GET" else refusal(403, "Forbidden", "no network policies here")
        return api(method, path, sent)

    async def run() -> None:
        clock, state = Clock(), known(deployment("m"), podDisruptionBudget={"maxUnavailable": 1}, networkPolicy={})
        async with answering(script) as server:
            children = await settled(server, clock, state)
            assert state.children_trouble is not None
            assert state.children_trouble.reason == "NetworkPolicyRejected"
            clock.now += childhood.GOING_AGAIN_S
            assert children.differ(state)
            api.live = None
            await children.settle(state)
            clock.now += childhood.GOING_AGAIN_S
            assert api.live is not None
            assert not children.differ(state), "what is refused is not tried so soon again"

    asyncio.run(run())


def test_a_field_that_another_tool_declares_is_told_and_left_to_it() -> None:
    declared = budget(managedFields=[{"manager": "argocd", "operation": "Apply", "fieldsV1": {"f:spec": {}}}])

    async def run() -> None:
        async with answering(Api(declared, conflict("argocd"))) as server:
            state = wanting()
            children = await settled(server, Clock(), state)
            assert state.children_trouble is not None
            assert state.children_trouble.reason == "FieldConflict"
            assert "argocd holds .spec.x" in state.children_trouble.message
            assert server.count("PATCH") == 1
            assert not children.differ(state)

    asyncio.run(run())


def test_what_was_edited_by_hand_is_changed_back_and_told() -> None:
    edited = budget(managedFields=[{"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {}}}])

    async def run() -> None:
        async with answering(Api(edited, conflict("kubectl-edit"))) as server:
            state = wanting()
            noted: list[str] = []
            await settled(server, Clock(), state, noted)
            assert state.children_trouble is None
            assert server.count("PATCH") == 2
            assert noted == [
                "EditReverted: PodDisruptionBudget: changed back what was edited by hand: kubectl-edit holds .spec.x"
            ]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("live", "there"),
    [
        pytest.param(budget(), False, id="still the pool's"),
        pytest.param(None, False, id="gone already"),
        pytest.param(budget(labels={}, ownerReferences=[]), True, id="somebody's own by now"),
        pytest.param(budget(ownerReferences=[]), True, id="let go of, so that it stays"),
        pytest.param(budget(ownerReferences=[{"uid": "other", "controller": True}]), True, id="another controller's"),
    ],
)
def test_what_is_not_asked_for_any_more_goes_if_it_is_the_pools(live: dict[str, Any] | None, there: bool) -> None:
    async def run() -> None:
        api, state = Api(None), wanting()
        async with answering(api) as server:
            children = await settled(server, Clock(), state)
            api.live, state.pool, state.generation = live, pool(), 2
            assert children.differ(state)
            await children.settle(state)
            assert (api.live is not None) == there
            assert not children.differ(state)

    asyncio.run(run())


def test_what_takes_its_place_in_the_last_moment_is_spared() -> None:
    api, state = Api(None), wanting()

    def script(method: str, path: str, sent: Any) -> Answer:
        if method == "DELETE":
            api.live = budget(uid="theirs", ownerReferences=[])
        return api(method, path, sent)

    async def run() -> None:
        async with answering(script) as server:
            children = await settled(server, Clock(), state)
            state.pool, state.generation = pool(), 2
            with pytest.raises(KubeError):
                await children.settle(state)
            assert children.differ(state), "to be looked at again"
            await children.settle(state)
            assert not children.differ(state)
            assert server.count("DELETE") == 1

    asyncio.run(run())
