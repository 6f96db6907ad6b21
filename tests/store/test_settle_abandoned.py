"""Attempts whose worker is gone, or that never began: who puts them where."""

from __future__ import annotations

import pytest
import redis as redis_py

from rqk.core import keys, moves
from rqk.core.codec import decode_job
from rqk.core.moves import Attempt, Policy
from rqk.store import leases, results, transitions
from rqk.store.transitions import Claimed, Lease, Settled
from tests.store.stage import WALL, FakeWorker, at, expire, new, no_trace, put, status

Client = redis_py.Redis


def test_only_an_ended_lease_is_judged_by_others(redis: Client) -> None:
    put(redis, "a")
    claimed = FakeWorker(redis, "w").take("a")
    mark = keys.lease("a", claimed.execution_id)
    assert leases.end_lease(redis, "q", mark, Policy(), WALL) is None
    assert status(redis, "a") == "started"
    expire(redis, claimed)
    assert [
        found.action if (found := leases.end_lease(redis, "q", mark, Policy(), WALL)) else None for _ in range(2)
    ] == ["failed", None], "of several judges one succeeds"
    assert status(redis, "a") == "failed"


# Attempts that were prepared and never started, as RQ 3.0 leaves them
def prepared(client: Client, job_id: str) -> Lease:
    client.zadd(keys.started("q"), {keys.lease(job_id, "e"): 1})
    client.zadd(keys.executions(job_id), {"e": 9e9})
    return Lease(job_id, "e", "q", never_started=True, expired_only=True)


@pytest.mark.parametrize("still_listed", [False, True])
def test_a_prepared_attempt_goes_back_to_the_head(redis: Client, still_listed: bool) -> None:
    put(redis, "a", "b")
    if not still_listed:
        redis.lrem(keys.queue("q"), 0, "a")
        redis.rpush(keys.intermediate("q"), "a")
    prepared(redis, "a")
    found = leases.end_lease(redis, "q", "a:e", Policy(), WALL)
    assert found is not None
    assert found.action == ("dropped" if still_listed else "returned")
    assert at(redis, keys.queue("q")) == ["a", "b"]
    assert at(redis, keys.intermediate("q")) == []
    assert no_trace(redis)


def test_an_abandoned_job_that_cannot_be_read_fails(redis: Client) -> None:
    put(redis, "a")
    claimed = FakeWorker(redis, "w").take("a")
    redis.hset(keys.job("a"), "timeout", "soon")
    expire(redis, claimed)
    found = leases.end_lease(redis, "q", keys.lease("a", claimed.execution_id), Policy("requeue"), WALL)
    assert found is not None
    assert no_trace(redis)
    assert status(redis, "a") in ("failed", "queued")


def test_a_job_ahead_that_cannot_be_read_goes_back_too(redis: Client) -> None:
    """A worker runs what we cannot read, such as a timeout of half a second."""
    put(redis, "a", "b")
    redis.hset(keys.job("a"), "timeout", "0.5")
    worker = FakeWorker(redis, "w")
    claimed = transitions.claim(redis, worker.ask()._replace(ahead=True))
    assert isinstance(claimed, Claimed)
    expire(redis, claimed)
    found = leases.end_lease(redis, "q", keys.lease("a", claimed.execution_id), Policy(), WALL)
    assert found is not None
    assert found.action == "returned"
    assert (status(redis, "a"), at(redis, keys.queue("q"))) == ("queued", ["a", "b"])
    assert no_trace(redis)


def test_deliveries_are_bounded(redis: Client) -> None:
    put(redis, "a")
    actions = []
    for number in range(3):
        claimed = FakeWorker(redis, f"w{number}").take("a")
        expire(redis, claimed)
        found = leases.end_lease(redis, "q", keys.lease("a", claimed.execution_id), Policy("requeue", 3), WALL)
        actions.append(found and found.action)
    assert actions == ["requeued", "requeued", "failed"]
    assert "3 workers died" in (results.all_of(redis, "a")[0][2].exc_string or "")


def test_all_leases_of_a_dead_worker(redis: Client) -> None:
    put(redis, "a", new("b", "other"), "c")
    dead, live = FakeWorker(redis, "dead", "q", "other"), FakeWorker(redis, "live")
    dead.take("a")
    live.take("c")
    dead.take("b")
    found = leases.end_leases_of(redis, "dead", Policy("requeue"), WALL, "gone")
    assert sorted((one.queue, one.job_id, one.action) for one in found) == [
        ("other", "b", "requeued"),
        ("q", "a", "requeued"),
    ]
    assert status(redis, "c") == "started"


@pytest.mark.parametrize(("limit", "judged"), [(WALL.timestamp() + 1, 1), (WALL.timestamp(), 0), (None, 1)])
def test_only_leases_from_before_a_moment(redis: Client, limit: float | None, judged: int) -> None:
    put(redis, "a")
    FakeWorker(redis, "dead").take("a")
    assert len(leases.end_leases_of(redis, "dead", Policy(), WALL, "gone", begun_before=limit)) == judged


def test_an_attempt_without_a_worker_name_is_settled_by_its_execution(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    lease = Lease("a", claimed.execution_id, "q")
    move = moves.failed(decode_job("a", claimed.fields), Attempt("", "", None, None), "x", WALL)
    assert transitions.settle(redis, lease, move, WALL).settled is Settled.WRITTEN
    assert redis.scard(keys.worker_executions("w")) == 0
