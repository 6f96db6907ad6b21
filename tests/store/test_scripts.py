"""Scripts on the server: sent once, sent again when forgotten, and their errors in our words."""

from __future__ import annotations

import pytest
import redis as redis_py

from rqk.core import keys
from rqk.errors import StoreError, StoreFull, StoreUnavailable, WrongKeyType
from rqk.store import queues, registries, scripts, transitions
from rqk.store.line import Line
from rqk.store.transitions import Claimed, Refusal, Settled
from tests.conftest import MakeServer
from tests.store.stage import WALL, FakeWorker, at, dump, expire, new, put
from tests.support.server import Server
from tests.unit.test_keys import SCRIPTS

Client = redis_py.Redis


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_compiles(redis: Client, name: str) -> None:
    assert redis.script_load(scripts.source(name)) == scripts.digest(name)


@pytest.mark.parametrize("flush", [False, True])
def test_a_forgotten_script_is_sent_again(redis: Client, flush: bool) -> None:
    put(redis, "a")
    if flush:
        redis.script_flush()
    put(redis, "b")
    assert at(redis, keys.queue("q")) == ["a", "b"], "and its work is done once"
    assert redis.script_exists(scripts.digest("enqueue")) == [True]


def test_over_a_line_too(redis: Client) -> None:
    worker = FakeWorker(redis, "w")
    put(redis, "a")
    line = Line(redis)
    try:
        redis.script_flush()
        claimed = transitions.claim(line, worker.ask())
        assert not isinstance(claimed, Refusal)
        redis.script_flush()
        assert transitions.claim(line, worker.ask()) is Refusal.EMPTY
    finally:
        line.close()


def test_a_restart_forgets_scripts_and_nothing_else(server: Server) -> None:
    with server.client() as client:
        put(client, "a")
        server.restart()
        put(client, "b")
        assert at(client, keys.queue("q")) == ["a", "b"]


def test_a_key_of_another_type_is_an_error(redis: Client) -> None:
    redis.set(keys.queue("q"), "text")
    with pytest.raises(
        WrongKeyType, match=r"Redis at 127\.0\.0\.1:\d+: .*WRONGTYPE.*: rq:queue:q of queue 'q'"
    ) as caught:
        put(redis, "a")
    assert isinstance(caught.value, redis_py.exceptions.ResponseError), "RQ users catch redis-py's error"


def test_a_read_only_server_is_one_to_wait_for(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client:
        put(client, "a")
        server.read_only()
        with pytest.raises(StoreUnavailable, match="read only replica") as caught:
            put(client, "b")
        assert isinstance(caught.value, redis_py.exceptions.ConnectionError)
        server.writable()
        put(client, "b")


def test_a_full_server_is_one_to_wait_for(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client:
        put(client, "a")
        client.config_set("maxmemory", "1")
        client.config_set("maxmemory-policy", "noeviction")
        with pytest.raises(StoreFull, match=r"is full: .* its maxmemory .* or raise maxmemory$") as caught:
            put(client, "b")
        assert isinstance(caught.value, StoreUnavailable)
        assert isinstance(caught.value, redis_py.exceptions.ConnectionError), "as every StoreUnavailable"
        assert isinstance(caught.value, redis_py.exceptions.OutOfMemoryError), "RQ users catch redis-py's error"
        line = Line(client)
        with pytest.raises(StoreFull):
            transitions.enqueue(line, [new("b")], WALL)
        line.close()
        with pytest.raises(StoreFull):
            queues.suspend(client)


def test_a_full_server_stores_no_half_of_a_job(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client:
        put(client, "a")
        client.config_set("maxmemory", "1")
        client.config_set("maxmemory-policy", "noeviction")
        before = dump(client)
        with pytest.raises(StoreError):
            put(client, "b", "a")
        assert dump(client) == before


def test_work_goes_on_on_a_full_server(make_server: MakeServer) -> None:
    """Claiming and settling must not need memory first: a queue that cannot be worked off stays full for ever."""
    server = make_server()
    with server.client() as client:
        worker = FakeWorker(client, "w")
        put(client, "a", "b")
        client.config_set("maxmemory", "1")
        client.config_set("maxmemory-policy", "noeviction")
        done = worker.finish(worker.take("a"), ask=worker.ask())
        assert done.settled is Settled.WRITTEN
        assert isinstance(done.next, Claimed)
        assert done.next.job_id == "b"


def test_a_full_server_takes_signs_of_life_and_moves_what_is_due(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client:
        worker = FakeWorker(client, "w")
        put(client, "a", new("b", place="due", due=5))
        claimed = worker.take("a")
        expire(client, claimed)
        client.config_set("maxmemory", "1")
        client.config_set("maxmemory-policy", "noeviction")
        assert worker.beat(claimed).lease == "held"
        assert registries.expired_leases(client, ["q"], registries.server_epoch(client)) == {}
        assert transitions.move_due(client, "w", ["q"], WALL, lock_s=10) == (1, 1, None)
        assert at(client, keys.queue("q")) == ["b"]


def test_any_other_error_is_one_of_ours(redis: Client) -> None:
    with pytest.raises(StoreError) as caught:
        scripts.run(redis, "enqueue", "date", "no number")
    assert isinstance(caught.value.__cause__, redis_py.exceptions.RedisError)


def test_lists_for_scripts() -> None:
    assert scripts.counted(["a", "b"]) == [2, "a", "b"]
    assert scripts.flat({"a": 1, "b": 2}) == [4, "a", 1, "b", 2]
    assert scripts.flat({}) == [0]


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        (keys.queue("mails"), "list"),
        (keys.QUEUES, "set"),
        (keys.job("a"), "hash"),
    ],
)
def test_a_key_of_another_type_is_named(redis: Client, key: str, wanted: str) -> None:
    redis.xadd(key, {"a": 1})
    with pytest.raises(WrongKeyType, match=rf": {key} .*is a stream and should be a {wanted};") as caught:
        put(redis, new("a", "mails"))
    assert f"{type(caught.value).__module__}.{type(caught.value).__qualname__}" == "rqk.errors.WrongKeyType"
    assert isinstance(caught.value, redis_py.exceptions.ResponseError)


@pytest.mark.parametrize("key", [keys.started("q"), keys.executions("a"), keys.worker_executions("w")])
def test_a_claim_that_meets_such_a_key_loses_no_job(redis: Client, key: str) -> None:
    worker = FakeWorker(redis, "w")
    put(redis, "a", "b")
    redis.set(key, "text")
    with pytest.raises(WrongKeyType):
        worker.take("a")
    assert at(redis, keys.queue("q")) == ["a", "b"]
    redis.delete(key)
    worker.take("a")
    assert at(redis, keys.queue("q")) == ["b"]


def test_a_step_is_whole_or_not_at_all(redis: Client) -> None:
    """The jobs of a batch before one that cannot be stored stay."""
    redis.set(keys.queue("bad"), "text")
    with pytest.raises(WrongKeyType):
        put(redis, "a", new("b", "bad"))
    assert at(redis, keys.queue("q")) == ["a"]
