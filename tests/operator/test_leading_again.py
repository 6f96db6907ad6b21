"""A leader that lost the Lease and has it again: others led meanwhile."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any

from rqk_operator.loop import Loop

from tests.conftest import MakeServer
from tests.operator.answers import Answer, answering
from tests.operator.test_loop import Turning, body, granting, until
from tests.operator.test_refusals import deployment


def test_a_secret_that_changed_while_another_one_led_rolls_the_workers_once(make_server: MakeServer) -> None:
    """Applied with the old reading first, the workers would be sent back to the old server, and then to the new one again."""
    old, new = make_server(), make_server()
    secret = {"url": old.url}
    applied: list[str] = []

    async def script(method: str, path: str, sent: Any) -> Answer:
        if "/secrets/" in path:
            encoded = base64.b64encode(secret["url"].encode()).decode()
            await asyncio.sleep(0.02)
            return 200, {"metadata": {"uid": "s"}, "data": {"url": encoded}}
        if path.endswith("/deployments/shop") and method == "PATCH":
            applied.append(sent["spec"]["template"]["metadata"]["annotations"]["rqk.dev/redis"])
            made = deployment(sent["metadata"]["annotations"]["rqk.dev/manifest"])
            return 200, {**made, "spec": {"replicas": 2}}
        return granting(method, path, sent)

    async def run() -> None:
        async with answering(script) as server:
            turning = Turning(server)
            leads = [True]
            turning.loop = Loop(
                turning.pools,
                turning.loop.hands,
                turning.loop.children,
                turning.loop.finder.vault,
                turning.events,
                turning.loop.metrics,
                leads=lambda: leads[0],
                tick_s=turning.loop.tick_s,
                clock=turning.loop.clock,
            )
            state = turning.pool(body({"urlFrom": {"secretKeyRef": {"name": "login", "key": "url"}}}))

            async def story() -> None:
                await until(lambda: applied and state.task is None)
                leads[0] = False
                stopped = turning.loop.turned_at
                await until(lambda: turning.loop.turned_at > stopped and state.task is None)
                secret["url"] = new.url
                assert state.deployment is not None
                state.deployment = replace(state.deployment, manifest="as the other leader has made it")
                first = applied.pop()
                applied.clear()
                leads[0] = True
                await until(lambda: applied)
                assert first not in applied

            told = asyncio.create_task(story())
            await turning.until(told.done)
            await told

    asyncio.run(run())
