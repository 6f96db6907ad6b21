"""What is written for a pool when the API server fails at some of it."""

from __future__ import annotations

import asyncio
from typing import Any

from redis import Redis
from rqk_operator.views import deployment_view

from rqk import Queue
from tests.operator.answers import Answer, answering, refusal
from tests.operator.test_loop import Turning, body, granting
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
