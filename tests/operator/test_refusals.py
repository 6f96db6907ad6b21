"""What the operator makes of an API server that refuses, contradicts itself, or sends no JSON."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rqk_operator import lease as leasing
from rqk_operator.errors import KubeError
from rqk_operator.events import About, Events
from rqk_operator.hands import REFUSED_AGAIN_S, TAKEN_AGAIN_S, Hands
from rqk_operator.lease import GIVE_UP_S, Leader
from rqk_operator.pools import Pools, PoolState
from rqk_operator.sources import Access, Ref, SourceError
from rqk_operator.status import Trouble
from rqk_operator.vault import FRESH_S, Vault
from rqk_operator.views import deployment_view

from tests.operator.answers import Answer, Answers, answering, refusal
from tests.operator.test_comparing import until
from tests.operator.test_manifests import pool

CONFLICT = refusal(
    409,
    "Conflict",
    'Apply failed with 1 conflict: conflict with "argocd" using apps/v1: .spec.strategy',
    ({"reason": "FieldManagerConflict", "message": 'conflict with "argocd" using apps/v1', "field": ".spec.strategy"},),
)


class Clock:
    """Stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def deployment(manifest: str, version: int = 5, *managers: dict[str, Any]) -> dict[str, Any]:
    ours = {"manager": "rqk-operator", "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {}}}}
    scaled = {"manager": "rqk-autoscaler", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    return {
        "metadata": {
            "namespace": "ns", "name": "shop", "uid": "d", "resourceVersion": str(version), "generation": 1,
            "labels": {"rqk.dev/pool": "shop"}, "annotations": {"rqk.dev/manifest": manifest},
            "ownerReferences": [{"kind": "RQWorkerPool", "name": "shop", "uid": "u1", "controller": True}],
            "managedFields": [ours, scaled, *managers],
        },
        "spec": {"replicas": 2},
        "status": {},
    }  # fmt: skip


def known(live: dict[str, Any], **spec: Any) -> PoolState:
    state = PoolState(About("ns", "shop", "u1"), pool(**spec), 1)
    state.access = Access("redis://redis:6379/0", {})
    state.deployment = deployment_view(live)
    return state


def hands(server: Answers, clock: Clock) -> Hands:
    pools = Pools(lambda state: None, lambda state: None, clock)
    return Hands(server.kube, pools, Events(server.kube, clock, "me"), clock)


def told(state: PoolState) -> tuple[Trouble | None, bool]:
    """What is said about the template, and whether anything was asked."""
    return state.template, state.template_known


def changed(state: PoolState, **spec: Any) -> None:
    """As the operator takes a change of the pool."""
    state.pool, state.wanted, state.refused, state.again_at = pool(**spec), None, None, 0.0


def test_a_field_that_another_tool_declares_is_asked_for_once_a_minute_only() -> None:
    argocd = {"manager": "argocd", "operation": "Apply", "fieldsV1": {"f:spec": {"f:strategy": {}}}}
    live = deployment("older", 5, argocd)

    def script(method: str, path: str, body: Any) -> Answer:
        return CONFLICT if method == "PATCH" else (200, live)

    async def run() -> None:
        clock = Clock()
        async with answering(script) as server:
            acting, state = hands(server, clock), known(live)
            for _ in range(5):
                if acting.needs_deployment(state):
                    await acting.deploy(state, 0)
                clock.now += 1.0
            assert server.count("PATCH") == 1
            assert state.conflict is not None
            assert state.conflict.reason == "FieldConflict"
            assert "argocd holds .spec.strategy" in state.conflict.message
            clock.now += REFUSED_AGAIN_S
            assert acting.needs_deployment(state), "the other tool may have let go"

    asyncio.run(run())


def test_a_deployment_that_is_somebody_elses_is_left_alone_and_asked_for_now_and_then() -> None:
    theirs = deployment("?")
    theirs["metadata"] |= {"labels": {"app": "shop"}, "ownerReferences": []}

    async def run() -> None:
        clock, there = Clock(), [True]

        def script(method: str, path: str, body: Any) -> Answer:
            if method == "GET":
                return (200, theirs) if there[0] else refusal(404, "NotFound", "no such Deployment")
            made = deployment(body["metadata"].get("annotations", {}).get("rqk.dev/manifest", ""))
            return 200, {**made, "spec": {"replicas": 0}}

        async with answering(script) as server:
            acting, state = hands(server, clock), known(theirs)
            state.deployment, state.told_at = None, clock.now
            for _ in range(5):
                if acting.needs_deployment(state):
                    await acting.deploy(state, 0)
                clock.now += 1.0
            assert (server.count("GET"), server.count("PATCH")) == (1, 0)
            assert state.conflict is not None
            assert state.conflict.reason == "NameTaken"
            there[0] = False
            clock.now += TAKEN_AGAIN_S
            assert acting.needs_deployment(state)
            await acting.deploy(state, 0)
            assert state.deployment is not None
            assert (state.conflict, state.refused) == (None, None)

    asyncio.run(run())


def test_a_template_that_is_changed_back_is_valid_again() -> None:
    def script(method: str, path: str, body: Any) -> Answer:
        return refusal(422, "Invalid", "Deployment.apps is invalid: spec.template.spec.containers[1].ports[0]")

    async def run() -> None:
        clock = Clock()
        async with answering(script) as server:
            acting, state = hands(server, clock), known(deployment("?"))
            assert acting.needs_deployment(state)
            # What stands there is what the good template says.
            state.deployment = deployment_view(deployment(str(state.wanted)))
            state.accepted_owners = None
            assert not acting.needs_deployment(state)
            changed(state, template={"spec": {"containers": [{"name": "side", "ports": [{"containerPort": 99999}]}]}})
            assert acting.needs_deployment(state)
            await acting.deploy(state, 0)
            assert state.template is not None
            assert state.template.reason == "Rejected"
            changed(state)
            assert not acting.needs_deployment(state)
            assert told(state) == (None, True)
            changed(state, template={"replicas": 3})
            assert not acting.needs_deployment(state)
            assert state.template is not None
            assert "spec.template.replicas" in state.template.message
            changed(state)
            assert not acting.needs_deployment(state)
            assert told(state) == (None, True)

    asyncio.run(run())


SECRET = Ref("Secret", "login", "url")


def secret(text: str) -> dict[str, Any]:
    return {"metadata": {"uid": "s"}, "data": {"url": base64.b64encode(text.encode()).decode()}}


def test_a_secret_that_many_pools_name_is_read_once() -> None:
    def script(method: str, path: str, body: Any) -> Answer:
        return 200, secret("redis://r")

    async def run() -> None:
        clock = Clock()
        async with answering(script) as server:
            vault = Vault(server.kube, clock)
            found = await asyncio.gather(*(vault.values("ns", (SECRET,)) for _ in range(100)))
            assert server.count("GET") == 1
            assert {tuple(values.values()) for values, _ in found} == {(b"redis://r",)}
            clock.now += FRESH_S / 2
            await vault.values("ns", (SECRET,))
            assert server.count("GET") == 1
            # Whoever asks later has no right to a later surprise: all look again when the reading is old.
            assert vault.due("ns", (SECRET,)) == clock.now + FRESH_S / 2
            await vault.values("ns", (SECRET,), newer_than=clock.now - 1.0)
            assert server.count("GET") == 2
            clock.now += FRESH_S
            await vault.values("ns", (SECRET,))
            assert server.count("GET") == 3

    asyncio.run(run())


def test_what_nobody_needs_of_a_secret_is_forgotten() -> None:
    def script(method: str, path: str, body: Any) -> Answer:
        return 200, secret("redis://:hunter2@r")

    async def run() -> None:
        clock = Clock()
        async with answering(script) as server:
            vault = Vault(server.kube, clock)
            await vault.values("ns", (SECRET,))
            vault.prune()
            assert vault.due("ns", (SECRET,)) == clock.now + FRESH_S
            clock.now += 4 * FRESH_S
            vault.prune()
            assert "hunter2" not in repr(vault._read)
            assert vault._read == {}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(404, "NotFound", "x"), "Secret login does not exist"),
        (refusal(403, "Forbidden", "x"), "the operator may not read Secret login"),
        ((200, {"metadata": {"uid": "s"}, "data": {"uri": ""}}), "Secret login has no key url; it has uri"),
    ],
)
def test_a_secret_that_cannot_be_used_says_why(answer: Answer, words: str) -> None:
    async def run() -> None:
        async with answering(lambda method, path, body: answer) as server:
            with pytest.raises(SourceError, match=words):
                await Vault(server.kube, Clock()).values("ns", (SECRET,))

    asyncio.run(run())


