"""Whatever is wrong with one pool, and be it the operator's own fault, the others are served, and the one says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from rqk_operator import loop as looping
from rqk_operator import rules
from rqk_operator.pools import PoolState

from rqk import Queue
from tests.operator.answers import Answer, Answers, answering, refusal
from tests.operator.test_loop import Turning, body, stored


def named(name: str, url: str, **spec: Any) -> dict[str, Any]:
    """A pool with a queue of its own name."""
    made = body({"url": url})
    made["metadata"] |= {"name": name, "uid": f"u-{name}"}
    made["spec"] |= {"queues": [name], **spec}
    return made


def granting(method: str, path: str, sent: Any) -> Answer:
    """An API server with any number of pools, on which all goes well."""
    if path.endswith("/scale"):
        return 200, {"metadata": {"resourceVersion": "9"}, "spec": sent["spec"]}
    if "/deployments/" in path:
        if method == "GET":
            return refusal(404, "NotFound", "no such Deployment")
        name = path.rpartition("/")[2]
        return 200, {**sent, "metadata": {**sent["metadata"], "uid": f"d-{name}", "resourceVersion": "5"}}
    if method == "GET" and path.rpartition("/")[2] in {"bad", "good"}:
        return refusal(404, "NotFound", "no such object")
    return (200, {"items": [], "metadata": {}}) if method == "GET" else stored(path)


def condition(server: Answers, name: str, kind: str) -> tuple[str, str, str]:
    """As told last: status, reason, message."""
    found = ("", "", "")
    for method, path, patch in server.asked:
        if method == "PATCH" and path.endswith(f"/{name}/status"):
            for it in patch["status"].get("conditions", ()):
                if it["type"] == kind:
                    found = (it["status"], it["reason"], it["message"])
    return found


def put_a_job(redis: Redis, name: str) -> None:
    Queue(name, connection=redis).enqueue("json.dumps", 1)


@pytest.mark.parametrize(
    ("url", "more", "kind", "reason"),
    [
        ("rediss://h:1/0?ssl_cert_reqs=bogus", {}, "RedisReachable", "BadUrl"),
        ("redis://h/0?protocol=9", {}, "RedisReachable", "BadUrl"),
        ("redis://[::1", {"networkPolicy": {"egress": []}}, "RedisReachable", "BadUrl"),
        ("{redis}?encoding=bogus", {}, "RedisReachable", "BadUrl"),
        ("{redis}?credential_provider=x", {}, "RedisReachable", "Unreachable"),
        (
            "{redis}",
            {"template": {"spec": {"containers": [{"name": "worker", "env": [{"name": ["x"], "value": "1"}]}]}}},
            *("TemplateValid", "Rejected"),
        ),
    ],
)
def test_a_pool_that_is_wrong_says_so_and_the_others_are_served(
    redis_url: str, redis: Redis, url: str, more: dict[str, Any], kind: str, reason: str
) -> None:
    async def run() -> None:
        async with answering(granting) as server:
            turning = Turning(server)
            turning.pools.remember(named("bad", url.format(redis=redis_url), **more))
            turning.pools.remember(named("good", redis_url))
            good = turning.pools.get(("ns", "good"))
            assert good is not None
            await asyncio.to_thread(put_a_job, redis, "good")
            await turning.until(lambda: good.size_now == 1 and condition(server, "bad", kind)[1] == reason)
            assert condition(server, "bad", kind)[0] == "False"

    asyncio.run(run())


Broken = Callable[[Turning, pytest.MonkeyPatch, Callable[..., Any]], None]

PLACES: dict[str, Broken] = {
    "while deciding": lambda turning, patch, only: patch.setattr(looping, "consider", only(rules.consider)),
    "while planning": lambda turning, patch, only: patch.setattr(
        turning.loop.hands, "needs_deployment", only(turning.loop.hands.needs_deployment)
    ),
    "while writing": lambda turning, patch, only: patch.setattr(
        turning.loop.hands, "deploy", only(turning.loop.hands.deploy)
    ),
    "while a round begins": lambda turning, patch, only: patch.setattr(
        turning.loop.finder, "find_at_once", only(turning.loop.finder.find_at_once)
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_defect_with_one_pool_is_its_own(
    redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Told in its status and tried again, less and less often; when it is over, nothing of it stays."""
    broken = [True]

    def only(real: Callable[..., Any]) -> Callable[..., Any]:
        """The same, but for the bad one."""

        def replaced(state: PoolState, *more: Any, **named: Any) -> Any:
            if broken[0] and state.about.name == "bad":
                raise KeyError("a bug")
            return real(state, *more, **named)

        return replaced

    async def run() -> None:
        async with answering(granting) as server:
            turning = Turning(server)
            PLACES[place](turning, monkeypatch, only)
            for name in ("bad", "good"):
                turning.pools.remember(named(name, redis_url))
            bad, good = turning.pools.get(("ns", "bad")), turning.pools.get(("ns", "good"))
            assert bad is not None
            assert good is not None
            for name in ("bad", "good"):
                await asyncio.to_thread(put_a_job, redis, name)
            await turning.until(lambda: good.size_now == 1 and condition(server, "bad", "Ready")[1] == "Failing")
            assert condition(server, "bad", "Ready")[2] == "a defect in the operator, see its log: KeyError: 'a bug'"
            told = bad.errors_in_a_row
            assert told < 3, "told at once"
            broken[0] = False
            await turning.until(lambda: bad.size_now == 1 and condition(server, "bad", "Ready")[0] == "True")
            assert (bad.errors_in_a_row, bad.stumbling) == (0, None)

    asyncio.run(run())
