"""A worker that crashes again and again leaves like any other one, while Redis still has its record."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from rqk_operator.names import COST_NOTE
from rqk_operator.views import deployment_view

from rqk.core import keys
from rqk.core.records import WorkerRecord
from rqk.store import workers
from tests.operator.answers import Answer, answering
from tests.operator.test_loop import TICK_S, Turning, body, granting, pod, stored
from tests.operator.test_refusals import deployment


def test_it_is_asked_and_marked_once_and_the_number_falls(redis_url: str, redis: Redis) -> None:
    now = datetime.now(UTC)
    for uid in "ab":
        name, host = f"shop-{uid}.{uid}", f"shop-{uid}"
        record = WorkerRecord(name, queues=("q",), state="idle", birth=now, last_heartbeat=now, hostname=host)
        workers.birth(redis, record, 60)

    async def run() -> None:
        turnings: list[Turning] = []

        def script(method: str, path: str, sent: Any) -> Answer:
            (turning,) = turnings
            state = turning.pools.get(("ns", "shop"))
            assert state is not None
            if "/pods/" in path:
                cost = int(sent["metadata"]["annotations"][COST_NOTE] or 0)
                turning.pools.pod(replace(state.pods[path.rpartition("-")[2]], cost=cost))
                return stored(path)
            if path.endswith("/scale"):
                number = sent[1]["value"] if isinstance(sent, list) else sent["spec"]["replicas"]
                return 200, {"metadata": {"resourceVersion": "9"}, "spec": {"replicas": number}}
            if path.endswith("/deployments/shop") and method == "PATCH":
                made = deployment(sent["metadata"]["annotations"]["rqk.dev/manifest"])
                return 200, {**made, "spec": {"replicas": 2}}
            return granting(method, path, sent)

        async with answering(script) as server:
            turning = Turning(server)
            turnings.append(turning)
            manifest = body({"url": redis_url})
            manifest["spec"]["scaling"] |= {"minReplicas": 1, "scaleDown": {"stabilizationSeconds": 0}}
            crashed = replace(pod("a"), running=False, ready=False, waiting="CrashLoopBackOff")
            state = turning.pool(manifest, crashed, pod("b"))
            state.deployment = replace(deployment_view(deployment("?")), replicas=2)
            await turning.until(lambda: state.size_now == 1)
            rounds = turning.loop.turned_at
            await turning.until(lambda: turning.loop.turned_at > rounds + 5 * TICK_S)
            assert server.count("PATCH", "/pods/shop-a") == 1
            assert server.count("PATCH", "/pods/shop-b") == 0
            assert redis.exists(keys.retire("shop-a.a")), "should it be started again, it takes no job"
            assert workers.retire(redis, "shop-b.b") == "retiring", "it was left alone"

    asyncio.run(run())
