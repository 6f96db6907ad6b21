"""Rounds of the loop: real Redis, recorded answers of the API server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from rqk_operator import loop as looping
from rqk_operator import rules
from rqk_operator.children import Children
from rqk_operator.events import Events
from rqk_operator.hands import Hands
from rqk_operator.loop import Loop
from rqk_operator.metrics import OperatorMetrics
from rqk_operator.pools import Pools, PoolState
from rqk_operator.retire import Memory
from rqk_operator.sites import Site, Sites
from rqk_operator.sources import Access
from rqk_operator.vault import Vault
from rqk_operator.views import PodView, deployment_view

from rqk import Queue
from tests.conftest import MakeServer
from tests.operator.answers import Answer, Answers, answering, refusal
from tests.operator.test_refusals import deployment
from tests.support.proxy import Proxy

TICK_S = 0.05
PATIENCE_S = 20.0


def body(redis: dict[str, Any], **more: Any) -> dict[str, Any]:
    meta = {"namespace": "ns", "name": "shop", "uid": "u1", "generation": 1, "resourceVersion": "1"}
    spec = {"queues": ["q"], "redis": redis, "scaling": {"targetDepthPerWorker": 1}, "worker": {"image": "shop:1"}}
    return {"apiVersion": "rqk.dev/v1beta1", "kind": "RQWorkerPool", "metadata": meta, "spec": spec, **more}


class Turning:
    """A loop that turns, with all that it needs."""

    def __init__(self, server: Answers) -> None:
        clock = time.monotonic
        self.server = server
        self.pools = Pools(lambda state: None, lambda state: None, clock)
        self.events = Events(server.kube, clock, "me")
        self.loop = Loop(
            self.pools,
            Hands(server.kube, self.pools, self.events, clock),
            Children(server.kube, self.pools, self.events, (), clock),
            Vault(server.kube, clock),
            self.events,
            OperatorMetrics(lambda: self.pools),
            leads=lambda: True,
            tick_s=TICK_S,
            clock=clock,
        )

    def pool(self, manifest: dict[str, Any], *pods: PodView) -> PoolState:
        self.pools.remember(manifest)
        for pod in pods:
            self.pools.pod(pod)
        state = self.pools.get(("ns", "shop"))
        assert state is not None
        return state

    async def until(self, done: Callable[[], object]) -> None:
        tasks = [asyncio.create_task(self.loop.run()), asyncio.create_task(self.events.run())]
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not done():
                    assert not any(task.done() for task in tasks)
                    await asyncio.sleep(0.02)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def told(self) -> dict[str, Any]:
        """The status as its patches add up; what null takes away is None."""
        found: dict[str, Any] = {}
        for method, path, patch in self.server.asked:
            if method == "PATCH" and path.endswith("/status"):
                found |= patch["status"]
        return found

    def condition(self, kind: str) -> tuple[str, str]:
        return next(
            ((it["status"], it["reason"]) for it in self.told().get("conditions", ()) if it["type"] == kind), ("", "")
        )

    def events_told(self) -> list[str]:
        return [it["reason"] for method, path, it in self.server.asked if method == "POST" and path.endswith("/events")]


async def until(done: Callable[[], object]) -> None:
    while not done():  # noqa: ASYNC110 - what is waited for sets no event
        await asyncio.sleep(0.005)


def stored(path: str) -> Answer:
    """The answer to a write of something that need not be looked at."""
    return 200, {"metadata": {"name": path.rpartition("/")[2], "resourceVersion": "9"}}


def pod(uid: str) -> PodView:
    return PodView("ns", f"shop-{uid}", uid, "shop", "Running", ready=True, assigned=True, running=True, template="t")


def test_a_pool_whose_secret_is_missing_says_so_and_counts_its_pods() -> None:
    def script(method: str, path: str, sent: Any) -> Answer:
        if "/secrets/" in path:
            return refusal(404, "NotFound", "secrets login not found")
        return (200, {"items": [], "metadata": {}}) if method == "GET" else stored(path)

    async def run() -> None:
        async with answering(script) as server:
            turning = Turning(server)
            login = {"urlFrom": {"secretKeyRef": {"name": "login", "key": "url"}}}
            state = turning.pool(body(login), pod("a"), pod("b"))
            state.deployment = deployment_view(deployment("?"))
            state.memory = Memory(frozenset("b"))
            await turning.until(lambda: turning.events_told())
            assert turning.condition("RedisReachable") == ("False", "SourceMissing")
            assert (turning.told()["replicas"], turning.told()["readyReplicas"]) == (2, 2)
            assert turning.events_told() == ["SourceMissing"]
            assert state.memory == Memory(), "what was seen before we led was used"
            # From then on there is nothing to tell.
            before = server.count("PATCH")
            rounds = turning.loop.turned_at
            await turning.until(lambda: turning.loop.turned_at > rounds + 10 * TICK_S)
            assert server.count("PATCH") == before

    asyncio.run(run())


def test_what_cannot_be_written_is_told_in_the_status(redis_url: str, redis: Redis) -> None:
    """A right that is missing, say: everything else goes on, and the reason stands where a person looks."""

    def script(method: str, path: str, sent: Any) -> Answer:
        if path.endswith("/scale"):
            if sent["spec"]["replicas"] > 0:
                return refusal(403, "Forbidden", 'cannot patch resource "deployments/scale"')
            return 200, {"metadata": {"resourceVersion": "9"}, "spec": {}}
        if path.endswith("/deployments/shop"):
            if method == "GET":
                return refusal(404, "NotFound", "deployments shop not found")
            made = deployment(sent["metadata"]["annotations"]["rqk.dev/manifest"])
            return 200, {**made, "spec": {"replicas": sent["spec"]["replicas"]}}
        return (200, {"items": [], "metadata": {}}) if method == "GET" else stored(path)

    async def run() -> None:
        async with answering(script) as server:
            turning = Turning(server)
            state = turning.pool(body({"url": redis_url}))
            await turning.until(lambda: turning.condition("Ready") == ("True", "FollowsQueues"))
            await asyncio.to_thread(Queue("q", connection=redis).enqueue, "json.dumps", 1)
            await turning.until(lambda: turning.condition("Ready") == ("False", "Failing"))
            assert turning.told()["desiredReplicas"] == 1
            (message,) = [it["message"] for it in turning.told()["conditions"] if it["type"] == "Ready"]
            assert "deployments/scale" in message
            await asyncio.to_thread(redis.delete, "rq:queue:q")
            state.not_before = 0.0  # it is tried again less and less often
            await turning.until(lambda: turning.condition("Ready") == ("True", "FollowsQueues"))

    asyncio.run(run())


def granting(method: str, path: str, sent: Any) -> Answer:
    """An API server on which all goes well."""
    if path.endswith("/scale"):
        return 200, {"metadata": {"resourceVersion": "9"}, "spec": sent["spec"]}
    if path.endswith("/deployments/shop"):
        if method == "GET":
            return refusal(404, "NotFound", "deployments shop not found")
        made = deployment(sent["metadata"]["annotations"]["rqk.dev/manifest"])
        return 200, {**made, "spec": {"replicas": sent["spec"].get("replicas", 0)}}
    return (200, {"items": [], "metadata": {}}) if method == "GET" else stored(path)


@pytest.mark.parametrize("tells", [True, False], ids=["told of pushes", "polled"])
def test_a_pool_at_rest_is_not_decided_for_until_its_queue_stirs(make_server: MakeServer, tells: bool) -> None:
    redis = make_server()

    async def run() -> None:
        async with answering(granting) as server:
            turning = Turning(server)
            state = turning.pool(body({"url": redis.url}))
            reachable = ("True", "Answers") if tells else ("True", "PolledOnly")
            seen: list[object] = []

            def left_alone() -> bool:
                """No decision in ten rounds."""
                if not seen or seen[0] is not state.decision:
                    seen[:] = [state.decision]
                elif seen[-1] != turning.loop.turned_at:
                    seen.append(turning.loop.turned_at)
                return len(seen) > 10 and turning.condition("RedisReachable") == reachable

            await turning.until(left_alone)
            assert turning.condition("Ready")[0] == "True"
            with redis.client() as client:
                await asyncio.to_thread(Queue("q", connection=client).enqueue, "json.dumps", 1)
            await turning.until(lambda: turning.told().get("desiredReplicas") == 1)
            assert state.size_now == 1

    if not tells:
        with redis.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "-client|tracking")
    asyncio.run(run())


def test_a_look_that_a_write_has_overtaken_is_not_acted_on(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may show a worker that was just taken back as one that retires, and may be removed."""
    written, answered = asyncio.Event(), threading.Event()

    def held(piece: bytes) -> None:
        answered.wait(PATIENCE_S)

    async def script(method: str, path: str, sent: Any) -> Answer:
        if path.endswith("/status"):
            await written.wait()
        return granting(method, path, sent)

    async def run() -> None:
        async with answering(script) as server:
            turning = Turning(server)
            state = turning.pool(body({"url": proxy.url}))
            looks: list[int] = []  # those that were decided on

            def considered(*given: Any) -> Any:
                looks.append(site().looks)
                return consider(*given)

            def site() -> Site:
                return next(iter(turning.loop.sites))

            consider = rules.consider
            monkeypatch.setattr(looping, "consider", considered)

            async def story() -> None:
                await until(lambda: looks and state.task is not None)
                proxy.after = held
                before = site().looks
                await until(lambda: site().looks > before and state.task is not None)
                written.set()
                await until(lambda: state.task is None)
                late = site().looks
                answered.set()
                await until(lambda: looks[-1] >= late)
                assert late not in looks

            told = asyncio.create_task(story())
            try:
                await turning.until(told.done)
            finally:
                answered.set()
            await told

    asyncio.run(run())


