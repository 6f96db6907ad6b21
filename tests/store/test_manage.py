"""Cancel, requeue, delete, empty: what people do to jobs."""

from __future__ import annotations

import pytest
import redis as redis_py

from rqk.core import keys
from rqk.store import jobs, queues, registries, transitions
from rqk.store.transitions import Canceled, Requeued
from tests.store.stage import WALL, FakeWorker, at, hash_of, new, put, status

Client = redis_py.Redis
EVERY_REGISTRY = ("finished", "failed", "deferred", "scheduled", "canceled")


def places(client: Client, job_id: str) -> list[str]:
    """Where an id is."""
    listed = [
        name for name in (keys.queue("q"), keys.intermediate("q")) if client.exists(name) and job_id in at(client, name)
    ]
    return listed + [name for name in EVERY_REGISTRY if client.zscore(registries.KEYS[name]("q"), job_id) is not None]


def brought_to(client: Client, place: str) -> None:
    """Job ``a`` of queue ``q`` in a place."""
    worker = FakeWorker(client, "w")
    if place == "scheduled":
        put(client, new("a", place="due", due=9e9))
        client.hset(keys.job("a"), "status", "scheduled")
    elif place == "deferred":
        put(client, new("p", "elsewhere"), new("a", depends_on=("p",)))
    else:
        put(client, "a")
        if place == "finished":
            worker.finish(worker.take("a"))
        elif place == "failed":
            worker.fail(worker.take("a"))
        elif place == "canceled":
            transitions.cancel(client, "a", WALL)
        elif place == "started":
            worker.take("a")
    if place not in ("queued", "started"):
        assert places(client, "a") == [place]


@pytest.mark.parametrize("place", ["queued", "finished", "failed", "deferred", "scheduled"])
def test_cancel(redis: Client, place: str) -> None:
    brought_to(redis, place)
    assert transitions.cancel(redis, "a", WALL) is Canceled.DONE
    assert (status(redis, "a"), places(redis, "a")) == ("canceled", ["canceled"])
    assert transitions.cancel(redis, "a", WALL) is Canceled.ALREADY
    assert transitions.cancel(redis, "nobody", WALL) is Canceled.GONE
    assert not redis.exists(keys.job("nobody"))


def test_cancel_takes_every_entry_of_the_id(redis: Client) -> None:
    put(redis, "a", "b")
    redis.rpush(keys.queue("q"), "a")
    transitions.cancel(redis, "a", WALL)
    assert at(redis, keys.queue("q")) == ["b"]


def test_cancel_does_not_interrupt(redis: Client) -> None:
    brought_to(redis, "started")
    assert transitions.cancel(redis, "a", WALL) is Canceled.DONE
    assert redis.zcard(keys.started("q")) == 1


@pytest.mark.parametrize(("release", "becomes"), [(False, "deferred"), (True, "queued")])
def test_cancel_of_a_parent(redis: Client, release: bool, becomes: str) -> None:
    put(redis, "p", new("a", depends_on=("p",)))
    transitions.cancel(redis, "p", WALL, release_dependents=release)
    assert status(redis, "a") == becomes
    assert at(redis, keys.queue("q")) == (["a"] if release else [])


@pytest.mark.parametrize("leave", [False, True])
def test_cancel_of_a_dependent(redis: Client, leave: bool) -> None:
    put(redis, "p", new("a", depends_on=("p",)))
    transitions.cancel(redis, "a", WALL, leave_dependencies=leave)
    assert redis.sismember(keys.dependents("p"), "a") == (not leave)


def test_cancel_frees_the_place_of_a_limited_job(redis: Client) -> None:
    for job_id, state in (("a", "queued"), ("b", "rate_limited")):
        put(redis, new(job_id, place="nowhere", fields={"rate_limit_key": "api", "rate_limit_concurrency": 1}))
        redis.hset(keys.job(job_id), "status", state)
    redis.hset("rq:rl:api", "concurrency", 1)
    redis.zadd("rq:rl:api:allowed", {"a": 1})
    redis.zadd("rq:rl:api:rate_limited", {"b": 1})
    transitions.cancel(redis, "a", WALL)
    assert (at(redis, "rq:rl:api:allowed"), at(redis, keys.queue("q"))) == (["b"], ["b"])
    assert redis.exists("rq:rl:api:rate_limited") == 0


@pytest.mark.parametrize("place", EVERY_REGISTRY)
def test_requeue(redis: Client, place: str) -> None:
    brought_to(redis, place)
    put(redis, "z")
    redis.hset(keys.job("a"), mapping={"exc_info": "old", "rqk_deliveries": "2"})
    assert transitions.requeue(redis, place, "q", "a", WALL) is Requeued.DONE
    assert (status(redis, "a"), places(redis, "a")) == ("queued", ["rq:queue:q"])
    assert at(redis, keys.queue("q")) == ["z", "a"]
    found = hash_of(redis, "a")
    assert (found.started_at, found.ended_at, found.exc_info_raw, found.enqueued_at) == (None, None, None, WALL)
    assert not redis.hexists(keys.job("a"), "rqk_deliveries"), "a fresh count of deliveries"
    assert transitions.requeue(redis, place, "q", "a", WALL) is Requeued.NOT_THERE


