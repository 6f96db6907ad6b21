"""News of queues: whoever enqueues is heard, and the listening ends when it is told to."""

from __future__ import annotations

import asyncio

from redis import Redis

from rqk import Queue
from rqk.store.aio import remote
from rqk.store.watch import QueueWatch


def test_an_enqueue_is_heard_and_those_before_are_told(redis_url: str, redis: Redis) -> None:
    async def run() -> None:
        heard: asyncio.Queue[frozenset[str]] = asyncio.Queue()
        server = remote(redis_url)
        watch = QueueWatch(server, heard.put_nowait)
        listening = asyncio.create_task(watch.run())
        watch.follow({"mail"})
        async with asyncio.timeout(20):
            assert await heard.get() == {"mail"}, "what happened before the server listened is told to look at"
            assert watch.hears({"mail"})
            assert not watch.hears({"mail", "other"})
            await asyncio.to_thread(Queue("mail", connection=redis).enqueue, "json.dumps", 1)
            assert await heard.get() == {"mail"}
        listening.cancel()
        await asyncio.wait([listening], timeout=20)
        assert listening.cancelled()
        await server.close()

    asyncio.run(run())


def test_it_ends_at_whatever_moment_it_is_told_to(redis_url: str) -> None:
    """In the midst of connecting, too, where redis-py forgets a cancellation: the operator would hang at its end."""

    async def run(delay: float) -> bool:
        server = remote(redis_url)
        listening = asyncio.create_task(QueueWatch(server, lambda names: None).run())
        await asyncio.sleep(delay)  # the moment is what is tried here
        listening.cancel()
        await asyncio.wait([listening], timeout=20)
        ended = listening.cancelled()
        await server.close()
        return ended

    for step in range(50):
        assert asyncio.run(run(step * 0.0002)), f"it goes on after {step * 0.2:.1f} ms"
