"""The comparison with RQ's leftovers notices what it is there to notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis as redis_py

from tests.support.compare import differences
from tests.support.golden import dump, load, replay


def told(redis: redis_py.Redis, scenario: str) -> list[str]:
    seconds, microseconds = redis.time()
    return differences(load("3.0.0", scenario), dump(redis), seconds + microseconds / 1e6)


@pytest.mark.parametrize("scenario", ["finished", "failed", "started", "stopped", "deferred"])
def test_a_replayed_dump_differs_in_nothing(redis: redis_py.Redis, scenario: str) -> None:
    replay(load("3.0.0", scenario), redis)
    assert told(redis, scenario) == []


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda r: r.delete("rq:queues"), "missing: rq:queues"),
        (lambda r: r.set("rq:suspended", 1), "too much: rq:suspended"),
        (lambda r: r.persist("rq:job:job-1"), "lives None s instead of 500 s"),
        (lambda r: r.hset("rq:job:job-1", "status", "queued"), "field status is b'queued' instead of b'finished'"),
        (lambda r: r.hset("rq:job:job-1", "ended_at", ""), "field ended_at is 'nothing' instead of 'something'"),
        (lambda r: r.hdel("rq:job:job-1", "meta"), "field meta is 'no such field' instead of {'a': 1}"),
        (lambda r: r.zadd("rq:finished:default", {"job-1": 1_900_000_000}), "score of b'job-1'"),
        (lambda r: r.xadd("rq:results:job-1", {"type": 1}), "rq:results:job-1"),
    ],
)
def test_a_change_is_noticed(redis: redis_py.Redis, change: Callable[[redis_py.Redis], object], wanted: str) -> None:
    replay(load("3.0.0", "finished"), redis)
    change(redis)
    assert any(wanted in line for line in told(redis, "finished")), told(redis, "finished")