def test_requeue_at_the_front(redis: Client) -> None:
    brought_to(redis, "failed")
    put(redis, "z")
    transitions.requeue(redis, "failed", "q", "a", WALL, at_front=True)
    assert at(redis, keys.queue("q")) == ["a", "z"]


def test_requeue_of_a_job_that_has_expired_removes_its_entry(redis: Client) -> None:
    brought_to(redis, "failed")
    redis.delete(keys.job("a"))
    assert transitions.requeue(redis, "failed", "q", "a", WALL) is Requeued.GONE
    assert places(redis, "a") == []
    assert not redis.exists(keys.job("a"))


def test_requeue_keeps_a_failed_job_from_expiring_while_it_waits(redis: Client) -> None:
    """It failed with a failure_ttl of 50 s; back in its queue it waits for as long as it takes."""
    put(redis, new("a", fields={"failure_ttl": 50}))
    worker = FakeWorker(redis, "w")
    worker.fail(worker.take("a"))
    assert int(redis.ttl(keys.job("a"))) in (49, 50)
    transitions.requeue(redis, "failed", "q", "a", WALL)
    assert redis.ttl(keys.job("a")) == -1, "a job that expires in its queue is lost"


@pytest.mark.parametrize("place", ["queued", "started", *EVERY_REGISTRY])
def test_delete(redis: Client, place: str) -> None:
    brought_to(redis, place)
    redis.xadd(keys.results("a"), {"type": 1})
    assert transitions.delete(redis, ["a", "nobody"], WALL) == 1
    assert not [*redis.scan_iter("*:a*")]
    assert places(redis, "a") == []
    assert redis.zcard(keys.started("q")) == 0
    assert not redis.exists(keys.worker_executions("w"))
    assert not redis.sismember(keys.dependents("p"), "a")


def test_delete_of_an_id_in_transit(redis: Client) -> None:
    put(redis, "a")
    redis.lmove(keys.queue("q"), keys.intermediate("q"), "LEFT", "RIGHT")
    transitions.delete(redis, ["a"], WALL)
    assert at(redis, keys.intermediate("q")) == []


@pytest.mark.parametrize("deed", ["cancel", "enqueue again"])
def test_an_id_in_transit_is_taken_out_there(redis: Client, deed: str) -> None:
    put(redis, "a")
    redis.lmove(keys.queue("q"), keys.intermediate("q"), "LEFT", "RIGHT")
    if deed == "cancel":
        transitions.cancel(redis, "a", WALL)
        assert places(redis, "a") == ["canceled"]
    else:
        put(redis, "a")
        assert places(redis, "a") == [keys.queue("q")]


def test_delete_leaves_the_list_alone_if_told(redis: Client) -> None:
    put(redis, "a")
    transitions.delete(redis, ["a"], WALL, from_list=False)
    assert at(redis, keys.queue("q")) == ["a"]


@pytest.mark.parametrize("with_them", [False, True])
def test_delete_and_dependents(redis: Client, with_them: bool) -> None:
    put(redis, "p", new("a", depends_on=("p",)), new("b", depends_on=("a",)), new("c", "other", depends_on=("b",)))
    assert transitions.delete(redis, ["p"], WALL, dependents=with_them) == (4 if with_them else 1)
    assert [jobs.exists(redis, job_id) for job_id in "abc"] == [not with_them] * 3


def test_delete_leaves_its_group(redis: Client) -> None:
    put(redis, new("a", group="g", fields={"group_id": "g"}))
    transitions.delete(redis, ["a"], WALL)
    assert redis.scard(keys.group("g")) == 0


def test_a_circle_of_dependents_is_deleted_once(redis: Client) -> None:
    put(redis, "a", new("b", depends_on=("a",)))
    redis.sadd(keys.dependents("b"), "a")
    assert transitions.delete(redis, ["a"], WALL, dependents=True) == 2


@pytest.mark.parametrize("count", [0, 1, 1000, 2500])
def test_empty(redis: Client, count: int) -> None:
    put(redis, *[f"j{number}" for number in range(count)], new("z", "other", group="g", fields={"group_id": "g"}))
    assert transitions.empty(redis, "q") == count
    assert at(redis, keys.queue("q")) == []
    assert [*redis.scan_iter("rq:job:*")] == [b"rq:job:z"]
    assert transitions.empty(redis, "other") == 1
    assert redis.scard(keys.group("g")) == 0


def test_readers(redis: Client) -> None:
    put(redis, "a", "b", new("c", "two words: and more"))
    assert queues.names(redis) == ["q", "two words: and more"]
    assert queues.length(redis, "q") == 2
    assert queues.job_ids(redis, "q") == ["a", "b"]
    assert queues.job_ids(redis, "q", 1) == ["b"]
    assert queues.job_ids(redis, "q", 0, 1) == ["a"]
    assert queues.job_ids(redis, "q", 0, 0) == []
    assert (jobs.position(redis, "q", "b"), jobs.position(redis, "q", "c")) == (1, None)
    assert [found and found.id for found in jobs.fetch_many(redis, ["b", "nobody", "a"])] == ["b", None, "a"]
    assert queues.remove(redis, "q", "a") == 1
    assert jobs.exists(redis, "a")
    queues.forget(redis, "q")
    assert queues.names(redis) == ["two words: and more"]
