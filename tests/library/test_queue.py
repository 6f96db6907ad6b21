"""Queues: putting calls in, in every way there is, and looking at what waits."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as redis_py

from rqk import Callback, Dependency, Job, JobStatus, Queue, Repeat, Retry, RqkError
from rqk.errors import DuplicateJobError, NoSuchJobError, SerializationError, StoreUnavailable, TimeoutFormatError
from tests.conftest import MakeServer
from tests.support.jobs import Counter, add, describe, length

Client = redis_py.Redis


@pytest.fixture
def queue(redis: Client) -> Queue:
    return Queue(connection=redis)


def test_enqueue(queue: Queue) -> None:
    before = datetime.now(UTC)
    job = queue.enqueue(add, 1, right=2)
    assert job.get_status() is JobStatus.QUEUED
    assert (job.func_name, list(job.args), job.kwargs) == ("tests.support.jobs.add", [1], {"right": 2})
    assert (job.origin, job.timeout, job.description) == ("default", 180, "tests.support.jobs.add(1, right=2)")
    assert job.enqueued_at is not None
    assert before <= job.enqueued_at <= datetime.now(UTC)
    assert (job.return_value(), job.exc_info, job.latest_result(), job.results()) == (None, None, None, [])
    assert Job.fetch(job.id, queue.connection).record == job.record


def test_a_function_by_its_name(queue: Queue) -> None:
    assert queue.enqueue("any.module.function", 1).func_name == "any.module.function"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retry": 3}, r"retry is a Retry, such as Retry\(max=3\), not 3"),
        ({"repeat": 3}, r"repeat is a Repeat, such as Repeat\(times=3\), not 3"),
        ({"description": 5}, "a description is a text, not 5"),
        ({"meta": 5}, "meta is a dictionary, not 5"),
        ({"meta": "x"}, "meta is a dictionary, not 'x'"),
        ({"args": "abc"}, "args are the function's arguments as a tuple or a list, not 'abc'"),
        ({"args": 5}, "as a tuple or a list, not 5"),
    ],
)
def test_options_of_another_kind_are_refused(queue: Queue, options: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        queue.enqueue(add, **options)
    assert queue.is_empty()


@pytest.mark.parametrize("name", ["", "app jobs.f", "app..f", ".f", "add"])
def test_what_is_no_dotted_name_is_refused(queue: Queue, name: str) -> None:
    with pytest.raises(ValueError, match="dotted name of a function"):
        queue.enqueue(name)


def test_durations_as_timedeltas(queue: Queue) -> None:
    job = queue.enqueue(add, 1, job_timeout=timedelta(minutes=5), result_ttl=timedelta(days=1))
    assert (job.timeout, job.result_ttl) == (300, 86400)
    with pytest.raises(TimeoutFormatError, match=r"\[5\] is not a duration"):
        queue.enqueue(add, 1, job_timeout=[5])


def test_times_of_another_kind_are_refused(queue: Queue) -> None:
    wrong: Any = "2030-01-01"
    with pytest.raises(TypeError, match="enqueue_at takes a datetime, not '2030-01-01'"):
        queue.enqueue_at(wrong, add, 1)
    with pytest.raises(TypeError, match=r"enqueue_in takes a timedelta, .* not '2030-01-01'"):
        queue.enqueue_in(wrong, add, 1)


def test_an_id_of_another_kind_is_refused(queue: Queue) -> None:
    wrong: Any = None
    for ask in (queue.fetch_job, lambda one: Job.fetch(one, queue.connection)):
        with pytest.raises(TypeError, match="a job id is text, not None"):
            ask(wrong)


def test_all_options(queue: Queue) -> None:
    parent = queue.enqueue(add, 1)
    job = queue.enqueue(
        add,
        1,
        job_id="mine",
        job_timeout="1h",
        result_ttl="1d",
        failure_ttl=60,
        ttl="5m",
        description="what it does",
        depends_on=Dependency(parent, allow_failure=True),
        meta={"who": "me"},
        retry=Retry(3, [1, 2]),
        repeat=Repeat(2, 5),
        on_success="a.b",
        on_failure=Callback("a.c", timeout="2m"),
        on_stopped=add,
    )
    assert job.get_status() is JobStatus.DEFERRED
    assert job.kwargs == {}, "options are no arguments"
    found = Job.fetch("mine", queue.connection).record
    wanted: dict[str, Any] = {
        "timeout": 3600,
        "result_ttl": 86400,
        "failure_ttl": 60,
        "ttl": 300,
        "description": "what it does",
        "dependency_ids": (parent.id,),
        "allow_dependency_failures": True,
        "retries_left": 3,
        "retry_intervals": (1, 2),
        "repeats_left": 2,
        "repeat_intervals": (5,),
        "success_callback_name": "a.b",
        "success_callback_timeout": 60,
        "failure_callback_name": "a.c",
        "failure_callback_timeout": 120,
        "stopped_callback_name": "tests.support.jobs.add",
    }
    assert {name: getattr(found, name) for name in wanted} == wanted
    assert Job.fetch("mine", queue.connection).meta == {"who": "me"}
    assert parent.dependent_ids == ["mine"]
    assert job.dependency_ids == [parent.id]


def test_arguments_named_like_options(queue: Queue) -> None:
    job = queue.enqueue(describe, args=(1, 2), kwargs={"timeout": 5, "ttl": 6}, job_timeout=7)
    assert (tuple(job.args), job.kwargs, job.timeout) == ((1, 2), {"timeout": 5, "ttl": 6}, 7)
    assert queue.enqueue(describe, timeout=5).kwargs == {"timeout": 5}, "a plain timeout= is the function's"
    with pytest.raises(ValueError, match="not both"):
        queue.enqueue(describe, 1, args=(2,))


def test_enqueue_call(queue: Queue) -> None:
    job = queue.enqueue_call(add, (1,), {"right": 2}, timeout="90s", result_ttl=5, at_front=True)
    assert (tuple(job.args), job.kwargs, job.timeout, job.result_ttl) == ((1,), {"right": 2}, 90, 5)


def test_the_order(queue: Queue) -> None:
    first, second = queue.enqueue(add, 1), queue.enqueue(add, 2)
    front = queue.enqueue(add, 3, at_front=True)
    assert queue.job_ids == [front.id, first.id, second.id]
    assert [job.id for job in queue.jobs] == queue.job_ids
    assert (queue.count, len(queue), queue.is_empty()) == (3, 3, False)
    assert (queue.get_job_ids(1, 1), [job.id for job in queue.get_jobs(2)]) == ([first.id], [second.id])
    assert (second.get_position(), queue.get_job_position("nobody")) == (2, None)
    assert queue.remove(first) == 1
    assert first.get_status() is JobStatus.QUEUED, "removed from the list, not deleted"
    assert queue.empty() == 2
    assert queue.is_empty()
    assert not Job.exists(second.id, queue.connection)
    assert bool(queue), "an empty queue is a queue"


@pytest.mark.parametrize("name", ["two words", "a:b", "rq:queue:x", "ünïcödé ☃", "x" * 1000, "intermediate", "%s"])
def test_any_text_is_a_name(redis: Client, name: str) -> None:
    queue = Queue(name, redis)
    job = queue.enqueue(add, 1)
    assert queue.job_ids == [job.id]
    assert Queue.all(redis) == [queue]
    assert Queue.from_queue_key(queue.key, redis) == queue
    assert job.origin == name
    queue.delete()
    assert Queue.all(redis) == []


@pytest.mark.parametrize("name", ["", "a,b", None, 5, b"bytes"])
def test_what_is_no_name(redis: Client, name: Any) -> None:
    with pytest.raises(ValueError, match="a queue's name"):
        Queue(name, redis)


def test_unique(queue: Queue) -> None:
    queue.enqueue(add, 1, job_id="once", unique=True)
    with pytest.raises(DuplicateJobError, match="'once' exists already"):
        queue.enqueue(add, 2, job_id="once", unique=True)
    assert queue.count == 1
    with pytest.raises(ValueError, match="unique=True needs a job_id"):
        queue.enqueue(add, 2, unique=True)
    with pytest.raises(DuplicateJobError):
        queue.enqueue_in(timedelta(1), add, 1, job_id="once", unique=True)


def test_a_reused_id_is_one_job(queue: Queue) -> None:
    queue.enqueue(add, 1, job_id="mine", retry=Retry(3))
    job = queue.enqueue(add, 2, job_id="mine")
    assert queue.job_ids == ["mine"]
    assert (list(Job.fetch("mine", queue.connection).args), job.retries_left) == ([2], None)


def test_many_at_once(queue: Queue) -> None:
    parent = queue.enqueue(add, 0)
    made = queue.enqueue_many(
        [
            Queue.prepare_data(add, (1,), job_id="a"),
            Queue.prepare_data(add, kwargs={"left": 2}, at_front=True, timeout="1m"),
            Queue.prepare_data(add, (3,), depends_on=parent),
        ],
        group_id="g",
    )
    assert [job.get_status() for job in made] == ["queued", "queued", "deferred"]
    assert queue.job_ids == [made[1].id, parent.id, "a"]
    assert (made[1].timeout, made[0].group_id) == (60, "g")
    assert queue.enqueue_many([]) == []
    with pytest.raises(ValueError, match="the same job_id"):
        queue.enqueue_many([Queue.prepare_data(add, job_id="x"), Queue.prepare_data(add, job_id="x")])
    assert not Job.exists("x", queue.connection)


def test_a_callers_pipeline(queue: Queue, redis: Client) -> None:
    with redis.pipeline() as pipe:
        job = queue.enqueue(add, 1, pipeline=pipe)
        many = queue.enqueue_many([Queue.prepare_data(add, (2,))], pipeline=pipe)
        assert queue.is_empty()
        with pytest.raises(ValueError, match="cannot be part of a caller's pipeline"):
            queue.enqueue(add, 1, job_id="x", unique=True, pipeline=pipe)
        pipe.execute()
    assert queue.job_ids == [job.id, many[0].id]


def test_a_job_made_first_and_enqueued_later(queue: Queue) -> None:
    job = queue.create_job(add, (1,), {"right": 2}, timeout=5, meta={"a": 1})
    assert (job.timeout, job.get_status(refresh=False), queue.count) == (5, "queued", 0)
    job.meta["b"] = 2
    queue.enqueue_job(job, at_front=True)
    assert queue.job_ids == [job.id]
    assert Job.fetch(job.id, queue.connection).meta == {"a": 1, "b": 2}


@pytest.mark.parametrize("naive", [False, True])
def test_at_a_time(queue: Queue, naive: bool) -> None:
    moment = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    given = moment.astimezone().replace(tzinfo=None) if naive else moment
    job = queue.enqueue_at(given, add, 1, at_front=True)
    assert (job.get_status(), queue.count) == ("scheduled", 0)
    assert queue.scheduled_job_registry.get_scheduled_time(job) == moment
    assert Job.fetch(job.id, queue.connection).enqueue_at_front is True
    with pytest.raises(NoSuchJobError, match="is not scheduled in queue 'default'"):
        queue.scheduled_job_registry.get_scheduled_time("nobody")


def test_after_some_time(queue: Queue) -> None:
    job = queue.enqueue_in(timedelta(minutes=5), add, 1)
    due = queue.scheduled_job_registry.get_scheduled_time(job)
    assert timedelta(minutes=4, seconds=55) < due - datetime.now(UTC) <= timedelta(minutes=5)


# What cannot be enqueued says why, and leaves nothing.
class Local:
    """Has a method."""

    def method(self) -> None: ...


@pytest.mark.parametrize(
    ("func", "error", "words"),
    [
        pytest.param(Counter, TypeError, "a class cannot be enqueued", id="class"),
        pytest.param(5, TypeError, "not a callable", id="number"),
        pytest.param(None, TypeError, "not a callable", id="nothing"),
    ],
)
def test_a_bad_function(queue: Queue, redis: Client, func: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        queue.enqueue(func)
    assert redis.dbsize() == 0


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((1, threading.Lock()), {}, r"tests\.support\.jobs\.describe: argument 2 \(<unlocked _thread\.lock"),
        ((), {"how": lambda: None}, r"argument how= \(<function"),
        ((), {"meta": {"a": threading.Lock()}}, "meta cannot be stored"),
    ],
)
def test_a_bad_argument(queue: Queue, redis: Client, args: tuple[Any, ...], kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(SerializationError, match=words) as caught:
        queue.enqueue(describe, *args, **kwargs)
    assert isinstance(caught.value, RqkError)
    assert redis.dbsize() == 0


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"job_timeout": 0}, ValueError, "timeout=0 is not allowed; use -1"),
        ({"job_timeout": "soon"}, TimeoutFormatError, "'soon' is not a duration"),
        ({"ttl": 0}, ValueError, "ttl must be greater than 0"),
        ({"ttl": -1}, ValueError, "ttl must be greater than 0"),
        ({"ttl": 10**17}, ValueError, "ttl is at most 31536000000 seconds .* leave it out for no end"),
        ({"result_ttl": 10**17}, ValueError, "result_ttl is at most .* use -1 for no end"),
        ({"failure_ttl": "999999999999d"}, ValueError, "failure_ttl is at most .* not '999999999999d'"),
        ({"job_id": "a:b"}, ValueError, "letters, digits, '-' and '_' only, not 'a:b'"),
        ({"job_id": ""}, ValueError, "letters, digits"),
        ({"job_id": 5}, TypeError, "a job id is text, not 5"),
        ({"depends_on": 5}, ValueError, "takes jobs or job ids, not 5"),
        ({"on_success": 5}, ValueError, "a callback must be"),
    ],
)
def test_bad_options(queue: Queue, redis: Client, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        queue.enqueue(add, 1, **options)
    assert redis.dbsize() == 0


def test_json(redis: Client) -> None:
    queue = Queue(connection=redis, serializer="json")
    job = queue.enqueue(describe, [1], a={"b": None}, meta={"m": 1})
    found = queue.fetch_job(job.id)
    assert found is not None
    assert (list(found.args), found.kwargs, found.meta) == ([[1]], {"a": {"b": None}}, {"m": 1})
    with pytest.raises(SerializationError, match=r"argument 1 \(\{1\}\)"):
        queue.enqueue(describe, {1})


def test_jobs_of_other_queues_are_not_ours(queue: Queue, redis: Client) -> None:
    job = Queue("other", redis).enqueue(add, 1)
    assert queue.fetch_job(job.id) is None
    assert queue.fetch_job("nobody") is None


def test_equality_and_text(redis: Client) -> None:
    assert Queue("a", redis) == Queue("a", redis) != Queue("b", redis)
    assert len({Queue("a", redis), Queue("a", redis)}) == 1
    assert repr(Queue("a", redis)) == "Queue('a')"


def test_a_job_too_large_for_the_server_is_told_so(make_server: MakeServer) -> None:
    server = make_server(proto_max_bulk_len="2mb")
    with server.client() as client:
        queue = Queue(connection=client)
        with pytest.raises(StoreUnavailable, match=r"while sending 5 MB; .* proto-max-bulk-len"):
            queue.enqueue(length, os.urandom(5_000_000))
        assert queue.count == 0
        assert queue.enqueue(length, os.urandom(1_000_000)).is_queued
