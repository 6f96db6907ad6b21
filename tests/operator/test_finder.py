"""Where a pool's Redis is, when that is read while the pool changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rqk_operator.pools import PoolState
from rqk_operator.running import Operator
from rqk_operator.settings import Settings

from tests.operator.answers import Answer, Answers, answering, refusal
from tests.operator.test_loop import body

LOGIN = {"urlFrom": {"secretKeyRef": {"name": "login", "key": "url"}}}


def found(operator: Operator, redis: dict[str, Any], generation: int = 1) -> PoolState:
    manifest = body(redis)
    manifest["metadata"]["generation"] = generation
    operator.pools.remember(manifest)
    state = operator.pools.get(("ns", "shop"))
    assert state is not None
    return state


def leading(server: Answers) -> Operator:
    operator = Operator(Settings(leader_election=False), server.kube)
    operator.synced = True
    return operator


@pytest.mark.parametrize(
    "answer", [refusal(404, "NotFound", "no such Secret"), refusal(500, "InternalError", "etcdserver: leader changed")]
)
def test_what_the_pool_named_before_is_no_trouble_of_what_it_names_now(answer: Answer) -> None:
    asked, changed = asyncio.Event(), asyncio.Event()

    async def script(method: str, path: str, sent: Any) -> Answer:
        asked.set()
        await changed.wait()
        return answer

    async def run() -> None:
        async with answering(script) as server:
            operator = leading(server)
            state = found(operator, LOGIN)
            finder = operator.loop.finder
            finding = asyncio.create_task(finder.find(state))
            await asked.wait()
            found(operator, {"url": "redis://h"}, 2)
            changed.set()
            await finding
            assert (state.access_trouble, state.resolve_at) == (None, 0.0), "it is looked for at once"
            assert finder.find_at_once(state)
            assert state.access is not None

    asyncio.run(run())


def test_a_pool_that_was_changed_is_asked_for_as_if_it_were_new() -> None:
    """However long it was in vain before."""

    async def run() -> None:
        async with answering(lambda method, path, sent: refusal(404, "NotFound", "no such Secret")) as server:
            operator = leading(server)
            state = found(operator, LOGIN)
            finder = operator.loop.finder
            await finder.find(state)
            first = state.resolve_wait
            for _ in range(3):
                await finder.find(state)
            assert state.resolve_wait > first
            found(operator, {"urlFrom": {"secretKeyRef": {"name": "other", "key": "url"}}}, 2)
            await finder.find(state)
            assert state.resolve_wait == first

    asyncio.run(run())
