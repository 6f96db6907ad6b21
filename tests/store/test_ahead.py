"""Claiming ahead: a job is leased by a worker that has another one in hand, and begins when that one's end is written."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pytest
import redis as redis_py

from rqk.core import keys, moves
from rqk.core.moves import Attempt, Policy
from rqk.store import leases, results, transitions
from rqk.store.line import Line
from rqk.store.transitions import Claimed, Refusal, Settled, Settlement
from rqk.store.workers import Tally
from tests.store.stage import WALL, FakeWorker, at, expire, hash_of, new, no_trace, put, status

Client = redis_py.Redis


def ahead(redis: Client, worker: FakeWorker) -> Claimed:
    """The next job, only leased."""
    claimed = transitions.claim(redis, worker.ask()._replace(ahead=True))
    assert isinstance(claimed, Claimed)
    return claimed


def finished(redis: Client, claimed: Claimed) -> moves.Move:
    """A success."""
    attempt = Attempt(claimed.execution_id, "w", WALL.timestamp(), WALL.timestamp())
    return moves.finished(hash_of(redis, claimed.job_id), attempt, None, WALL)


def test_a_job_ahead_is_leased_and_still_queued(redis: Client) -> None:
    put(redis, "a", "b")
    worker = FakeWorker(redis, "w")
    first = worker.take("a")
    held = ahead(redis, worker)
    assert (held.job_id, status(redis, "b"), status(redis, "a")) == ("b", "queued", "started")
    assert hash_of(redis, "b").worker_name in (None, "")
    assert set(at(redis, keys.started("q"))) == {
        keys.lease("a", first.execution_id),
        keys.lease("b", held.execution_id),
    }
    assert (worker.field("state"), worker.field("current_job")) == ("busy", "a")
    assert at(redis, keys.queue("q")) == []


def test_nothing_ahead_leaves_the_worker_busy(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    worker.take("a")
    assert transitions.claim(redis, worker.ask()._replace(ahead=True)) is Refusal.EMPTY
    redis.set(keys.SUSPENDED, "1")
    assert transitions.claim(redis, worker.ask()._replace(ahead=True)) is Refusal.SUSPENDED
    assert worker.field("state") == "busy"


def test_it_begins_with_the_end_of_the_one_before(redis: Client) -> None:
    put(redis, "a", "b", "c")
    worker = FakeWorker(redis, "w")
    first = worker.take("a")
    held = ahead(redis, worker)
    ask = worker.ask()._replace(ahead=True)
    told = worker.settle(first, finished(redis, first), ask, begins=worker.lease(held), tell=False)
    assert told.settled is Settled.WRITTEN
    assert isinstance(told.next, Claimed)
    assert [status(redis, job) for job in "abc"] == ["finished", "started", "queued"]
    assert (worker.field("state"), worker.field("current_job")) == ("busy", "b")
    assert hash_of(redis, "b").worker_name == "w"
    assert redis.scard(keys.worker_executions("w")) == 2


@pytest.mark.parametrize("meanwhile", ["deleted", "canceled", "lost its lease"])
def test_one_that_is_gone_meanwhile_does_not_begin(redis: Client, meanwhile: str) -> None:
    put(redis, "a", "b")
    worker = FakeWorker(redis, "w")
    first = worker.take("a")
    held = ahead(redis, worker)
    if meanwhile == "deleted":
        transitions.delete(redis, ["b"], WALL)
    elif meanwhile == "canceled":
        transitions.cancel(redis, "b", WALL)
    else:
        redis.zrem(keys.started("q"), keys.lease("b", held.execution_id))
    before = status(redis, "b")
    told = worker.settle(first, finished(redis, first), begins=worker.lease(held))
    assert told.settled is Settled.WRITTEN
    assert status(redis, "b") == before != "started"


@pytest.mark.parametrize("by", ["rqk", "RQ"])
def test_one_that_is_canceled_before_it_begins_stays_canceled(redis: Client, by: str) -> None:
    """The worker may have it at work already, as it does not wait for the answer; nothing of that counts."""
    put(redis, "a", "b")
    worker = FakeWorker(redis, "w")
    first = worker.take("a")
    held = ahead(redis, worker)
    if by == "rqk":
        transitions.cancel(redis, "b", WALL)
    else:
        redis.hset(keys.job("b"), "status", "canceled")
        redis.zadd(keys.canceled("q"), {"b": 5})
    worker.settle(first, finished(redis, first), begins=worker.lease(held))
    assert worker.beat(held).lease == "lost"
    assert worker.settle(held, finished(redis, held)).settled is Settled.LEASE_LOST
    assert (status(redis, "b"), at(redis, keys.canceled("q")), at(redis, keys.finished("q"))) == (
        "canceled",
        ["b"],
        ["a"],
    )
    assert results.count(redis, "b") == 0
    assert no_trace(redis)


@pytest.mark.parametrize("known", ["created", "started", "deferred", None])
def test_a_job_in_the_list_with_another_status_is_queued_while_it_is_ahead(redis: Client, known: str | None) -> None:
    """As producers leave it that save a job and push its id."""
    put(redis, "a", "b")
    if known is None:
        redis.hdel(keys.job("b"), "status")
    else:
        redis.hset(keys.job("b"), "status", known)
    worker = FakeWorker(redis, "w")
    first = worker.take("a")
    held = ahead(redis, worker)
    assert status(redis, "b") == "queued"
    worker.settle(first, finished(redis, first), begins=worker.lease(held))
    assert (status(redis, "b"), hash_of(redis, "b").worker_name) == ("started", "w")
    assert worker.settle(held, finished(redis, held)).settled is Settled.WRITTEN
    assert status(redis, "b") == "finished"


@pytest.mark.parametrize("known", ["created", "queued"])
def test_one_that_is_given_back_waits_on_as_before(redis: Client, known: str) -> None:
    put(redis, "a", new("b", fields={"ttl": 70, "enqueued_at": WALL - timedelta(hours=1)}, ttl=70), "c")
    redis.expire(keys.job("b"), 20)
    redis.hset(keys.job("b"), "status", known)
    worker = FakeWorker(redis, "w")
    worker.take("a")
    held = ahead(redis, worker)
    lease = worker.lease(held)._replace(worker="", never_started=True)
    assert transitions.settle(redis, lease, moves.never_started(), WALL).settled is Settled.WRITTEN
    assert (status(redis, "b"), at(redis, keys.queue("q"))) == ("queued", ["b", "c"])
    assert hash_of(redis, "b").enqueued_at == WALL - timedelta(hours=1)
    assert int(redis.ttl(keys.job("b"))) in (19, 20)


def test_one_that_begins_while_a_janitor_gives_it_back_is_not_lost(redis: Client) -> None:
    put(redis, new("a"), new("b", fields={"ttl": 70}, ttl=70))
    worker = FakeWorker(redis, "w")
    first = worker.take("a")
    held = ahead(redis, worker)
    expire(redis, held)
    seen = worker.lease(held)._replace(worker="", never_started=True, expired_only=True)
    worker.settle(first, finished(redis, first), begins=worker.lease(held))
    assert transitions.settle(redis, seen, moves.never_started(), WALL).settled is Settled.WRITTEN
    assert (status(redis, "b"), at(redis, keys.queue("q"))) == ("queued", ["b"])
    assert int(redis.ttl(keys.job("b"))) in (69, 70), "its start had taken its end away"
    assert worker.settle(held, finished(redis, held)).settled is Settled.LEASE_LOST


@pytest.mark.parametrize("policy", ["fail", "requeue"])
def test_a_dead_worker_s_job_ahead_counts_as_nothing(redis: Client, policy: Literal["fail", "requeue"]) -> None:
    put(redis, "a", "b", "c")
    worker = FakeWorker(redis, "w")
    worker.take("a")
    ahead(redis, worker)
    found = leases.end_leases_of(redis, "w", Policy(policy, 3), WALL + timedelta(minutes=1), "dead")
    assert {(one.job_id, one.action) for one in found} == {
        ("b", "returned"),
        ("a", "failed" if policy == "fail" else "requeued"),
    }
    assert "rqk_deliveries" not in {name for name, _ in hash_of(redis, "b").extra}
    assert hash_of(redis, "b").enqueued_at == WALL
    assert set(at(redis, keys.queue("q"))[:2]) <= {"a", "b", "c"}
    assert status(redis, "b") == "queued"


def test_answers_come_in_the_order_of_the_questions(redis: Client) -> None:
    put(redis, "a", "b", "c")
    worker = FakeWorker(redis, "w")
    first, line = worker.take("a"), Line(redis)
    seen: list[Settlement | Claimed | Refusal] = []
    try:
        line.execute_command("PING")
        transitions.claim_later(line, worker.ask()._replace(ahead=True), seen.append)
        assert (line.is_owed, seen) == (True, [])
        assert line.execute_command("ECHO", "x") == b"x", "an answer that others wait for is handed over on the way"
        (held,) = seen
        assert isinstance(held, Claimed)
        transitions.settle_later(
            *(line, worker.lease(first), finished(redis, first), WALL, Tally(), None),
            tell=True,
            begins=worker.lease(held),
            then=seen.append,
        )
        line.collect()
        assert (line.is_owed, seen[1]) == (False, Settlement(Settled.WRITTEN, Refusal.EMPTY, told=True))
    finally:
        line.close()


def test_an_error_among_the_answers_breaks_the_line(redis: Client) -> None:
    line = Line(redis)
    line.execute_command("PING")
    line.post("EVALSHA", "0" * 40, 0, then=lambda reply: pytest.fail("an error is no answer"))
    with pytest.raises(transitions_error(), match="NOSCRIPT"):
        line.execute_command("PING")
    assert (line.fileno(), line.is_owed) == (-1, False)
    assert line.execute_command("PING") == b"PONG", "and the next command opens a new one"
    line.close()


def transitions_error() -> type[Exception]:
    """What a broken line raises."""
    from rqk.errors import StoreUnavailable

    return StoreUnavailable