class LeaseServer:
    """One Lease, with the API server's rule of resourceVersions; ``meddle`` runs before the next write."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.meddle: Callable[[], object] | None = None

    def __call__(self, method: str, path: str, body: Any) -> Answer:
        if method == "GET":
            return (200, self.lease) if self.lease is not None else refusal(404, "NotFound", "no such Lease")
        if self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle()
        if method == "POST" and self.lease is not None:
            return refusal(409, "AlreadyExists", "there is one")
        if method == "PUT" and body["metadata"]["resourceVersion"] != str(self.version):
            return refusal(409, "Conflict", "the object has been modified")
        return 200, self.store(body["spec"])

    def store(self, spec: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = {"metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        return self.lease

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


def test_a_lease_is_given_back_although_a_renewal_was_under_way() -> None:
    async def run() -> None:
        table = LeaseServer()
        async with answering(table) as server:
            leader = Leader(server.kube, "ns", "rqk-operator", "me", Clock(), lambda leads: None)
            await leader.step()
            assert (leader.leads, table.holder) == (True, "me")
            table.meddle = lambda: table.store(dict((table.lease or {})["spec"]))
            leader.stop()
            await leader.release()
            assert (leader.leads, table.holder) == (False, "")
            await leader.step()
            assert table.holder == "", "who leaves does not take it again"

    asyncio.run(run())


def test_a_lease_that_another_one_took_is_left_alone() -> None:
    async def run() -> None:
        table, clock = LeaseServer(), Clock()
        async with answering(table) as server:
            leader = Leader(server.kube, "ns", "rqk-operator", "me", clock, lambda leads: None)
            await leader.step()
            table.store({**(table.lease or {})["spec"], "holderIdentity": "other"})
            await leader.step()
            assert (leader.leads, table.holder) == (False, "other")
            leader.stop()
            await leader.release()
            assert table.holder == "other"

    asyncio.run(run())


def test_a_lease_that_was_deleted_is_led_on_only_by_who_makes_it_anew() -> None:
    async def run() -> None:
        table, clock = LeaseServer(), Clock()
        async with answering(table) as server:
            leader = Leader(server.kube, "ns", "rqk-operator", "me", clock, lambda leads: None)
            await leader.step()
            table.lease = None
            await leader.step()
            assert (leader.leads, table.holder) == (True, "me")
            table.lease = None
            table.meddle = lambda: table.store({"holderIdentity": "other"})
            with pytest.raises(KubeError):
                await leader.step()
            assert (leader.leads, table.holder) == (False, "other")

    asyncio.run(run())


@pytest.mark.parametrize("verb", ["GET", "PUT"])
def test_one_renewal_that_hangs_does_not_cost_the_leadership(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the leader's own clock, which a request that hangs moves on by all the time it may take."""
    table, clock, let_go, pause = LeaseServer(), Clock(), asyncio.Event(), asyncio.sleep
    hangs, renewed, patience = [verb], list[float](), list[float]()

    async def script(method: str, path: str, body: Any) -> Answer:
        if renewed and method in hangs:
            hangs.remove(method)
            clock.now += patience[0]
            await let_go.wait()
        elif method != "GET":
            renewed.append(clock.now)
        return table(method, path, body)

    async def sleep(seconds: float) -> None:
        clock.now += seconds
        await pause(0)

    async def run() -> None:
        async with answering(script) as server:
            kube, told = server.kube.express(), list[bool]()
            patience.append(kube.timeout_s)
            kube.timeout_s = 0.2
            task = asyncio.create_task(Leader(kube, "ns", "rqk-operator", "me", clock, told.append).run())
            await until(lambda: len(renewed) > 1)
            let_go.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not hangs
            assert renewed[1] - renewed[0] < GIVE_UP_S - 1.0, "with a second left for a slow server"
            assert told == [True]

    monkeypatch.setattr(random, "uniform", lambda low, high: high)  # the longest pauses there are
    monkeypatch.setattr(leasing, "asyncio", SimpleNamespace(sleep=sleep))
    asyncio.run(run())


@pytest.mark.parametrize("raw", [b"<html>Bad gateway</html>", b'{"items": [', b"[1]"])
def test_an_answer_that_is_no_object_is_no_answer(raw: bytes) -> None:
    """Half an answer, or a proxy's page: not a defect that ends the operator."""

    async def run() -> None:
        async with answering(lambda method, path, body: (200, raw)) as server:
            with pytest.raises(KubeError, match="not JSON") as caught:
                await server.kube.get("/api/v1/pods")
            assert caught.value.is_passing
            with pytest.raises(KubeError) as caught:
                async for _ in server.kube.watch("/api/v1/pods", "1"):
                    pass
            assert caught.value.is_passing

    asyncio.run(run())
