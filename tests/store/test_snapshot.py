"""Looking at queues and workers: right counts, few round trips, nothing written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_py

from rqk.core import keys
from rqk.core.states import JobStatus
from rqk.core.times import to_date
from rqk.store import aio, queues, snapshot, transitions, workers
from rqk.store.observer import Observer
from rqk.store.snapshot import QueueSnapshot, Snapshot
from tests.store.stage import WALL, FakeWorker, dump, new, put
from tests.support.proxy import Proxy

Client = redis_py.Redis
Look = Callable[..., Snapshot]


@pytest.fixture(params=["blocking", "asyncio"])
def look(request: pytest.FixtureRequest, redis: Client, redis_url: str) -> Look:
    """Both ways of looking give the same."""

    def blocking(names: list[str] | None = None) -> Snapshot:
        return snapshot.snapshot(redis, names)

    def by_asyncio(names: list[str] | None = None) -> Snapshot:
        async def once() -> Snapshot:
            remote = aio.remote(redis_url)
            try:
                return await Observer(remote).look(queues.names(redis) if names is None else names)
            finally:
                await remote.close()

        return asyncio.run(once())

    return blocking if request.param == "blocking" else by_asyncio


def populate(client: Client) -> None:
    """A job in every place."""
    worker = FakeWorker(client, "w")
    put(client, "done", "bad", "run", new("p", "other"), new("waits", depends_on=("p",)), "off")
    worker.finish(worker.take("done"))
    worker.fail(worker.take("bad"))
    worker.take("run")
    transitions.cancel(client, "off", WALL)
    put(client, new("late", place="due", due=5), new("far", place="due", due=9e9), "moved", "x", "y")
    client.lmove(keys.queue("q"), keys.intermediate("q"), "LEFT", "RIGHT")
    client.zadd(keys.ready("q"), {"ready": 1})
    # The head waits since a moment that the server's clock knows.
    client.hset(keys.job("x"), "enqueued_at", to_date(WALL.fromtimestamp(int(client.time()[0]) - 100, WALL.tzinfo)))


def test_every_place_is_counted_and_nothing_is_written(redis: Client, look: Look) -> None:
    populate(redis)
    redis.zadd(keys.finished("q"), {"expired": 1})
    before = dump(redis)
    seen = look()
    assert dump(redis) == before
    assert abs(seen.at - int(redis.time()[0])) < 5
    queue = seen.queues["q"]
    assert queue.oldest_wait is not None
    assert 100 <= queue.oldest_wait < 110
    assert queue == QueueSnapshot(
        "q",
        queued=2,
        intermediate=1,
        started=1,
        finished=2,
        failed=1,
        deferred=1,
        scheduled=2,
        canceled=1,
        ready=1,
        due=1,
        next_due=5.0,
        oldest_wait=queue.oldest_wait,
    )
    assert seen.queues["other"].queued == 1
    worker = seen.workers[0]
    assert (worker.name, worker.state, worker.current_job, worker.executions, worker.retiring) == (
        "w",
        "busy",
        "run",
        1,
        False,
    )
    assert (worker.queues, worker.birth, worker.pid) == (("q",), WALL, 1)
    assert (seen.suspended, seen.unreadable) == (False, {})


def test_queues_that_nobody_used_are_empty(look: Look) -> None:
    seen = look(["never used", "a:b"])
    assert list(seen.queues) == ["a:b", "never used"]
    assert set(seen.queues.values()) == {QueueSnapshot("never used"), QueueSnapshot("a:b")}
    assert seen.workers == ()
    assert look([]).at > 0


@pytest.mark.parametrize(
    "key", [keys.queue("bad"), keys.started("bad"), keys.scheduled("bad"), keys.intermediate("bad")]
)
def test_a_key_of_another_type_spoils_its_own_queue_only(redis: Client, look: Look, key: str) -> None:
    put(redis, "a")
    redis.set(key, "text")
    seen = look(["bad", "q"])
    assert list(seen.queues) == ["q"]
    assert list(seen.unreadable) == ["bad"]
    assert "WRONGTYPE" in seen.unreadable["bad"]


def test_suspension_and_retirement_are_seen(redis: Client, look: Look) -> None:
    FakeWorker(redis, "w")
    queues.suspend(redis)
    workers.retire(redis, "w")
    seen = look([])
    assert seen.suspended
    assert seen.workers[0].retiring


def test_a_worker_without_a_hash_is_no_worker(redis: Client, look: Look) -> None:
    FakeWorker(redis, "w")
    redis.sadd(keys.WORKERS, keys.worker("ghost"))
    assert [worker.name for worker in look([]).workers] == ["w"]


def test_counts_that_cannot_be_read_are_none(redis: Client, look: Look) -> None:
    worker = FakeWorker(redis, "w")
    redis.hset(keys.worker("w"), mapping={"successful_job_count": "many", "total_working_time": "long"})
    assert worker.field("successful_job_count") == "many"
    found = look([]).workers[0]
    assert (found.successful, found.working_time) == (0, 0.0)


@pytest.mark.parametrize("head", ["no hash", "no date", "a bad date", "the future"])
def test_a_head_whose_age_is_unknown_has_just_come(redis: Client, look: Look, head: str) -> None:
    put(redis, "a")
    if head == "no hash":
        redis.delete(keys.job("a"))
    elif head == "no date":
        redis.hdel(keys.job("a"), "enqueued_at")
    else:
        redis.hset(keys.job("a"), "enqueued_at", "soon" if head == "a bad date" else "2999-01-01T00:00:00.000000Z")
    assert look(["q"]).queues["q"].oldest_wait == 0.0


def test_many_queues(redis: Client, look: Look) -> None:
    names = [f"queue {number}" for number in range(120)]
    put(redis, *(new(f"j{number}", name) for number, name in enumerate(names)))
    seen = look()
    assert {name: queue.queued for name, queue in seen.queues.items()} == dict.fromkeys(sorted(names), 1)


def test_a_look_survives_a_server_that_forgot_its_scripts(redis: Client, look: Look) -> None:
    put(redis, "a")
    look()
    redis.script_flush()
    assert look().queues["q"].queued == 1


def test_an_observer_asks_once_a_look(redis: Client, redis_url: str, proxy: Proxy) -> None:
    """Once the script is known and the workers are the same, one round trip serves queues and workers."""
    for name in ("w1", "w2"):
        FakeWorker(redis, name)
    put(redis, *(new(f"j{number}", f"q{number}") for number in range(200)))
    names = queues.names(redis)

    async def story() -> None:
        remote = aio.remote(proxy.url)
        try:
            observer = Observer(remote)
            await observer.look(names)
            for _ in range(3):
                before = observer.round_trips, proxy.pieces
                seen = await observer.look(names)
                assert observer.round_trips == before[0] + 1
                assert proxy.pieces - before[1] <= 2, "one packet, cut into two at most"
                assert [worker.name for worker in seen.workers] == ["w1", "w2"]
            FakeWorker(redis, "w3")
            workers.death(redis, "w1", ["q"], WALL)
            seen = await observer.look(names)
            assert [worker.name for worker in seen.workers] == ["w2", "w3"]
        finally:
            await remote.close()

    asyncio.run(story())


def glance(redis_url: str, *resting: str) -> Snapshot:
    async def once() -> Snapshot:
        remote = aio.remote(redis_url)
        try:
            return await Observer(remote).look((), resting)
        finally:
            await remote.close()

    return asyncio.run(once())


def in_list(redis: Client, queue: str) -> None:
    put(redis, new("a", queue))


def on_its_way(redis: Client, queue: str) -> None:
    redis.rpush(keys.intermediate(queue), "a")


def running(redis: Client, queue: str) -> None:
    redis.zadd(keys.started(queue), {"a:b": 9e9})


def leaving_a_batch(redis: Client, queue: str) -> None:
    redis.zadd(keys.ready(queue), {"a": 1})


def overdue(redis: Client, queue: str) -> None:
    redis.zadd(keys.scheduled(queue), {"a": 5})


def of_another_type(redis: Client, queue: str) -> None:
    redis.set(keys.queue(queue), "text")


def scheduled_is_of_another_type(redis: Client, queue: str) -> None:
    redis.set(keys.scheduled(queue), "text")


@pytest.mark.parametrize(
    "stir",
    [in_list, on_its_way, running, leaving_a_batch, overdue, of_another_type, scheduled_is_of_another_type],
)
def test_a_glance_finds_the_queues_that_are_not_at_rest(
    redis: Client, redis_url: str, stir: Callable[[Client, str], None]
) -> None:
    names = [f"queue {number}" for number in range(250)]
    redis.zadd(keys.finished(names[0]), {"done": 9e9})
    stir(redis, names[117])
    before = dump(redis)
    seen = glance(redis_url, *names)
    assert seen.glance.stirred == {names[117]}
    assert (seen.queues, seen.unreadable) == ({}, {})
    assert abs(seen.at - int(redis.time()[0])) < 5
    assert dump(redis) == before


def test_a_glance_tells_when_the_next_scheduled_job_is_due(redis: Client, redis_url: str) -> None:
    redis.zadd(keys.scheduled("later"), {"a": 9e9, "b": 9.5e9})
    seen = glance(redis_url, "later", "never used")
    assert (seen.glance.stirred, seen.glance.next_due) == (frozenset(), {"later": 9e9})


def test_a_look_and_a_glance_are_one_round_trip(redis: Client, redis_url: str) -> None:
    put(redis, "a", new("b", "other"))

    async def story() -> None:
        remote = aio.remote(redis_url)
        try:
            observer = Observer(remote)
            await observer.look(["q"], ["other"])
            before = observer.round_trips
            seen = await observer.look(["q"], ["other", "third"])
            assert observer.round_trips == before + 1
            assert (list(seen.queues), set(seen.glance.stirred)) == (["q"], {"other"})
        finally:
            await remote.close()

    asyncio.run(story())


def test_statuses_and_counts_use_one_word() -> None:
    """Whoever shows counts by status finds a count for each status that has a registry."""
    counted: Any = QueueSnapshot.__dataclass_fields__
    without = {JobStatus.CREATED, JobStatus.STOPPED, JobStatus.RATE_LIMITED, JobStatus.READY_TO_ENQUEUE}
    assert {status.value for status in set(JobStatus) - without} <= set(counted)
