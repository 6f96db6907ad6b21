"""Claiming: which job starts, for whom, and what is passed over."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from rqk.core import keys
from rqk.core.times import to_date
from rqk.store import queues, transitions, workers
from rqk.store.transitions import Claimed, Held, Refusal
from tests.store.stage import LEASE_S, WALL, FakeWorker, at, hash_of, new, put, status

Client = redis_py.Redis


def test_what_a_claim_writes(redis: Client) -> None:
    put(redis, new("a", ttl=500))
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    mark = keys.lease("a", claimed.execution_id)
    now = int(redis.time()[0])
    assert claimed.queue == "q"
    assert claimed.fields[b"status"] == b"queued", "the fields are those from before the start"
    found = hash_of(redis, "a")
    assert (found.status, found.worker_name, found.started_at, found.last_heartbeat) == ("started", "w", WALL, WALL)
    assert redis.ttl(keys.job("a")) == -1, "a job that runs does not expire"
    score: Any = redis.zscore(keys.started("q"), mark)
    assert now + LEASE_S - 1 <= score <= now + LEASE_S + 1
    assert redis.smembers(keys.worker_executions("w")) == {mark.encode()}
    assert at(redis, keys.executions("a")) == [claimed.execution_id]
    execution: Any = redis.hgetall(keys.execution("a", claimed.execution_id))
    assert (execution[b"id"], execution[b"job_id"], execution[b"worker_name"]) == (
        claimed.execution_id.encode(),
        b"a",
        b"w",
    )
    assert float(execution[b"created_at"]) == WALL.timestamp()
    assert 0 < int(redis.ttl(keys.execution("a", claimed.execution_id))) <= LEASE_S + 60
    assert (worker.field("state"), worker.field("current_job"), worker.field("last_heartbeat")) == (
        "busy",
        "a",
        to_date(WALL),
    )
    assert at(redis, keys.queue("q")) == []


def test_first_in_first_out_and_priority(redis: Client) -> None:
    put(redis, new("l1", "low"), new("h1", "high"), new("l2", "low"), new("h2", "high"))
    worker = FakeWorker(redis, "w", "high", "low")
    assert [worker.take().job_id for _ in range(4)] == ["h1", "h2", "l1", "l2"]
    assert worker.claim() is Refusal.EMPTY


@pytest.mark.parametrize(
    "stray", [b"\xff\xfe", b"\xc3", b"a\xc0\xafb", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3\xe4\xb8\xad\xa9"]
)
@pytest.mark.parametrize("text", ["plain", "Straße", "作业", "🚀-ä"])
def test_an_id_that_is_no_text_is_passed_over(redis: Client, stray: bytes, text: str) -> None:
    put(redis, new(text))
    fields: Any = redis.hgetall(keys.job(text))
    redis.hset(b"rq:job:" + stray, mapping=fields)
    redis.lpush(keys.queue("q"), stray)
    worker = FakeWorker(redis, "w")
    assert worker.take(text).job_id == text
    assert worker.claim() is Refusal.EMPTY


def test_an_origin_that_is_no_text_counts_as_none(redis: Client) -> None:
    put(redis, new("a"))
    redis.hset(keys.job("a"), "origin", b"\xff")
    assert FakeWorker(redis, "w").take("a").queue == "q"


def test_an_empty_answer_makes_the_worker_idle(redis: Client) -> None:
    worker = FakeWorker(redis, "w")
    assert worker.field("state") == "started"
    assert worker.claim() is Refusal.EMPTY
    assert worker.field("state") == "idle"


def test_an_id_without_a_hash_is_passed_over(redis: Client) -> None:
    put(redis, "gone", "a")
    redis.delete(keys.job("gone"))
    FakeWorker(redis, "w").take("a")
    assert not [*redis.scan_iter("*gone*")]


def test_a_hash_without_a_call_is_passed_over(redis: Client) -> None:
    put(redis, "a", "b")
    redis.hdel(keys.job("a"), "data")
    FakeWorker(redis, "w").take("b")
    assert status(redis, "a") == "queued"


@pytest.mark.parametrize("left", ["canceled", "finished", "failed", "stopped"])
def test_what_a_race_left_in_the_list_is_dropped(redis: Client, left: str) -> None:
    put(redis, "a", "b")
    redis.hset(keys.job("a"), "status", left)
    FakeWorker(redis, "w").take("b")
    assert status(redis, "a") == left


def test_a_second_entry_of_a_running_job_is_dropped(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    worker.take("a")
    redis.rpush(keys.queue("q"), "a")
    assert FakeWorker(redis, "w2").claim() is Refusal.EMPTY
    assert redis.zcard(keys.started("q")) == 1


def test_a_job_marked_started_that_nobody_runs_is_run(redis: Client) -> None:
    """Left by a client or worker of another make; passing it over would lose it."""
    put(redis, "a")
    redis.hset(keys.job("a"), "status", "started")
    FakeWorker(redis, "w").take("a")


@pytest.mark.parametrize("unknown", [b"sleeping", b""])
def test_a_status_that_nobody_knows_does_not_stop_the_queue(redis: Client, unknown: bytes) -> None:
    put(redis, "a", "b")
    redis.hset(keys.job("a"), "status", unknown)
    worker = FakeWorker(redis, "w")
    assert {worker.take().job_id, worker.take().job_id} == {"a", "b"}


def test_a_job_found_in_a_foreign_list_belongs_to_its_own_queue(redis: Client) -> None:
    put(redis, "a")
    redis.rename(keys.queue("q"), keys.queue("elsewhere"))
    claimed = FakeWorker(redis, "w", "elsewhere").take("a")
    assert claimed.queue == "q"
    assert redis.zcard(keys.started("q")) == 1


def test_a_job_without_a_queue_belongs_to_the_one_it_was_found_in(redis: Client) -> None:
    put(redis, "a")
    redis.hdel(keys.job("a"), "origin")
    assert FakeWorker(redis, "w").take("a").queue == "q"


def test_an_unknown_worker_gets_nothing(redis: Client) -> None:
    put(redis, "a")
    assert FakeWorker(redis, "w", born=False).claim() is Refusal.UNKNOWN_WORKER
    assert at(redis, keys.queue("q")) == ["a"]
    assert not redis.exists(keys.worker("w"))


def test_nobody_gets_anything_while_suspended(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    queues.suspend(redis)
    assert worker.claim() is Refusal.SUSPENDED
    assert worker.field("state") == "suspended", "people see it at once"
    assert at(redis, keys.queue("q")) == ["a"]
    assert queues.resume(redis)
    worker.take("a")
    assert not queues.resume(redis)


def test_a_suspension_for_a_time(redis: Client) -> None:
    queues.suspend(redis, 50)
    assert queues.is_suspended(redis)
    assert int(redis.ttl(keys.SUSPENDED)) in (49, 50)


def test_a_retiring_worker_gets_nothing(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    assert workers.retire(redis, "w") == "retiring"
    assert worker.claim() is Refusal.RETIRING
    assert workers.unretire(redis, "w")
    worker.take("a")


# What blocking pops have moved.
def move(client: Client, queue: str) -> Held:
    """As BLMOVE does for a waiting worker."""
    job_id: Any = client.lmove(keys.queue(queue), keys.intermediate(queue), "LEFT", "RIGHT")
    return Held(queue, job_id.decode())


def test_what_was_moved_goes_back_and_the_best_is_taken(redis: Client) -> None:
    put(redis, new("l1", "low"), new("l2", "low"))
    worker = FakeWorker(redis, "w", "high", "low")
    held = move(redis, "low")
    put(redis, new("h1", "high"))
    claimed = worker.claim(held)
    assert isinstance(claimed, Claimed)
    assert claimed.job_id == "h1"
    assert at(redis, keys.queue("low")) == ["l1", "l2"], "the order is kept"
    assert at(redis, keys.intermediate("low")) == []


def test_one_of_each_queue(redis: Client) -> None:
    put(redis, new("l1", "low"), new("h1", "high"), new("h2", "high"))
    worker = FakeWorker(redis, "w", "high", "low")
    claimed = worker.claim(move(redis, "low"), move(redis, "high"))
    assert isinstance(claimed, Claimed)
    assert claimed.job_id == "h1"
    assert (at(redis, keys.queue("high")), at(redis, keys.queue("low"))) == (["h2"], ["l1"])


def test_several_of_one_queue_keep_their_order(redis: Client) -> None:
    put(redis, "a", "b", "c")
    worker = FakeWorker(redis, "w")
    held = [move(redis, "q"), move(redis, "q")]
    assert [one.job_id for one in held] == ["a", "b"]
    transitions.claim(redis, worker.ask(held)._replace(queues=()))
    assert at(redis, keys.queue("q")) == ["a", "b", "c"]


def test_what_a_sweep_has_put_back_already_is_not_put_back_twice(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    held = move(redis, "q")
    transitions.sweep(redis, ["q"], WALL, patience_s=0)
    transitions.sweep(redis, ["q"], WALL, patience_s=0)
    assert at(redis, keys.queue("q")) == ["a"]
    assert isinstance(worker.claim(held), Claimed)
    assert at(redis, keys.queue("q")) == []


@pytest.mark.parametrize("reason", [Refusal.SUSPENDED, Refusal.RETIRING, Refusal.UNKNOWN_WORKER])
def test_a_refused_worker_still_gives_back_what_it_holds(redis: Client, reason: Refusal) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w", born=reason is not Refusal.UNKNOWN_WORKER)
    held = move(redis, "q")
    if reason is Refusal.SUSPENDED:
        queues.suspend(redis)
    elif reason is Refusal.RETIRING:
        workers.retire(redis, "w")
    assert worker.claim(held) is reason
    assert at(redis, keys.queue("q")) == ["a"]
    assert at(redis, keys.intermediate("q")) == []


def test_giving_back_alone(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    assert transitions.claim(redis, worker.ask([move(redis, "q")])._replace(queues=())) is Refusal.EMPTY
    assert at(redis, keys.queue("q")) == ["a"]
