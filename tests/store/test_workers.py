"""Workers in Redis: birth, signs of life, retirement, death."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from rqk.core import keys
from rqk.core.commands import Command
from rqk.core.times import to_date
from rqk.errors import DuplicateWorkerError, StoreUnavailable
from rqk.store import queues, registries, transitions, workers
from rqk.store.channel import Channel
from rqk.store.workers import Namesake, Pulse
from tests.store.stage import WALL, FakeWorker, hash_of, put
from tests.support.waiting import wait_until

Client = redis_py.Redis


def test_birth(redis: Client) -> None:
    worker = FakeWorker(redis, "w", "q", "two words")
    redis.sadd("rq:workers", "no worker's key", b"\xff\xfe")
    assert workers.names(redis) == workers.names(redis, "q") == workers.names(redis, "two words") == ["w"]
    assert worker.field("queues") == "q,two words"
    assert 0 < int(redis.ttl(keys.worker("w"))) <= 60
    found = workers.fetch(redis, "w")
    assert found is not None
    assert (found.pid, found.queues, found.birth) == (1, ("q", "two words"), WALL)
    assert workers.fetch(redis, "nobody") is None


def test_a_name_is_had_once(redis: Client) -> None:
    first = FakeWorker(redis, "w")
    second = FakeWorker(redis, "w", "other", born=False)
    taken = second.birth(pid=2)
    assert taken == Namesake("host", "1", "", to_date(WALL))
    assert first.field("queues") == "q", "the first one is not touched"
    error = workers.duplicate("w", Namesake("host", "1", "", "then"))
    assert isinstance(error, DuplicateWorkerError)
    assert "'w' already (host host, process 1, last heard of then); choose another --name" in str(error)


def test_a_name_is_taken_over(redis: Client) -> None:
    first = FakeWorker(redis, "w")
    redis.hset(keys.worker("w"), "rqk_retiring", "1")
    assert first.birth(take_over=True, pid=2) is None
    assert first.field("pid") == "2"
    assert first.field("rqk_retiring") is None, "nothing of the former life stays"


def test_a_name_is_free_after_a_death(redis: Client) -> None:
    worker = FakeWorker(redis, "w", "q", "r")
    workers.death(redis, "w", worker.queues, WALL)
    assert workers.names(redis) == workers.names(redis, "q") == workers.names(redis, "r") == []
    assert worker.field("death") == to_date(WALL)
    assert 0 < int(redis.ttl(keys.worker("w"))) <= 60
    assert worker.birth() is None


def test_the_death_of_an_unknown_worker_leaves_no_ghost(redis: Client) -> None:
    workers.death(redis, "w", ["q"], WALL)
    assert redis.dbsize() == 0


def test_an_idle_beat(redis: Client) -> None:
    worker = FakeWorker(redis, "w")
    redis.persist(keys.worker("w"))
    assert worker.beat() == Pulse(True, "none", False, False, True)
    assert (worker.field("state"), worker.field("last_heartbeat")) == ("idle", to_date(WALL))
    assert 0 < int(redis.ttl(keys.worker("w"))) <= 60


def test_a_beat_of_an_unknown_worker_writes_nothing(redis: Client) -> None:
    worker = FakeWorker(redis, "w", born=False)
    assert worker.beat().registered is False
    assert redis.dbsize() == 0


def test_a_busy_beat_renews_the_lease(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a", lease_s=5)
    mark = keys.lease("a", claimed.execution_id)
    before: Any = redis.zscore(keys.started("q"), mark)
    redis.hset(keys.job("a"), "last_heartbeat", "")
    assert worker.beat(claimed, "busy", lease_s=500) == Pulse(True, "held", False, False, True)
    after: Any = redis.zscore(keys.started("q"), mark)
    assert 490 <= after - before <= 500
    assert hash_of(redis, "a").last_heartbeat == WALL
    assert worker.field("current_job_working_time") == "1.500"
    for key in (keys.execution("a", claimed.execution_id), keys.executions("a"), keys.worker_executions("w")):
        assert int(redis.ttl(key)) > 500, "the traces live longer than the lease"


def test_a_beat_for_a_lost_lease_revives_nothing(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    redis.zrem(keys.started("q"), keys.lease("a", claimed.execution_id))
    assert worker.beat(claimed, "busy").lease == "lost"
    assert redis.zcard(keys.started("q")) == 0


def test_a_beat_for_a_deleted_job_creates_no_hash(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    redis.delete(keys.job("a"))
    pulse = worker.beat(claimed, "busy")
    assert (pulse.lease, pulse.job_exists) == ("held", False)
    assert not redis.exists(keys.job("a"))


def test_a_beat_hears_of_suspension_and_retirement(redis: Client) -> None:
    worker = FakeWorker(redis, "w")
    queues.suspend(redis)
    workers.retire(redis, "w")
    pulse = worker.beat()
    assert (pulse.suspended, pulse.retiring) == (True, True)


def test_retirement_is_only_for_the_idle(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    assert workers.retire(redis, "w") == "busy"
    assert worker.field("rqk_retiring") is None
    worker.finish(claimed)
    assert workers.retire(redis, "w") == "retiring"
    assert workers.unretire(redis, "w")
    assert worker.field("rqk_retiring") is None


def test_a_worker_of_rq_that_says_busy_is_busy(redis: Client) -> None:
    """RQ 2.12 keeps no set of executions."""
    FakeWorker(redis, "w")
    redis.hset(keys.worker("w"), "state", "busy")
    assert workers.retire(redis, "w") == "busy"


@pytest.mark.parametrize("gone", ["never was", "died"])
def test_a_worker_that_is_gone_does_not_retire(redis: Client, gone: str) -> None:
    if gone == "died":
        FakeWorker(redis, "w")
        workers.death(redis, "w", ["q"], WALL)
    assert workers.retire(redis, "w") == "gone"
    assert not workers.unretire(redis, "w")


def test_a_worker_that_has_not_come_yet_is_asked_ahead(redis: Client) -> None:
    put(redis, "a")
    assert workers.retire(redis, "w", ahead_s=60) == "ahead"
    assert 0 < redis.ttl(keys.retire("w")) <= 60
    worker = FakeWorker(redis, "w")
    assert worker.beat().retiring
    assert workers.retire(redis, "w", ahead_s=60) == "retiring"
    assert workers.unretire(redis, "w")
    assert not worker.beat().retiring
    assert not redis.exists(keys.retire("w"))


def test_one_whose_record_outlives_it_is_asked_for_its_return(redis: Client) -> None:
    worker = FakeWorker(redis, "w")
    assert workers.retire(redis, "w", ahead_s=60) == "retiring"
    assert worker.birth(take_over=True, pid=2) is None
    assert worker.beat().retiring
    assert workers.unretire(redis, "w")
    assert worker.birth(take_over=True, pid=3) is None
    assert not worker.beat().retiring


def test_a_busy_one_is_not_asked_ahead_either(redis: Client) -> None:
    put(redis, "a")
    FakeWorker(redis, "w").take("a")
    assert workers.retire(redis, "w", ahead_s=60) == "busy"
    assert not redis.exists(keys.retire("w"))


def test_what_was_asked_ahead_is_taken_back(redis: Client) -> None:
    workers.retire(redis, "w", ahead_s=60)
    assert not workers.unretire(redis, "w"), "nobody is there"
    assert not FakeWorker(redis, "w").beat().retiring


def test_marks_are_only_for_the_living(redis: Client) -> None:
    workers.mark(redis, "w", "shutdown_requested_date", "now")
    assert redis.dbsize() == 0
    worker = FakeWorker(redis, "w")
    workers.mark(redis, "w", "shutdown_requested_date", "now")
    assert worker.field("shutdown_requested_date") == "now"


def test_commands_arrive_and_junk_does_not(redis: Client) -> None:
    assert workers.send(redis, "w", Command("shutdown")) == 0, "nobody hears it"
    channel = Channel(redis, "w")
    assert (channel.is_open, channel.fileno(), channel.read()) == (False, -1, [])
    channel.open()
    try:
        assert channel.fileno() >= 0
        for junk in (b"", b"\xff", b"[]", b'{"command": "?"}'):
            assert redis.publish(keys.pubsub("w"), junk) == 1
        assert workers.send(redis, "w", Command("stop-job", "a")) == 1
        FakeWorker(redis, "w")
        workers.retire(redis, "w")
        heard: list[Command] = []

        def two_came() -> bool:
            heard.extend(channel.read())
            return len(heard) >= 2

        wait_until(two_came, what="two commands")
        assert heard == [Command("stop-job", "a"), Command("retire")]
    finally:
        channel.close()
    assert not channel.is_open


def test_a_large_message_that_comes_in_pieces_is_waited_for(redis: Client) -> None:
    channel = Channel(redis, "w")
    channel.open()
    try:
        heard: list[Command] = []
        for _ in range(5):
            assert redis.publish(keys.pubsub("w"), b"x" * 5_000_000) == 1
            heard += channel.read()  # now, while only a part of it is there
        assert workers.send(redis, "w", Command("stop-job", "a")) == 1, "it is still subscribed"
        wait_until(lambda: heard.extend(channel.read()) or heard, what="the command behind them")  # type: ignore[func-returns-value]
        assert heard == [Command("stop-job", "a")]
    finally:
        channel.close()


def test_a_channel_whose_connection_ends_says_so(redis: Client) -> None:
    channel = Channel(redis, "w")
    channel.open()
    redis.client_kill_filter(_type="pubsub")

    def ended() -> bool:
        try:
            channel.read()
        except StoreUnavailable:
            return True
        return False

    wait_until(ended, what="the end of the connection to be noticed")
    assert not channel.is_open


def test_locks(redis: Client) -> None:
    assert registries.lock(redis, keys.JANITOR_LOCK, "me", 50)
    assert not registries.lock(redis, keys.JANITOR_LOCK, "you", 50)
    assert 0 < int(redis.ttl(keys.JANITOR_LOCK)) <= 50


def test_leases_that_ended(redis: Client) -> None:
    redis.zadd(keys.started("q"), {"a:1": 10, "b:2": 20, "c:3": 30})
    redis.zadd(keys.started("r"), {"d:4": 99})
    assert registries.expired_leases(redis, ["q", "r", "none"], 20) == {"q": ["a:1", "b:2"]}
    assert registries.expired_leases(redis, ["q"], 20, most=1) == {"q": ["a:1"]}
    assert registries.expired_leases(redis, [], 20) == {}


def test_the_workers_own_work(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    assert registries.leases_of(redis, "w") == [keys.lease("a", claimed.execution_id)]
    transitions.delete(redis, ["a"], WALL)
    assert registries.leases_of(redis, "w") == []
