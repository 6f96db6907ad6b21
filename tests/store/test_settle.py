"""Settling: an outcome is written once, only under its lease, with all that follows from it."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from rqk.core import keys, moves
from rqk.core.codec import decode_job
from rqk.core.moves import Policy
from rqk.store import leases, results, transitions
from rqk.store.transitions import Claimed, Refusal, Settled
from rqk.store.workers import Tally
from tests.store.stage import WALL, FakeWorker, at, dump, expire, hash_of, new, no_trace, put, status

Client = redis_py.Redis


def test_success(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    done = worker.finish(worker.take("a"), b"value")
    assert (done.settled, done.next, done.told) == (Settled.WRITTEN, Refusal.EMPTY, True)
    assert status(redis, "a") == "finished"
    assert no_trace(redis)
    now = int(redis.time()[0])
    score: Any = redis.zscore(keys.finished("q"), "a")
    assert abs(score - now - 500) <= 1, "the server's clock counts"
    assert int(redis.ttl(keys.job("a"))) in (499, 500)
    assert int(redis.ttl(keys.results("a"))) in (499, 500)
    entry = results.newest(redis, "a")
    assert entry is not None
    assert (entry[2].return_value, entry[2].worker_name) == (b"value", "w")
    assert (worker.field("state"), worker.field("current_job")) == ("idle", None)


@pytest.mark.parametrize("ttl", [0, -1])
def test_success_kept_for_ever_or_not_at_all(redis: Client, ttl: int) -> None:
    put(redis, new("a", fields={"result_ttl": ttl, "group_id": "g"}, group="g"))
    worker = FakeWorker(redis, "w")
    worker.finish(worker.take("a"))
    if ttl == 0:
        assert not [*redis.scan_iter("*:a*")]
        assert redis.scard(keys.group("g")) == 0
    else:
        assert redis.zscore(keys.finished("q"), "a") == float("inf")
        assert {redis.ttl(keys.job("a")), redis.ttl(keys.results("a"))} == {-1}


def test_failure(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    assert worker.fail(worker.take("a")).settled is Settled.WRITTEN
    assert status(redis, "a") == "failed"
    assert at(redis, keys.failed("q")) == ["a"]
    entry = results.newest(redis, "a")
    assert entry is not None
    assert entry[2].exc_string == "boom"
    assert no_trace(redis)


def test_a_negative_failure_ttl_is_stored_as_it_is(redis: Client) -> None:
    put(redis, new("a", fields={"failure_ttl": -1}))
    worker = FakeWorker(redis, "w")
    worker.fail(worker.take("a"))
    assert redis.zscore(keys.failed("q"), "a") == -1
    transitions.sweep(redis, ["q"], WALL, patience_s=0)
    assert at(redis, keys.failed("q")) == ["a"], "a sweep does not take it for expired"


@pytest.mark.parametrize(
    ("fields", "place", "becomes"),
    [
        ({"retries_left": 1}, ["b", "a"], "queued"),
        ({"retries_left": 1, "enqueue_at_front_on_retry": True}, ["a", "b"], "queued"),
        ({"retries_left": 1, "retry_intervals": (60,)}, ["b"], "scheduled"),
    ],
)
def test_a_retry(redis: Client, fields: dict[str, Any], place: list[str], becomes: str) -> None:
    put(redis, new("a", fields={**fields, "ttl": 70}, ttl=70), "b")
    worker = FakeWorker(redis, "w")
    worker.fail(worker.take("a"))
    assert (status(redis, "a"), at(redis, keys.queue("q"))) == (becomes, place)
    assert at(redis, keys.scheduled("q")) == (["a"] if becomes == "scheduled" else [])
    assert at(redis, keys.failed("q")) == []
    assert int(redis.ttl(keys.job("a"))) in (69, 70), "a waiting job has its time to live again"
    assert hash_of(redis, "a").retries_left == 0


def test_a_repeat_lives_on_and_keeps_its_results(redis: Client) -> None:
    put(redis, new("a", fields={"repeats_left": 2, "repeat_intervals": (0,)}))
    worker = FakeWorker(redis, "w")
    for left in (1, 0):
        worker.finish(worker.take("a"))
        assert (status(redis, "a"), hash_of(redis, "a").repeats_left) == ("queued", left)
        assert redis.ttl(keys.job("a")) == -1
    worker.finish(worker.take("a"))
    assert status(redis, "a") == "finished"
    assert results.count(redis, "a") == 3
    assert worker.claim() is Refusal.EMPTY


def test_results_are_kept_within_bounds(redis: Client) -> None:
    put(redis, new("a", fields={"repeats_left": 400}))
    worker = FakeWorker(redis, "w")
    for _ in range(300):
        worker.finish(worker.take("a"))
    assert 10 <= results.count(redis, "a") <= 120  # "MAXLEN ~ 10" cuts whole nodes of a hundred entries


# Fencing
def test_an_outcome_is_written_once(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    worker.finish(claimed)
    before = dump(redis)
    assert worker.fail(claimed).settled is Settled.LEASE_LOST
    after = dump(redis)
    touched = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert touched <= {keys.worker("w").encode()}


def test_a_late_writer_is_refused(redis: Client) -> None:
    put(redis, "a")
    slow, fresh = FakeWorker(redis, "slow"), FakeWorker(redis, "fresh")
    late = slow.take("a")
    expire(redis, late)
    found = leases.end_lease(redis, "q", keys.lease("a", late.execution_id), Policy("requeue"), WALL)
    assert found is not None
    assert found.action == "requeued"
    claimed = fresh.take("a")
    assert slow.finish(late, b"late").settled is Settled.LEASE_LOST
    assert status(redis, "a") == "started"
    assert fresh.finish(claimed, b"fresh").settled is Settled.WRITTEN
    assert [entry[2].return_value for entry in results.all_of(redis, "a")] == [b"fresh"]


def test_a_job_that_others_deleted_stays_deleted(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    redis.delete(keys.job("a"))  # as RQ's delete leaves it: without the attempt's traces
    assert worker.finish(claimed).settled is Settled.JOB_DELETED
    assert not [*redis.scan_iter("*:a*")]
    assert no_trace(redis)


def test_a_job_that_we_deleted_stays_deleted(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    assert transitions.delete(redis, ["a"], WALL) == 1
    assert worker.finish(claimed).settled in (Settled.JOB_DELETED, Settled.LEASE_LOST)
    assert not [*redis.scan_iter("*:a*")]


def test_a_job_enqueued_anew_while_it_ran_keeps_its_new_place(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    put(redis, new("a", fields={"data": b"new"}))
    assert worker.finish(claimed).settled in (Settled.ENQUEUED_ANEW, Settled.LEASE_LOST)
    assert (status(redis, "a"), at(redis, keys.queue("q"))) == ("queued", ["a"])
    assert at(redis, keys.finished("q")) == []
    assert worker.take("a").fields[b"data"] == b"new"


@pytest.mark.parametrize(
    "again", ["enqueued", "enqueued elsewhere", "deleted and enqueued", "deleted and enqueued elsewhere", "requeued"]
)
def test_the_former_life_of_a_job_does_not_write_into_the_new_one(redis: Client, again: str) -> None:
    """The id runs a second time, elsewhere, before its first run ends."""
    put(redis, "a")
    first, second = FakeWorker(redis, "first"), FakeWorker(redis, "second", "q", "other")
    former = first.take("a")
    if again.startswith("deleted"):
        transitions.delete(redis, ["a"], WALL)
    if "enqueued" in again:
        put(redis, new("a", "other" if "elsewhere" in again else "q"))
    else:
        transitions.cancel(redis, "a", WALL)
        transitions.requeue(redis, "canceled", "q", "a", WALL)
    present = second.take("a")
    assert first.finish(former, b"former").settled is not Settled.WRITTEN
    assert status(redis, "a") == "started"
    assert second.finish(present, b"present").settled is Settled.WRITTEN
    assert [entry[2].return_value for entry in results.all_of(redis, "a")] == [b"present"]
    assert no_trace(redis)


def test_the_former_life_of_a_job_does_not_undo_a_cancellation_of_the_new_one(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    former = worker.take("a")
    put(redis, "a")
    transitions.cancel(redis, "a", WALL)
    assert worker.finish(former).settled is not Settled.WRITTEN
    assert (status(redis, "a"), at(redis, keys.canceled("q")), at(redis, keys.finished("q"))) == ("canceled", ["a"], [])


def test_a_job_canceled_while_it_ran_ends_as_it_ended(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    transitions.cancel(redis, "a", WALL)
    assert worker.finish(claimed).settled is Settled.WRITTEN
    assert (status(redis, "a"), at(redis, keys.finished("q")), at(redis, keys.canceled("q"))) == ("finished", ["a"], [])


@pytest.mark.parametrize("how", ["retry", "put back"])
def test_a_job_canceled_while_it_ran_does_not_run_again(redis: Client, how: str) -> None:
    put(redis, new("a", fields={"retries_left": 3}))
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    transitions.cancel(redis, "a", WALL)
    settlement = worker.fail(claimed) if how == "retry" else worker.settle(claimed, moves.put_back(WALL))
    assert settlement.settled is Settled.CANCELED
    assert (status(redis, "a"), at(redis, keys.canceled("q")), at(redis, keys.queue("q"))) == ("canceled", ["a"], [])
    assert no_trace(redis)


@pytest.mark.parametrize(
    "known", ["created", "queued", "scheduled", "deferred", "rate_limited", "finished", "failed", "stopped"]
)
@pytest.mark.parametrize("how", ["finished", "retried"])
def test_a_status_that_somebody_saved_meanwhile_does_not_cost_the_outcome(redis: Client, known: str, how: str) -> None:
    """save() writes the whole job as its caller knew it; the job is nowhere but in our hands."""
    put(redis, new("a", fields={"retries_left": 1, "ttl": 70}))
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    redis.hset(keys.job("a"), mapping={"status": known, "worker_name": ""})
    done = worker.finish(claimed) if how == "finished" else worker.fail(claimed)
    assert done.settled is Settled.WRITTEN
    wanted = ("finished", [], ["a"]) if how == "finished" else ("queued", ["a"], [])
    assert (status(redis, "a"), at(redis, keys.queue("q")), at(redis, keys.finished("q"))) == wanted
    assert how == "finished" or int(redis.ttl(keys.job("a"))) in (69, 70), "a waiting job has its time to live again"
    assert no_trace(redis)


@pytest.mark.parametrize(
    ("key", "becomes", "origin"),
    [
        pytest.param(keys.queue("q"), "queued", "q", id="list"),
        pytest.param(keys.queue("other"), "queued", "other", id="list of another queue"),
        pytest.param(keys.queue("q"), "created", "q", id="list, by one who sets no status"),
        pytest.param(keys.intermediate("q"), "queued", "q", id="already popped by another worker"),
        pytest.param(keys.scheduled("q"), "scheduled", "q", id="scheduled"),
        pytest.param(keys.deferred("other"), "deferred", "other", id="deferred"),
        pytest.param("rq:rl:k:rate_limited", "rate_limited", "q", id="rate limited"),
        pytest.param(keys.failed("q"), "failed", "q", id="judged by another"),
    ],
)
def test_a_job_that_others_enqueued_anew_keeps_its_new_place(
    redis: Client, key: str, becomes: str, origin: str
) -> None:
    """As RQ's client does it, which knows nothing of leases."""
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    redis.hset(keys.job("a"), mapping={"status": becomes, "origin": origin, "rate_limit_key": "k"})
    if key in (keys.queue("q"), keys.queue("other"), keys.intermediate("q")):
        redis.rpush(key, "a")
    else:
        redis.zadd(key, {"a": 5})
    assert worker.finish(claimed).settled is Settled.ENQUEUED_ANEW
    assert (status(redis, "a"), at(redis, key), at(redis, keys.finished("q"))) == (becomes, ["a"], [])
    assert no_trace(redis)


