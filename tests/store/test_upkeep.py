"""What one worker does for all: due jobs, stuck ids, leases of the dead, registries without their jobs."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from rqk.core import keys
from rqk.core.moves import Policy
from rqk.store import queues, transitions, workers
from rqk.store.leases import Found
from rqk.store.transitions import Held
from rqk.worker import upkeep
from tests.store.stage import WALL, FakeWorker, at, expire, hash_of, new, put, status

Client = redis_py.Redis


def due(client: Client, *queues: str, me: str = "me", most: int = 200) -> tuple[int, int, float | None]:
    """Move what is due."""
    return transitions.move_due(client, me, queues or ("q",), WALL, lock_s=10, most=most)


def scheduled(client: Client, *ids: str, when: float = 5, **fields: Any) -> None:
    """Jobs that wait for a time."""
    for job_id in ids:
        put(client, new(job_id, place="due", due=when, fields=fields))
        client.hset(keys.job(job_id), "status", "scheduled")


def test_due_jobs_enter_their_queue(redis: Client) -> None:
    scheduled(redis, "a")
    scheduled(redis, "b", when=7)
    scheduled(redis, "later", when=9e9)
    assert due(redis) == (1, 2, 9e9)
    assert at(redis, keys.queue("q")) == ["a", "b"]
    assert at(redis, keys.scheduled("q")) == ["later"]
    assert (status(redis, "a"), hash_of(redis, "a").enqueued_at) == ("queued", WALL)
    assert redis.get(keys.scheduler_lock("q")) == b"me"
    assert 0 < int(redis.ttl(keys.scheduler_lock("q"))) <= 10


def test_nothing_scheduled(redis: Client) -> None:
    assert due(redis) == (1, 0, None)


def test_only_so_many_at_once(redis: Client) -> None:
    scheduled(redis, "a", "b", "c")
    assert due(redis, most=2)[1:] == (2, 5.0)
    assert due(redis, most=2)[1:] == (1, None)


def test_rqs_scheduler_is_respected(redis: Client) -> None:
    scheduled(redis, "a")
    put(redis, new("b", "r", place="due", due=5))
    redis.set(keys.scheduler_lock("q"), "an rq scheduler", ex=61)
    assert due(redis, "q", "r") == (1, 1, None)
    assert at(redis, keys.scheduled("q")) == ["a"]
    assert redis.get(keys.scheduler_lock("q")) == b"an rq scheduler"
    assert int(redis.ttl(keys.scheduler_lock("q"))) > 55, "not even its time is touched"


def test_locks_are_given_back_by_their_owner_only(redis: Client) -> None:
    due(redis, "q", "r")
    redis.set(keys.scheduler_lock("r"), "another")
    assert transitions.unlock(redis, "me", ["q", "r", "none"]) == 1
    assert [key.decode() for key in redis.scan_iter("rq:scheduler-lock:*")] == [keys.scheduler_lock("r")]


@pytest.mark.parametrize(
    ("fields", "front"),
    [
        ({}, False),
        ({"enqueue_at_front": True}, True),
        ({"enqueue_at_front_on_retry": True}, False),
        ({"enqueue_at_front_on_retry": True, "ended_at": WALL}, True),
    ],
)
def test_due_at_the_front(redis: Client, fields: dict[str, Any], front: bool) -> None:
    put(redis, "z")
    scheduled(redis, "a", **fields)
    due(redis)
    assert at(redis, keys.queue("q")) == (["a", "z"] if front else ["z", "a"])


@pytest.mark.parametrize("why", ["gone", "canceled", "started"])
def test_what_is_not_to_run_is_only_removed(redis: Client, why: str) -> None:
    scheduled(redis, "a")
    if why == "gone":
        redis.delete(keys.job("a"))
    else:
        redis.hset(keys.job("a"), "status", why)
    assert due(redis)[1] == 0
    assert at(redis, keys.scheduled("q")) == at(redis, keys.queue("q")) == []


def test_a_due_job_has_its_time_to_live_from_now(redis: Client) -> None:
    scheduled(redis, "a", ttl=70)
    due(redis)
    assert int(redis.ttl(keys.job("a"))) in (69, 70)


def test_a_limited_job_that_is_due_waits_for_its_slot(redis: Client) -> None:
    scheduled(redis, "a", "b", rate_limit_key="api", rate_limit_concurrency=1)
    due(redis)
    assert at(redis, keys.queue("q")) == ["a"]
    assert (status(redis, "a"), status(redis, "b")) == ("queued", "rate_limited")
    assert redis.smembers(keys.RATE_LIMIT_KEYS) == {b"api"}


# Sweeping
def sweep(client: Client, *queues: str, patience_s: int = 0) -> list[Held]:
    """Tidy."""
    return transitions.sweep(client, queues or ("q",), WALL, patience_s=patience_s)


def stuck(client: Client, *ids: str) -> None:
    """Ids that a worker moved and then died."""
    put(client, *ids)
    for _ in ids:
        client.lmove(keys.queue("q"), keys.intermediate("q"), "LEFT", "RIGHT")


def test_a_stuck_id_goes_back_to_the_head_on_the_second_look(redis: Client) -> None:
    stuck(redis, "a")
    put(redis, "b")
    redis.set(keys.first_seen("q", "a"), 1)
    assert sweep(redis) == []
    assert at(redis, keys.intermediate("q")) == ["a"]
    assert sweep(redis) == [Held("q", "a")]
    assert (at(redis, keys.queue("q")), at(redis, keys.intermediate("q"))) == (["a", "b"], [])
    assert not redis.exists(keys.first_seen("q", "a")), "RQ's mark would fail the job when it passes here again"
    assert sweep(redis) == []
    assert not redis.exists(keys.unsettled("q"))


def test_an_id_in_transit_is_given_time(redis: Client) -> None:
    stuck(redis, "a")
    for _ in range(3):
        assert sweep(redis, patience_s=1000) == []
    assert at(redis, keys.intermediate("q")) == ["a"]


def test_the_clock_of_an_id_starts_anew_when_it_passes_again(redis: Client) -> None:
    stuck(redis, "a", "b")
    sweep(redis)
    redis.lrem(keys.intermediate("q"), 0, "a")
    redis.hset(keys.unsettled("q"), "a", 1)
    sweep(redis, patience_s=1000)
    assert not redis.hexists(keys.unsettled("q"), "a")


@pytest.mark.parametrize("why", ["gone", "finished", "canceled"])
def test_a_stuck_id_that_is_not_to_run_is_removed(redis: Client, why: str) -> None:
    stuck(redis, "a")
    if why == "gone":
        redis.delete(keys.job("a"))
    else:
        redis.hset(keys.job("a"), "status", why)
    sweep(redis)
    assert sweep(redis) == []
    assert at(redis, keys.intermediate("q")) == at(redis, keys.queue("q")) == []


def test_a_job_that_runs_stays_where_rq_keeps_it(redis: Client) -> None:
    put(redis, "a")
    FakeWorker(redis, "w").take("a")
    redis.rpush(keys.intermediate("q"), "a")
    sweep(redis)
    assert sweep(redis) == []
    assert at(redis, keys.intermediate("q")) == ["a"]


@pytest.mark.parametrize(("state", "becomes"), [("ready_to_enqueue", ["a"]), ("finished", [])])
def test_what_rq_3_released_and_did_not_push(redis: Client, state: str, becomes: list[str]) -> None:
    put(redis, new("a", place="nowhere"))
    redis.hset(keys.job("a"), "status", state)
    redis.zadd(keys.ready("q"), {"a": 5})
    assert sweep(redis, patience_s=10) == [Held("q", job_id) for job_id in becomes]
    assert (at(redis, keys.queue("q")), at(redis, keys.ready("q"))) == (becomes, [])


def test_what_rq_3_has_just_released_is_its_own(redis: Client) -> None:
    put(redis, new("a", place="nowhere"))
    redis.hset(keys.job("a"), "status", "ready_to_enqueue")
    redis.zadd(keys.ready("q"), {"a": int(redis.time()[0])})
    assert sweep(redis, patience_s=10) == []


@pytest.mark.parametrize(("front", "order"), [(False, ["z", "a"]), (True, ["a", "z"])])
def test_a_dependent_whose_parents_vanished_is_released(redis: Client, front: bool, order: list[str]) -> None:
    put(redis, new("p", "elsewhere"), new("a", depends_on=("p",), fields={"enqueue_at_front": front}), "z")
    assert sweep(redis) == []
    redis.delete(keys.job("p"), keys.dependents("p"))
    assert sweep(redis) == [Held("q", "a")]
    assert (at(redis, keys.queue("q")), at(redis, keys.deferred("q"))) == (order, [])


def test_a_deferred_entry_of_a_job_that_is_elsewhere_is_removed(redis: Client) -> None:
    put(redis, "a")
    redis.zadd(keys.deferred("q"), {"a": 1, "gone": 1})
    assert sweep(redis) == []
    assert (at(redis, keys.deferred("q")), at(redis, keys.queue("q"))) == ([], ["a"])


def test_expired_entries_go_and_others_stay(redis: Client) -> None:
    for key in (keys.finished("q"), keys.failed("q")):
        redis.zadd(key, {"old": 5, "fresh": 9e9, "for ever": float("inf"), "never": -1})
    sweep(redis)
    for key in (keys.finished("q"), keys.failed("q")):
        assert sorted(at(redis, key)) == ["for ever", "fresh", "never"]


def test_names_of_dead_workers_go(redis: Client) -> None:
    FakeWorker(redis, "dead", "q", "r")
    FakeWorker(redis, "live")
    redis.delete(keys.worker("dead"))
    sweep(redis)
    assert (workers.names(redis), workers.names(redis, "q")) == (["live"], ["live"])


def test_many_stuck_ids_keep_their_order(redis: Client) -> None:
    """Several workers died; each had moved one id, in the order of the queue."""
    stuck(redis, "a", "b", "c")
    put(redis, "d")
    sweep(redis)
    sweep(redis)
    assert at(redis, keys.queue("q")) == ["a", "b", "c", "d"]


# The whole look, as a worker's heart does it
def look(client: Client, policy: Policy | None = None) -> list[Found]:
    """One pass over every queue."""
    return upkeep.sweep(client, ("q",), policy or Policy(), lambda: WALL, stuck_s=0)


def test_one_look_puts_everything_right(redis: Client) -> None:
    put(redis, "b", new("c", "unserved"))
    worker = FakeWorker(redis, "w", "q", "unserved")
    expire(redis, worker.take("b"))
    expire(redis, worker.take("c"))
    put(redis, new("r", fields={"retries_left": 1}))
    expire(redis, worker.take("r"))
    stuck(redis, "a")
    look(redis, Policy("requeue"))
    found = look(redis, Policy("requeue"))
    assert found == [Found("q", "a", "returned")]
    assert sorted(at(redis, keys.queue("q"))) == ["a", "b", "r"]
    assert at(redis, keys.queue("unserved")) == ["c"], "queues that nobody serves are looked after too"


@pytest.mark.parametrize(
    ("policy", "retries", "action", "becomes"),
    [
        (Policy("fail"), 0, "failed", "failed"),
        (Policy("fail"), 1, "retried", "queued"),
        (Policy("requeue"), 0, "requeued", "queued"),
    ],
)
def test_what_becomes_of_an_abandoned_job(
    redis: Client, policy: Policy, retries: int, action: str, becomes: str
) -> None:
    put(redis, new("a", fields={"retries_left": retries}))
    expire(redis, FakeWorker(redis, "w").take("a"))
    assert look(redis, policy) == [Found("q", "a", action)]
    assert status(redis, "a") == becomes
    assert look(redis, policy) == []


def test_a_lease_of_a_job_that_is_gone_is_removed(redis: Client) -> None:
    redis.zadd(keys.started("q"), {"gone:e": 5})
    assert look(redis) == [Found("q", "gone", "dropped")]
    assert at(redis, keys.started("q")) == []
    assert not redis.exists(keys.job("gone"))


def test_an_abandoned_parent_releases_the_tolerant(redis: Client) -> None:
    put(redis, "p", new("a", depends_on=("p",), fields={"allow_dependency_failures": True}, tolerant=True))
    expire(redis, FakeWorker(redis, "w").take("p"))
    look(redis)
    assert (status(redis, "p"), status(redis, "a")) == ("failed", "queued")


def test_what_is_wrong_with_one_job_keeps_nobody_from_the_others(redis: Client) -> None:
    put(redis, "a", "b", "c")
    worker = FakeWorker(redis, "w")
    for _ in range(3):
        expire(redis, worker.take())
    redis.delete(keys.job("a"))
    redis.set(keys.job("a"), "no hash")
    redis.hset(keys.job("b"), "rqk_deliveries", b"9" * 5000)
    assert [(one.job_id, one.action) for one in look(redis)] == [("c", "failed")]


def test_strange_members_keep_nobody_from_looking(redis: Client) -> None:
    put(redis, "a")
    expire(redis, FakeWorker(redis, "w").take())
    redis.sadd(keys.QUEUES, "stray", b"rq:queue:\xff")
    redis.zadd(keys.started("q"), {b"\xff": 1, b"stray": 2})
    redis.rpush(keys.intermediate("q"), b"\xff", b"\xfe")
    redis.hset(b"rq:job:\xfe", "status", "queued")
    for _ in range(2):
        look(redis)
    assert status(redis, "a") == "failed"
    assert redis.lrange(keys.queue("q"), 0, -1) == [b"\xfe"]
    assert queues.names(redis) == ["q"]
