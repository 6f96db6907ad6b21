"""Storing jobs: where each goes, and that each is stored wholly or not at all."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import redis as redis_py

from rqk.core import keys
from rqk.core.states import JobStatus
from rqk.errors import WrongKeyType
from rqk.store import scripts, transitions
from rqk.store.transitions import Stored
from tests.store.stage import WALL, FakeWorker, at, hash_of, new, put, status
from tests.support.proxy import Proxy

Client = redis_py.Redis


def test_a_plain_job(redis: Client) -> None:
    assert put(redis, "a", "b") == [Stored.STORED, Stored.STORED]
    assert at(redis, keys.queue("q")) == ["a", "b"]
    assert redis.smembers(keys.QUEUES) == {b"rq:queue:q"}
    assert hash_of(redis, "a").data == b"x"
    assert redis.ttl(keys.job("a")) == -1


def test_at_the_front(redis: Client) -> None:
    put(redis, "a", new("b", place="front"))
    assert at(redis, keys.queue("q")) == ["b", "a"]


def test_at_a_time(redis: Client) -> None:
    put(redis, new("a", place="due", due=1234.9))
    assert redis.zscore(keys.scheduled("q"), "a") == 1234
    assert at(redis, keys.queue("q")) == []


def test_nowhere(redis: Client) -> None:
    assert put(redis, new("a", place="nowhere")) == [Stored.STORED]
    assert at(redis, keys.queue("q")) == []
    assert status(redis, "a") == "queued"


def test_a_time_to_live(redis: Client) -> None:
    put(redis, "p", new("a", ttl=50, depends_on=("p",)))
    assert {int(redis.ttl(key)) for key in (keys.job("a"), keys.dependencies("a"))} <= {49, 50}


def test_a_group(redis: Client) -> None:
    put(redis, new("a", group="g"), new("b", group="g"))
    assert redis.smembers(keys.group("g")) == {b"a", b"b"}
    assert redis.smembers(keys.GROUPS) == {b"g"}


def test_more_than_one_batch(redis: Client) -> None:
    ids = [f"j{number}" for number in range(1100)]
    assert transitions.enqueue(redis, [new(job_id) for job_id in ids], WALL) == [Stored.STORED] * 1100
    assert at(redis, keys.queue("q")) == ids


def test_many_fields_and_large_ones(redis: Client) -> None:
    extra = tuple((f"field{number}", b"v") for number in range(500))
    put(redis, new("a", fields={"extra": extra, "data": b"d" * (1 << 20)}))
    found = hash_of(redis, "a")
    assert len(found.extra) == 500
    assert len(found.data) == 1 << 20


def test_unique(redis: Client) -> None:
    assert put(redis, new("a", unique=True)) == [Stored.STORED]
    assert put(redis, new("a", unique=True, fields={"data": b"other"}), "b") == [Stored.DUPLICATE, Stored.STORED]
    assert at(redis, keys.queue("q")) == ["a", "b"]
    assert hash_of(redis, "a").data == b"x", "the first one is not touched"


@pytest.mark.parametrize("ends", ["finish", "fail"])
def test_a_unique_id_is_taken_as_long_as_the_hash_lives(redis: Client, ends: str) -> None:
    put(redis, "a")
    worker = FakeWorker(redis, "w")
    getattr(worker, ends)(worker.take("a"))
    assert put(redis, new("a", unique=True)) == [Stored.DUPLICATE]
    redis.delete(keys.job("a"))
    assert put(redis, new("a", unique=True)) == [Stored.STORED]


@pytest.mark.parametrize(
    ("parent", "tolerant", "wanted"),
    [
        (None, False, Stored.STORED),
        ("finished", False, Stored.STORED),
        ("failed", False, Stored.DEFERRED),
        ("failed", True, Stored.STORED),
        ("queued", True, Stored.DEFERRED),
        ("started", False, Stored.DEFERRED),
        ("canceled", True, Stored.DEFERRED),
        ("stopped", True, Stored.DEFERRED),
    ],
)
def test_a_dependency(redis: Client, parent: str | None, tolerant: bool, wanted: Stored) -> None:
    if parent is not None:
        redis.hset(keys.job("p"), mapping={"status": parent, "data": "x"})
    assert put(redis, new("a", depends_on=("p",), tolerant=tolerant)) == [wanted]
    waits = wanted is Stored.DEFERRED
    assert status(redis, "a") == ("deferred" if waits else "queued")
    assert at(redis, keys.queue("q")) == ([] if waits else ["a"])
    assert at(redis, keys.deferred("q")) == (["a"] if waits else [])
    assert redis.smembers(keys.dependents("p")) == ({b"a"} if waits else set())
    assert redis.smembers(keys.dependencies("a")) == ({b"p"} if waits else set())
    assert redis.hexists(keys.job("a"), "enqueued_at") is not waits


def test_all_dependencies_are_written_down_if_one_is_open(redis: Client) -> None:
    put(redis, "open", new("a", depends_on=("gone", "open")))
    assert redis.smembers(keys.dependencies("a")) == {b"gone", b"open"}
    assert redis.smembers(keys.dependents("gone")) == {b"a"}


def test_many_dependencies(redis: Client) -> None:
    parents = tuple(f"p{number}" for number in range(3000))
    put(redis, *parents)
    assert put(redis, new("a", depends_on=parents)) == [Stored.DEFERRED]
    assert redis.scard(keys.dependencies("a")) == 3000


# A reused id leaves the places of its former life.
def test_a_reused_id_is_in_one_place(redis: Client) -> None:
    put(redis, "a", "b", "a")
    assert at(redis, keys.queue("q")) == ["b", "a"]


def test_a_reused_id_moves_to_another_queue(redis: Client) -> None:
    put(redis, "a", new("a", "other"))
    assert at(redis, keys.queue("q")) == []
    assert at(redis, keys.queue("other")) == ["a"]


def test_a_reused_id_keeps_no_field_of_its_former_life(redis: Client) -> None:
    put(redis, new("a", fields={"retries_left": 3}), "a")
    assert hash_of(redis, "a").retries_left is None


@pytest.mark.parametrize("place", ["finished", "failed", "canceled", "scheduled", "deferred"])
def test_a_reused_id_leaves_its_registry(redis: Client, place: str) -> None:
    if place == "scheduled":
        put(redis, new("a", place="due", due=9e9, fields={"status": JobStatus.SCHEDULED}))
    elif place == "deferred":
        put(redis, "p", new("a", depends_on=("p",)))
        transitions.delete(redis, ["p"], WALL)
    else:
        put(redis, "a")
        worker = FakeWorker(redis, "w")
        if place == "canceled":
            transitions.cancel(redis, "a", WALL)
        elif place == "finished":
            worker.finish(worker.take("a"))
        else:
            worker.fail(worker.take("a"))
    assert at(redis, f"rq:{place}:q") == ["a"]
    put(redis, "a")
    assert at(redis, f"rq:{place}:q") == []
    assert at(redis, keys.queue("q")) == ["a"]


def test_a_pipeline_gets_plain_commands(redis: Client) -> None:
    with redis.pipeline() as pipe:
        transitions.append(pipe, new("a", ttl=50, group="g"))
        transitions.append(pipe, new("b", place="front"))
        transitions.append(pipe, new("c", place="due", due=5))
        assert redis.dbsize() == 0
        pipe.execute()
    assert at(redis, keys.queue("q")) == ["b", "a"]
    assert at(redis, keys.scheduled("q")) == ["c"]
    assert int(redis.ttl(keys.job("a"))) in (49, 50)
    assert redis.smembers(keys.group("g")) == {b"a"}


# The usual case has a script of its own.
@pytest.mark.parametrize(("place", "wanted"), [("back", ["a", "b"]), ("front", ["b", "a"])])
def test_an_id_made_just_now(redis: Client, place: Literal["back", "front"], wanted: list[str]) -> None:
    redis.script_flush()
    transitions.enqueue(redis, [new("a", new_id=True)], WALL)
    assert transitions.enqueue(redis, [new("b", place=place, new_id=True)], WALL) == [Stored.STORED]
    assert at(redis, keys.queue("q")) == wanted
    assert redis.smembers(keys.QUEUES) == {b"rq:queue:q"}
    assert hash_of(redis, "b").data == b"x"
    assert redis.script_exists(scripts.digest("enqueue")) == [False]


def test_a_second_try_at_an_id_made_just_now_stores_it_once(redis: Client) -> None:
    for _ in range(2):  # as after a connection that broke before the answer came
        assert transitions.enqueue(redis, [new("a", new_id=True)], WALL) == [Stored.STORED]
    assert at(redis, keys.queue("q")) == ["a"]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("special", [{}, {"ttl": 900}, {"group": "g"}])
def test_a_second_try_starts_no_job_again(redis: Client, count: int, special: dict[str, Any]) -> None:
    """The answer to the first one was lost, and a worker was quick."""
    jobs = [new(f"j{number}", new_id=True, **special) for number in range(count)]
    transitions.enqueue(redis, jobs, WALL)
    worker = FakeWorker(redis, "w")
    worker.finish(worker.take("j0"))
    assert transitions.enqueue(redis, jobs, WALL) == [Stored.STORED] * count
    assert at(redis, keys.queue("q")) == [job.id for job in jobs[1:]]
    assert (status(redis, "j0"), at(redis, keys.finished("q"))) == ("finished", ["j0"])


def test_a_second_try_at_a_job_that_is_deferred_says_so(redis: Client) -> None:
    put(redis, "parent")
    child = new("child", depends_on=("parent",), new_id=True)
    for _ in range(2):
        assert transitions.enqueue(redis, [child], WALL) == [Stored.DEFERRED]


def test_many_made_just_now_are_stored_in_order_by_few_round_trips(redis: Client) -> None:
    redis.script_flush()
    jobs = [new(f"j{number}", new_id=True, place="front" if number % 10 == 0 else "back") for number in range(1100)]
    assert transitions.enqueue(redis, jobs, WALL) == [Stored.STORED] * 1100
    fronts = [job.id for job in jobs if job.place == "front"]
    assert at(redis, keys.queue("q")) == [*reversed(fronts), *(job.id for job in jobs if job.place == "back")]
    assert redis.script_exists(scripts.digest("enqueue")) == [False]


def test_many_by_a_client_with_one_connection(redis: Client) -> None:
    with redis_py.Redis(connection_pool=redis.connection_pool, single_connection_client=True) as single:
        assert (
            transitions.enqueue(single, [new(f"j{n}", new_id=True) for n in range(500)], WALL) == [Stored.STORED] * 500
        )
    assert len(at(redis, keys.queue("q"))) == 500


def test_a_script_forgotten_in_the_midst_of_many(redis: Client, proxy: Proxy) -> None:
    def forget(_: bytes) -> None:
        if redis.llen(keys.queue("q")) >= 300:
            proxy.before = None
            redis.script_flush()

    proxy.before = forget
    client = redis_py.Redis.from_url(proxy.url)
    ids = [f"j{number}" for number in range(3000)]
    assert transitions.enqueue(client, [new(job_id, new_id=True) for job_id in ids], WALL) == [Stored.STORED] * 3000
    assert proxy.before is None
    assert sorted(at(redis, keys.queue("q"))) == sorted(ids)


def test_a_connection_cut_in_the_midst_of_many(redis: Client, proxy: Proxy) -> None:
    def cut(_: bytes) -> None:
        if redis.llen(keys.queue("q")) >= 300:
            proxy.before = None
            proxy.cut()

    proxy.before = cut
    client = redis_py.Redis("127.0.0.1", proxy.port)  # made like this it tries again, made from a URL it does not
    ids = [f"j{number}" for number in range(3000)]
    assert transitions.enqueue(client, [new(job_id, new_id=True) for job_id in ids], WALL) == [Stored.STORED] * 3000
    assert proxy.before is None
    assert sorted(at(redis, keys.queue("q"))) == sorted(ids)


def test_one_of_many_made_just_now_is_there_already(redis: Client) -> None:
    transitions.enqueue(redis, [new("a", new_id=True)], WALL)
    assert transitions.enqueue(redis, [new(name, new_id=True) for name in "bac"], WALL) == [Stored.STORED] * 3
    assert sorted(at(redis, keys.queue("q"))) == ["a", "b", "c"]


@pytest.mark.parametrize("special", [{"ttl": 9}, {"group": "g"}, {"place": "due", "due": 9.0}, {"unique": True}])
def test_what_is_not_usual_goes_the_long_way(redis: Client, special: dict[str, Any]) -> None:
    redis.script_flush()
    transitions.enqueue(redis, [new("a", new_id=True, **special)], WALL)
    assert redis.script_exists(scripts.digest("add"), scripts.digest("enqueue")) == [False, True]


@pytest.mark.parametrize("names", [["a"], [f"j{number}" for number in range(500)]], ids=["one", "many"])
def test_a_list_of_another_type_gets_nothing_and_leaves_nothing(redis: Client, names: list[str]) -> None:
    redis.set(keys.queue("q"), "text")
    with pytest.raises(WrongKeyType):
        transitions.enqueue(redis, [new(name, new_id=True) for name in names], WALL)
    assert redis.keys() == [b"rq:queue:q"]
