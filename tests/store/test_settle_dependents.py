"""The end of a job and those that wait for it: dependents, and the next in a rate limit."""

from __future__ import annotations

import pytest
import redis as redis_py

from rqk.core import keys, moves
from rqk.core.codec import decode_job
from rqk.store import transitions
from rqk.store.transitions import Claimed
from tests.store.stage import WALL, FakeWorker, at, new, put, status

Client = redis_py.Redis


# Dependents
def test_dependents_are_released_by_success(redis: Client) -> None:
    put(redis, "p", new("a", depends_on=("p",)), new("b", "other", depends_on=("p",)))
    worker = FakeWorker(redis, "w")
    worker.finish(worker.take("p"))
    assert (status(redis, "a"), status(redis, "b")) == ("queued", "queued")
    assert (at(redis, keys.queue("q")), at(redis, keys.queue("other"))) == (["a"], ["b"])
    assert at(redis, keys.deferred("q")) == at(redis, keys.deferred("other")) == []
    assert not redis.exists(keys.dependents("p"))
    assert redis.hexists(keys.job("a"), "enqueued_at")


def test_a_dependent_can_ask_for_the_front(redis: Client) -> None:
    put(redis, "p", new("a", depends_on=("p",), fields={"enqueue_at_front": True}), "z")
    worker = FakeWorker(redis, "w")
    worker.finish(worker.take("p"))
    assert at(redis, keys.queue("q")) == ["a", "z"]


def test_all_parents_must_have_ended(redis: Client) -> None:
    put(redis, "p1", "p2", new("a", depends_on=("p1", "p2")))
    worker = FakeWorker(redis, "w")
    worker.finish(worker.take("p1"))
    assert status(redis, "a") == "deferred"
    worker.finish(worker.take("p2"))
    assert at(redis, keys.queue("q")) == ["a"]


@pytest.mark.parametrize(("tolerant", "becomes"), [(False, "deferred"), (True, "queued")])
def test_failure_releases_the_tolerant(redis: Client, tolerant: bool, becomes: str) -> None:
    dependent = new("a", depends_on=("p",), tolerant=tolerant, fields={"allow_dependency_failures": tolerant})
    put(redis, "p", dependent)
    worker = FakeWorker(redis, "w")
    worker.fail(worker.take("p"))
    assert status(redis, "a") == becomes


def test_a_failed_parent_that_is_requeued_and_succeeds_releases(redis: Client) -> None:
    put(redis, "p", new("a", depends_on=("p",)))
    worker = FakeWorker(redis, "w")
    worker.fail(worker.take("p"))
    transitions.requeue(redis, "failed", "q", "p", WALL)
    worker.finish(worker.take("p"))
    assert at(redis, keys.queue("q")) == ["a"]


def test_a_stopped_parent_releases_nobody(redis: Client) -> None:
    dependent = new("a", depends_on=("p",), tolerant=True, fields={"allow_dependency_failures": True})
    put(redis, "p", dependent)
    worker = FakeWorker(redis, "w")
    claimed = worker.take("p")
    job = decode_job("p", claimed.fields)
    worker.settle(claimed, moves.stopped(job, worker.attempt(claimed), "stop"))
    assert (status(redis, "p"), status(redis, "a")) == ("stopped", "deferred")


def test_a_retry_releases_nobody(redis: Client) -> None:
    put(redis, new("p", fields={"retries_left": 1}), new("a", depends_on=("p",)))
    worker = FakeWorker(redis, "w")
    worker.fail(worker.take("p"))
    assert status(redis, "a") == "deferred"


def test_a_canceled_dependent_is_not_released(redis: Client) -> None:
    put(redis, "p", new("a", depends_on=("p",)))
    transitions.cancel(redis, "a", WALL)
    worker = FakeWorker(redis, "w")
    worker.finish(worker.take("p"))
    assert (status(redis, "a"), at(redis, keys.queue("q"))) == ("canceled", [])


def test_a_released_job_may_be_the_next_at_once(redis: Client) -> None:
    put(redis, "p", new("a", depends_on=("p",)))
    worker = FakeWorker(redis, "w")
    done = worker.finish(worker.take("p"), ask=worker.ask())
    assert isinstance(done.next, Claimed)
    assert done.next.job_id == "a"


# Rate limits
def limited(client: Client, *ids: str) -> None:
    """Jobs under one slot, as RQ 3.0 leaves them: the first may run, the others wait."""
    for job_id in ids:
        put(client, new(job_id, place="nowhere", fields={"rate_limit_key": "api", "rate_limit_concurrency": 1}))
    first, *others = ids
    client.sadd(keys.RATE_LIMIT_KEYS, "api")
    client.hset("rq:rl:api", "concurrency", 1)
    client.zadd("rq:rl:api:allowed", {first: 1})
    client.rpush(keys.queue("q"), first)
    for place, job_id in enumerate(others):
        client.hset(keys.job(job_id), "status", "rate_limited")
        client.zadd("rq:rl:api:rate_limited", {job_id: place})


def test_the_end_of_a_job_gives_its_slot_to_the_next(redis: Client) -> None:
    limited(redis, "a", "b", "c")
    worker = FakeWorker(redis, "w")
    done = worker.finish(worker.take("a"), ask=worker.ask())
    assert isinstance(done.next, Claimed)
    assert done.next.job_id == "b"
    assert (at(redis, "rq:rl:api:allowed"), at(redis, "rq:rl:api:rate_limited")) == (["b"], ["c"])


def test_a_retry_at_once_keeps_its_slot(redis: Client) -> None:
    limited(redis, "a", "b")
    redis.hset(keys.job("a"), "retries_left", 1)
    worker = FakeWorker(redis, "w")
    worker.fail(worker.take("a"))
    assert (at(redis, "rq:rl:api:allowed"), at(redis, keys.queue("q"))) == (["a"], ["a"])


def test_a_retry_later_frees_its_slot(redis: Client) -> None:
    limited(redis, "a", "b")
    redis.hset(keys.job("a"), mapping={"retries_left": 1, "retry_intervals": "[60]"})
    worker = FakeWorker(redis, "w")
    worker.fail(worker.take("a"))
    assert (at(redis, "rq:rl:api:allowed"), at(redis, keys.queue("q"))) == (["b"], ["b"])
