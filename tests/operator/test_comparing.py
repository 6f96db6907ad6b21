"""What the watch of the pools missed is found by comparing, and an API server that is away at the start is waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from rqk_operator import running
from rqk_operator.running import Operator
from rqk_operator.settings import Settings

from tests.operator.answers import Answer, Answers, answering, refusal
from tests.operator.test_pools_known import KEY, body

LIST = "/apis/rqk.dev/v1beta1/rqworkerpools"
ONE = "/apis/rqk.dev/v1beta1/namespaces/ns/rqworkerpools/shop"


class PoolServer:
    """One pool, or none; ``away`` answers are refused first."""

    def __init__(self, pool: dict[str, Any] | None, away: int = 0) -> None:
        self.pool, self.away = pool, away

    def __call__(self, method: str, path: str, sent: Any) -> Answer:
        if self.away:
            self.away -= 1
            return refusal(503, "ServiceUnavailable", "starting")
        if path == LIST:
            return 200, {"metadata": {"resourceVersion": "9"}, "items": [self.pool] if self.pool is not None else []}
        assert path == ONE
        return (200, self.pool) if self.pool is not None else refusal(404, "NotFound", "no such pool")


def operator(server: Answers) -> Operator:
    return Operator(Settings(leader_election=False), server.kube)


@pytest.mark.parametrize(
    ("known", "there"),
    [
        pytest.param(None, body(5), id="never seen"),
        pytest.param(body(1), body(5, generation=2), id="changed"),
        pytest.param(body(1), body(5, metadata={"annotations": {"rqk.dev/paused": "true"}}), id="paused"),
        pytest.param(body(1), body(5, uid="u2"), id="another one of that name"),
        pytest.param(body(1), None, id="gone"),
    ],
)
def test_what_was_missed_is_made_good(known: dict[str, Any] | None, there: dict[str, Any] | None) -> None:
    async def run() -> None:
        async with answering(PoolServer(there)) as server:
            found = operator(server)
            if known is not None:
                found.pools.remember(known)
            await found._compare()
            state = found.pools.get(KEY)
            if there is None:
                assert state is None
            else:
                assert state is not None
                assert state.pool is not None
                assert (state.about.uid, state.generation) == (
                    there["metadata"]["uid"],
                    there["metadata"]["generation"],
                )
                assert state.pool.paused == ("annotations" in there["metadata"])

    asyncio.run(run())


def test_where_nothing_was_missed_one_list_is_all_that_is_asked() -> None:
    async def run() -> None:
        async with answering(PoolServer(body(1))) as server:
            found = operator(server)
            found.pools.remember(body(1))
            state = found.pools.get(KEY)
            await found._compare()
            assert [path for _, path, _ in server.asked] == [LIST]
            assert found.pools.get(KEY) is state

    asyncio.run(run())


def test_an_api_server_that_is_away_at_the_start_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_AGAIN_S", 0.01)

    async def run() -> None:
        async with answering(PoolServer(body(1), away=3)) as server:
            found = operator(server)
            async with starting(found):
                await until(lambda: found.synced)
            assert found.pools.get(KEY) is not None
            assert server.count("GET") == 4

    asyncio.run(run())


def test_a_list_that_expired_between_its_pages_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_AGAIN_S", 0.01)
    answers: list[Answer] = [
        (200, {"metadata": {"resourceVersion": "9", "continue": "x"}, "items": []}),
        refusal(410, "Expired", "too old"),
        (200, {"metadata": {"resourceVersion": "9"}, "items": [body(1)]}),
    ]

    async def run() -> None:
        async with answering(lambda *_: answers.pop(0)) as server:
            found = operator(server)
            async with starting(found):
                await until(lambda: found.synced)
            assert found.pools.get(KEY) is not None

    asyncio.run(run())


def test_a_pool_that_is_being_deleted_is_not_taken_up() -> None:
    going = body(1, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})

    async def run() -> None:
        async with answering(PoolServer(going)) as server:
            found = operator(server)
            async with starting(found):
                await until(lambda: found.synced)
            assert len(found.pools) == 0

    asyncio.run(run())


def test_a_pool_that_went_before_the_watch_began_is_found_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_FIRST_AUDIT_S", 0.01)

    async def run() -> None:
        api = PoolServer(body(1))
        async with answering(api) as server:
            found = operator(server)
            async with starting(found):
                await until(lambda: found.synced)
                api.pool = None
                await until(lambda: found.pools.get(KEY) is None)

    asyncio.run(run())


@pytest.mark.parametrize("leads", [True, False])
def test_the_watch_begins_after_the_first_round_of_who_leads(leads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with answering(PoolServer(None)) as server:
            found = operator(server)
            monkeypatch.setattr(found, "leads", lambda: leads)
            waiting = asyncio.create_task(found._after_the_first_round())
            async with starting(found):
                await until(lambda: found.synced)
                if leads:
                    await asyncio.sleep(0)
                    assert not waiting.done()
                    found.loop.served.set()
                await waiting

    asyncio.run(run())


@contextlib.asynccontextmanager
async def starting(found: Operator) -> AsyncIterator[None]:
    """With pods and Deployments already known."""
    for reflector in found._reflectors:
        reflector.synced.set()
    task = asyncio.create_task(found._sync())
    try:
        async with asyncio.timeout(20):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