def test_many_pools_tell_their_status_a_few_at_a_time(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What all have to tell goes on by itself until it is told, whatever the limit."""
    monkeypatch.setattr(looping, "MOST_REPORTS", 1)
    monkeypatch.setattr(rules, "GLANCE_S", 0.2)
    names = [f"shop-{number}" for number in range(6)]

    def script(method: str, path: str, sent: Any) -> Answer:
        if path.endswith("/scale"):
            return 200, {"metadata": {"resourceVersion": "9"}, "spec": sent["spec"]}
        if "/deployments/" in path:
            if method == "GET":
                return refusal(404, "NotFound", "no such Deployment")
            name = path.rpartition("/")[2]
            meta = {**sent["metadata"], "uid": f"d-{name}", "resourceVersion": "5"}
            return 200, {**sent, "metadata": meta, "spec": {"replicas": 0}}
        return (200, {"items": [], "metadata": {}}) if method == "GET" else stored(path)

    async def run() -> None:
        async with answering(script) as server:
            turning = Turning(server)
            for name in names:
                manifest = body({"url": redis_url})
                manifest["metadata"] |= {"name": name, "uid": f"u-{name}"}
                turning.pools.remember(manifest)

            def ready() -> set[str]:
                return {
                    path.split("/")[-2]
                    for method, path, patch in server.asked
                    if method == "PATCH" and path.endswith("/status")
                    for it in patch["status"].get("conditions", ())
                    if (it["type"], it["status"]) == ("Ready", "True")
                }

            await turning.until(lambda: ready() == set(names))
            states = [turning.pools.get(("ns", name)) for name in names]
            assert all(state is not None and state.status["conditions"] for state in states)

    asyncio.run(run())


def test_one_server_that_hangs_does_not_hold_up_what_is_asked_of_another(redis_url: str, redis: Redis) -> None:
    """Retiring and settling block; each server has threads of its own for them."""

    async def run() -> None:
        sites = Sites(time.monotonic, lambda site, names: None)
        hung, well = (sites.get(Access(f"{redis_url}?client_name={name}", {})) for name in ("hung", "well"))
        release = threading.Event()
        asked = [asyncio.create_task(hung.ask(lambda client: release.wait(30))) for _ in range(50)]
        try:
            async with asyncio.timeout(10):
                assert await well.ask(lambda client: client.ping()) is True
            assert not any(task.done() for task in asked)
        finally:
            release.set()
            await asyncio.gather(*asked)
            await sites.close()

    asyncio.run(run())


def test_a_server_that_no_pool_is_on_any_more_is_left_when_its_last_answer_has_come(redis_url: str) -> None:
    """The jobs of a deleted pool's workers are still settled."""

    async def run() -> None:
        sites = Sites(time.monotonic, lambda site, names: None)
        site = sites.get(Access(redis_url, {}))
        begun, release = threading.Event(), threading.Event()

        def work(client: Redis) -> object:
            begun.set()
            assert release.wait(30)
            return client.ping()

        asked = asyncio.create_task(site.ask(work))
        assert await asyncio.to_thread(begun.wait, 10)
        sites.keep(set())
        assert len(sites) == 1
        release.set()
        assert await asked is True
        sites.keep(set())
        assert len(sites) == 0
        await sites.close()

    asyncio.run(run())
