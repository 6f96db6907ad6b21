"""Waiting on several queues at once, by hand."""

from __future__ import annotations

import threading

import pytest
import redis as redis_py

from rqk.core import keys
from rqk.errors import StoreUnavailable
from rqk.store.transitions import Held
from rqk.worker import claiming
from rqk.worker.claiming import Waiter
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

Client = redis_py.Redis


def test_a_dead_connection_keeps_no_job_of_another_queue_waiting(
    redis: Client, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "_ANSWER_S", 0.3)
    spoken, late = threading.Event(), []

    def keep_back(answer: bytes) -> None:
        if answer.endswith(b"-1\r\n") and not spoken.wait(20):
            late.append(answer)

    waiter = Waiter(redis_py.Redis("127.0.0.1", proxy.port), ["dead", "good"])
    try:
        waiter.arm()
        proxy.after = keep_back
        redis.rpush(keys.queue("good"), "j")
        wait_until(lambda: redis.llen(keys.intermediate("good")), what="the pop")
        waiter.stop(redis)
        assert waiter.held == [Held("good", "j")]
        assert not late
        waiter.arm()
        redis.rpush(keys.queue("dead"), "k")
        wait_until(lambda: redis.llen(keys.intermediate("dead")), what="the pop of a new connection")
        waiter.held.clear()
        waiter.stop(redis)
        assert waiter.held == [Held("dead", "k")]
    finally:
        spoken.set()
        waiter.drop()


def test_what_is_no_id_is_not_brought(redis: Client) -> None:
    waiter = Waiter(redis, ["q"])
    try:
        waiter.arm()
        redis.rpush(keys.queue("q"), b"\xff\xfe", "j")
        wait_until(lambda: redis.llen(keys.intermediate("q")), what="the pop")
        waiter.stop(redis)
        assert waiter.held == []
        assert redis.lrange(keys.intermediate("q"), 0, -1) == [b"\xff\xfe"]
    finally:
        waiter.drop()


def test_what_one_has_brought_is_kept_when_another_breaks(redis: Client, proxy: Proxy) -> None:
    waiter = Waiter(redis_py.Redis("127.0.0.1", proxy.port), ["one", "two"])
    try:
        waiter.arm()
        one, two = waiter.filenos().values()
        redis.rpush(keys.queue("one"), "j")
        one()
        proxy.cut()
        with pytest.raises(StoreUnavailable):
            two()
        waiter.stop(redis)
        assert waiter.held == [Held("one", "j")]
    finally:
        waiter.drop()