# Going on in the same step
def test_the_next_job_comes_with_the_answer(redis: Client) -> None:
    put(redis, "a", "b")
    worker = FakeWorker(redis, "w")
    done = worker.finish(worker.take("a"), ask=worker.ask())
    assert isinstance(done.next, Claimed)
    assert (done.next.job_id, done.settled) == ("b", Settled.WRITTEN)
    assert (worker.field("state"), worker.field("current_job")) == ("busy", "b")
    last = worker.finish(done.next, ask=worker.ask())
    assert last.next is Refusal.EMPTY
    assert (worker.field("state"), worker.field("current_job")) == ("idle", None)


def test_a_lost_lease_does_not_keep_the_worker_from_its_next_job(redis: Client) -> None:
    put(redis, "a", "b")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    redis.zrem(keys.started("q"), keys.lease("a", claimed.execution_id))
    done = worker.finish(claimed, ask=worker.ask())
    assert done.settled is Settled.LEASE_LOST
    assert isinstance(done.next, Claimed)


def test_a_retried_job_may_be_the_next_at_once(redis: Client) -> None:
    put(redis, new("a", fields={"retries_left": 1}))
    worker = FakeWorker(redis, "w")
    done = worker.fail(worker.take("a"), ask=worker.ask())
    assert isinstance(done.next, Claimed)
    assert done.next.job_id == "a"
    assert decode_job("a", done.next.fields).retries_left == 0


