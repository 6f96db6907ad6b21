"""What is written for a pool when the API server fails at some of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis
from rqk_operator.errors import KubeError
from rqk_operator.names import MANIFEST_NOTE
from rqk_operator.pools import PoolState
from rqk_operator.retire import Plan
from rqk_operator.sources import Access
from rqk_operator.views import deployment_view
from rqk_operator.writer import Writer

from rqk import Queue
from tests.operator.answers import Answer, answering, refusal
from tests.operator.test_loop import Turning, body, granting, pod, until
from tests.operator.test_refusals import deployment


def scaling(method: str, path: str, sent: Any) -> Answer:
    """An API server on which all goes well, also with a number that is written only if it is what we think."""
    if path.endswith("/scale") and isinstance(sent, list):
        return 200, {"metadata": {"resourceVersion": "9"}, "spec": {"replicas": sent[1]["value"]}}
    return granting(method, path, sent)


def put_jobs(redis: Redis, count: int) -> None:
    for number in range(count):
        Queue("q", connection=redis).enqueue("json.dumps", number)


def test_a_deployment_that_cannot_be_brought_up_to_date_is_scaled_all_the_same(redis_url: str, redis: Redis) -> None:
    """A webhook that is down, say."""
    down = [True]

    def script(method: str, path: str, sent: Any) -> Answer:
        if path.endswith("/deployments/shop") and method == "PATCH" and down[0]:
            return refusal(500, "InternalError", 'failed calling webhook "x": connection refused')
        return scaling(method, path, sent)

    async def run() -> None:
        async with answering(script) as server:
            turning = Turning(server)
            state = turning.pool(body({"url": redis_url}))
            state.deployment = deployment_view(deployment("of an older spec"))
            await asyncio.to_thread(put_jobs, redis, 4)
            await turning.until(lambda: state.size_now == 4)
            tried = server.count("PATCH", "/deployments/shop")
            await asyncio.to_thread(put_jobs, redis, 4)
            await turning.until(lambda: state.size_now == 8)
            assert server.count("PATCH", "/deployments/shop") <= tried + 1, "it is tried less and less often"
            await turning.until(lambda: turning.condition("Ready") == ("False", "Failing"))
            (message,) = [it["message"] for it in turning.told()["conditions"] if it["type"] == "Ready"]
            assert "failed calling webhook" in message
            down[0], state.deploy_at = False, 0.5
            await turning.until(lambda: turning.condition("Ready") == ("True", "FollowsQueues"))
            assert (state.errors_in_a_row, state.deploy_at) == (0, 0.0)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("steps", "lost_at", "written"),
    [
        (Plan(replicas=2, mark=(pod("a"),)), "/scale", [2]),
        (Plan(replicas=2, mark=(pod("a"),)), "/pods/shop-a", []),
        (Plan(replicas=4, mark=(pod("a"),)), "/scale", [4]),
    ],
    ids=["lowered in time", "lost before it is lowered", "lost after growing"],
)
def test_who_has_lost_the_leadership_meanwhile_takes_no_further_step(
    redis_url: str, steps: Plan, lost_at: str, written: list[int]
) -> None:
    """The API server may have taken long to answer the step before."""
    leads = [True]

    def script(method: str, path: str, sent: Any) -> Answer:
        leads[0] = leads[0] and not path.endswith(lost_at)
        return scaling(method, path, sent)

    async def run() -> None:
        async with answering(script) as server:
            turning = Turning(server)
            state = turning.pool(body({"url": redis_url}), *(pod(uid) for uid in "abc"))
            state.deployment = replace(deployment_view(deployment("x")), replicas=3)
            loop = turning.loop
            writer = Writer(
                loop.hands, loop.children, turning.events, loop.metrics, leads=lambda: leads[0], clock=loop.clock
            )
            site = loop.sites.get(Access(redis_url, {}))
            await writer.write(state, site, steps, None, deploys=False)
            await loop.sites.close()
            scaled = [sent for _, path, sent in server.asked if path.endswith("/scale")]
            assert [it[1]["value"] for it in scaled] == written
            assert server.count("PATCH", "/pods/shop-a") == (0 if written == [4] else 1)

    asyncio.run(run())


def test_what_could_not_be_written_for_a_pool_at_rest_is_written_a_second_later(redis_url: str) -> None:
    fails = [False]

    def script(method: str, path: str, sent: Any) -> Answer:
        if path.endswith("/status") and fails[0]:
            fails[0] = False
            return refusal(500, "InternalError", "etcdserver: leader changed")
        return granting(method, path, sent)

    async def run() -> None:
        async with answering(script) as server:
            turning = Turning(server)
            state = turning.pool(body({"url": redis_url}))

            async def story() -> None:
                await until(
                    lambda: state.look_at > 0 and state.task is None and turning.condition("Ready")[0] == "True"
                )
                paused = body({"url": redis_url})
                paused["metadata"]["generation"] = 2
                paused["spec"]["scaling"]["paused"] = True
                turning.pools.remember(paused)
                fails[0], state.look_at = True, 0.0
                await until(lambda: "Paused" in {it["reason"] for it in state.status["conditions"]})
                await until(lambda: state.look_at > 0)

            told = asyncio.create_task(story())
            await turning.until(told.done)
            await told
            assert state.errors_in_a_row == 0, "nothing of it stays"

    asyncio.run(run())


def test_a_status_that_is_refused_for_good_is_written_less_and_less_often(redis_url: str) -> None:
    def script(method: str, path: str, sent: Any) -> Answer:
        if path.endswith("/status"):
            return refusal(403, "Forbidden", 'cannot patch resource "rqworkerpools/status"')
        return granting(method, path, sent)

    async def run() -> None:
        async with answering(script) as server:
            turning = Turning(server)
            state = turning.pool(body({"url": redis_url}))

            def tried(times: int) -> bool:
                state.not_before = 0.0  # no need to wait here
                return state.errors_in_a_row >= times

            await turning.until(lambda: tried(6))
            assert state.stumbling is not None

    asyncio.run(run())


MODIFIED = 'Operation cannot be fulfilled on rqworkerpools.rqk.dev "shop": the object has been modified'
ANOTHER = "Precondition failed: UID in precondition: u1, UID in object meta: u2"


@pytest.mark.parametrize(
    ("refused", "there", "known"),
    [
        (refusal(409, "Conflict", MODIFIED), {"uid": "u1"}, True),
        (refusal(409, "Conflict", ANOTHER), {"uid": "u2"}, False),
        (refusal(409, "Conflict", MODIFIED), {"uid": "u1", "deletionTimestamp": "2026-01-01T00:00:00Z"}, False),
        (refusal(404, "NotFound", "no such pool"), {"uid": "u1"}, False),
        (refusal(500, "InternalError", "etcdserver: leader changed"), {"uid": "u1"}, True),
    ],
)
def test_a_status_that_is_refused_ends_only_a_pool_that_is_gone(
    refused: Answer, there: dict[str, Any], known: bool
) -> None:
    def script(method: str, path: str, sent: Any) -> Answer:
        return refused if path.endswith("/status") else (200, {"metadata": there})

    async def run() -> None:
        async with answering(script) as server:
            turning = Turning(server)
            state = turning.pool(body({"url": "redis://h"}))
            if known:
                with pytest.raises(KubeError):
                    await turning.loop.hands.report(state, {"replicas": 1})
            else:
                await turning.loop.hands.report(state, {"replicas": 1})
            assert len(turning.pools) == known

    asyncio.run(run())


def test_a_deleted_deployment_comes_back_with_its_size_although_the_number_was_not_taken_at_once(
    redis_url: str,
) -> None:
    refusals = [refusal(500, "InternalError", "etcdserver: leader changed")]
    stored = {**deployment("?"), "spec": {"replicas": 0}}
    scaler = stored["metadata"]["managedFields"].pop()

    def script(method: str, path: str, sent: Any) -> Answer:
        if path.endswith("/scale"):
            if refusals:
                return refusals.pop()
            assert isinstance(sent, dict)
            stored["metadata"]["managedFields"].append(scaler)
            stored["spec"] = sent["spec"]
            return 200, {"metadata": {"resourceVersion": "9"}, "spec": sent["spec"]}
        if path.endswith("/deployments/shop"):
            if method == "GET":
                return refusal(404, "NotFound", "deployments shop not found")
            stored["metadata"]["annotations"] = sent["metadata"]["annotations"]
            return 200, stored
        return granting(method, path, sent)

    async def run() -> None:
        async with answering(script) as server:
            turning = Turning(server)
            paused = body({"url": redis_url})
            paused["spec"]["scaling"]["paused"] = True
            state = turning.pool(paused)
            state.lost_size = 5
            await turning.until(lambda: state.size_now == 5 and turning.told().get("desiredReplicas") == 5)
            assert server.count("PATCH", "/scale") == 2, "and then it is left alone"

    asyncio.run(run())


@pytest.mark.parametrize("made", [True, False], ids=["brought up to date", "made"])
def test_a_deployment_is_never_written_for_a_redis_that_is_not_known_any_more(made: bool) -> None:
    """Its Secret may go, or be about to be read anew, between two requests: workers would be rolled to nowhere."""
    states: list[PoolState] = []

    def script(method: str, path: str, sent: Any) -> Answer:
        states[0].access = None
        return granting(method, path, sent)

    async def run() -> None:
        async with answering(script) as server:
            turning = Turning(server)
            state = turning.pool(body({"url": "redis://here"}))
            states.append(state)
            state.access = Access("redis://here", {})
            if made:
                live = deployment_view(deployment("of an older spec"))
                state.deployment = replace(live, scaler_owns_replicas=False)
            hands = turning.loop.hands
            assert hands.needs_deployment(state)
            expected = state.wanted
            await hands.deploy(state, 2)
            written = [
                it for method, path, it in server.asked if method == "PATCH" and path.endswith("/deployments/shop")
            ]
            assert [it["metadata"]["annotations"][MANIFEST_NOTE] for it in written] == ([expected] if made else [])

    asyncio.run(run())
