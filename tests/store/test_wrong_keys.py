"""A key that some other program has written: the error says which one, whatever part of a script found it."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable

import pytest
import redis as redis_py

from rqk.core import keys
from rqk.errors import StoreError, WrongKeyType
from rqk.store import jobs, queues, registries, results, transitions, wrong_keys
from rqk.store.line import Line
from tests.store.stage import WALL, FakeWorker, new, put

Client = redis_py.Redis


@pytest.mark.parametrize(
    ("key", "told"),
    [
        pytest.param(keys.queue("q"), "rq:queue:q of queue 'q' is a string and should be a list", id="list"),
        pytest.param(keys.job("a"), "rq:job:a of job 'a' is a string and should be a hash", id="job"),
        pytest.param(keys.group("g"), "rq:group:g of group 'g' is a string and should be a set", id="group"),
        pytest.param(keys.QUEUES, "rq:queues is a string and should be a set", id="queues"),
    ],
)
def test_enqueue_names_the_key(redis: Client, key: str, told: str) -> None:
    redis.set(key, "text")
    with pytest.raises(WrongKeyType) as caught:
        put(redis, new("a", group="g"))
    assert f": {told}; another program must have written it, so rename or delete it" in str(caught.value)
    assert "script" not in str(caught.value)


@pytest.mark.parametrize("count", [1, 3])
def test_enqueue_of_the_usual_kind_names_the_key(redis: Client, count: int) -> None:
    redis.sadd(keys.queue("a queue"), "x")
    with pytest.raises(WrongKeyType, match="rq:queue:a queue of queue 'a queue' is a set and should be a list"):
        put(redis, *(new(f"j{number}", "a queue", new_id=True) for number in range(count)))


def test_a_worker_is_told_which_of_its_queues_it_is(redis: Client) -> None:
    worker = FakeWorker(redis, "w", "good", "bad")
    redis.set(keys.queue("bad"), "text")
    line = Line(redis)
    try:
        for _ in range(2):  # the connection is in order afterwards
            with pytest.raises(WrongKeyType, match="rq:queue:bad of queue 'bad' is a string and should be a list;"):
                transitions.claim(line, worker.ask())
    finally:
        line.close()


def test_an_end_that_cannot_be_written_names_the_registry(redis: Client) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    claimed = worker.take("a")
    redis.rpush(keys.finished("q"), "x")
    with pytest.raises(WrongKeyType, match="rq:finished:q of queue 'q' is a list and should be a sorted set"):
        worker.finish(claimed)


@pytest.mark.parametrize(
    ("key", "read"),
    [
        pytest.param("rq:queue:q", lambda client: queues.length(client, "q"), id="length"),
        pytest.param("rq:queue:q", lambda client: queues.job_ids(client, "q"), id="ids"),
        pytest.param("rq:queues", queues.names, id="names"),
        pytest.param("rq:failed:q", lambda client: registries.count(client, "failed", "q"), id="registry"),
        pytest.param("rq:job:a", lambda client: jobs.fetch(client, "a"), id="job"),
        pytest.param("rq:job:a", lambda client: jobs.fetch_many(client, ["b", "a"]), id="jobs"),
        pytest.param("rq:results:a", lambda client: results.newest(client, "a"), id="result"),
    ],
)
def test_readers_name_it_too(redis: Client, key: str, read: Callable[[Client], object]) -> None:
    redis.set(key, "text")
    with pytest.raises(WrongKeyType, match=f" {key} .*is a string and should be a"):
        read(redis)


def test_several_are_told_up_to_three(redis: Client) -> None:
    for key in (keys.queue("q"), keys.started("q"), keys.finished("q"), keys.failed("q")):
        redis.set(key, "text")
    with pytest.raises(WrongKeyType) as caught:
        put(redis, "a")
    assert str(caught.value).count("is a string and should be") == 3


def test_what_cannot_be_found_is_told_as_it_is(redis: Client) -> None:
    redis.set("rq:rl:api", "text")
    fields = {"rate_limit_key": "api", "rate_limit_concurrency": 1}
    put(redis, new("a", fields=fields, place="nowhere"))
    redis.zadd(keys.failed("q"), {"a": 1})
    with pytest.raises(WrongKeyType) as caught:
        transitions.requeue(redis, "failed", "q", "a", WALL)
    assert str(caught.value).endswith("WRONGTYPE Operation against a key holding the wrong kind of value")


def test_a_look_that_fails_leaves_the_first_error() -> None:
    class Gone:
        def execute_command(self, *args: object) -> None:
            raise redis_py.exceptions.ConnectionError("gone")

    error = WrongKeyType("as it was")
    assert wrong_keys.named(error, Gone(), ["q"]) is error


def test_other_errors_are_not_looked_at(redis: Client) -> None:
    error = StoreError("another")
    assert wrong_keys.named(error, redis, ["q"]) is error


def test_it_goes_by_the_name_it_is_documented_under(redis: Client) -> None:
    redis.set(keys.queue("q"), "text")
    with pytest.raises(redis_py.exceptions.ResponseError) as caught:
        put(redis, "a")
    assert traceback.format_exception_only(caught.value)[0].startswith("rqk.errors.WrongKeyType: Redis at ")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (type(caught.value), str(caught.value))