@pytest.mark.parametrize(
    ("waits", "tell", "told"),
    [
        pytest.param(True, False, False, id="busy: not now"),
        pytest.param(True, True, True, id="busy, but it is time"),
        pytest.param(False, False, True, id="nothing to do: now"),
    ],
)
def test_the_tally_is_told_when_there_is_time(redis: Client, waits: bool, tell: bool, told: bool) -> None:
    put(redis, "a", *(["b"] if waits else []))
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    done = worker.finish(claimed, ask=worker.ask(), tally=Tally(2, 1, 2.5), tell=tell)
    assert done.told is told
    written = (
        worker.field("successful_job_count"),
        worker.field("failed_job_count"),
        worker.field("total_working_time"),
    )
    assert written == (("2", "1", "2.5") if told else (None, None, None))


def test_tallies_add_up(redis: Client) -> None:
    put(redis, "a", "b")
    worker = FakeWorker(redis, "w")
    for _ in range(2):
        worker.finish(worker.take(), tally=Tally(1, 0, 0.25))
    assert (worker.field("successful_job_count"), worker.field("total_working_time")) == ("2", "0.5")


def test_no_ghost_of_a_worker_appears(redis: Client) -> None:
    """Counting for a worker whose hash has expired would create one without an end."""
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    redis.delete(keys.worker("w"))
    done = worker.finish(claimed, tally=Tally(1, 0, 1.0))
    assert (done.settled, done.told) == (Settled.WRITTEN, False)
    assert not redis.exists(keys.worker("w"))


def test_counts() -> None:
    tally = Tally().plus("successful_job_count", 1.0).plus("failed_job_count", 0.5).plus("", 9.0)
    assert tally == Tally(1, 1, 1.5)


@pytest.mark.parametrize("outcome", ["finished", "failed"])
def test_a_lifetime_that_redis_cannot_count_leaves_no_half_of_an_end(redis: Client, outcome: str) -> None:
    """RQ lets such a job in."""
    put(redis, new("a", fields={"result_ttl": 10**17, "failure_ttl": 10**17}))
    put(redis, new("b", depends_on=("a",), tolerant=True, fields={"allow_dependency_failures": True}))
    worker = FakeWorker(redis, "w")
    settle = worker.finish if outcome == "finished" else worker.fail
    assert settle(worker.take("a")).settled is Settled.WRITTEN
    assert at(redis, f"rq:{outcome}:q") == ["a"]
    assert at(redis, keys.queue("q")) == ["b"]
