"""Jobs: asking, reading results, canceling, requeueing, deleting; registries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_py

from rqk import Dependency, Job, JobStatus, Queue, Result, Retry, Worker, get_current_job
from rqk.errors import DeserializationError, InvalidJobOperation, NoSuchJobError, TimeoutFormatError
from rqk.execution import Execution
from rqk.registry import StartedJobRegistry
from tests.store.stage import FakeWorker
from tests.support.jobs import add
from tests.support.server import Server

Client = redis_py.Redis


@pytest.fixture
def queue(redis: Client) -> Queue:
    return Queue(connection=redis)


@pytest.fixture
def worker(redis: Client) -> FakeWorker:
    return FakeWorker(redis, "w", "default")


def test_fetching(queue: Queue, redis: Client) -> None:
    job = queue.enqueue(add, 1)
    assert Job.fetch(job.id, redis) == job
    assert Job.fetch(f"{job.id}:some-execution", redis) == job
    assert Job.fetch_many([job.id, "nobody", job.id], redis) == [job, None, job]
    assert Job.fetch_many([], redis) == []
    assert (Job.exists(job.id, redis), Job.exists("nobody", redis)) == (True, False)
    with pytest.raises(NoSuchJobError, match="No such job: nobody"):
        Job.fetch("nobody", redis)
    assert Job.key_for("a") == b"rq:job:a"
    assert job.key == f"rq:job:{job.id}"


def test_states(queue: Queue, worker: FakeWorker) -> None:
    job = queue.enqueue(add, 1)
    assert job.is_queued
    claimed = worker.take(job.id)
    assert job.is_started
    assert not job.is_queued
    assert [execution.composite_key for execution in job.get_executions()] == [f"{job.id}:{claimed.execution_id}"]
    assert job.get_executions()[0].worker_name == "w"
    worker.finish(claimed, job.serializer.dumps(3))
    assert job.is_finished
    assert job.get_executions() == []
    assert job.get_status(refresh=False) is JobStatus.FINISHED
    with pytest.raises(ValueError, match="no execution"):
        Execution.fetch(claimed.execution_id, job.id, queue.connection)


def test_results(queue: Queue, worker: FakeWorker) -> None:
    job = queue.enqueue(add, 1)
    worker.fail(worker.take(job.id))
    assert (job.exc_info, job.return_value()) == ("boom", None)
    job.requeue()
    worker.finish(worker.take(job.id), job.serializer.dumps({"value": 3}))
    newest, oldest = job.results()
    assert (newest.type, newest.return_value, newest.exc_string) == (Result.Type.SUCCESSFUL, {"value": 3}, None)
    assert (oldest.type, oldest.return_value, oldest.exc_string) == (Result.Type.FAILED, None, "boom")
    assert newest.created_at >= oldest.created_at
    assert newest.execution_id != oldest.execution_id
    assert newest.execution_started_at == newest.execution_ended_at
    assert job.return_value() == {"value": 3}
    latest = job.latest_result()
    assert latest is not None
    assert latest.id == newest.id


def test_waiting_for_a_result_in_vain(queue: Queue) -> None:
    assert queue.enqueue(add, 1).latest_result(timeout=0.05) is None


def _own_client(valkey: Server, **options: Any) -> Client:
    return redis_py.Redis(port=valkey.port, **options)


def _own_pool(valkey: Server, **options: Any) -> Client:
    return redis_py.Redis(connection_pool=redis_py.ConnectionPool(port=valkey.port, **options))


@pytest.mark.parametrize(
    ("make", "options", "wait_s"),
    [
        pytest.param(_own_client, {}, 5.5, id="redis-py's default"),
        pytest.param(_own_pool, {}, 5.5, id="redis-py's default of a pool"),
        pytest.param(_own_client, {"socket_timeout": 1}, 1.5, id="a short one"),
        pytest.param(_own_client, {"socket_timeout": None}, 0.1, id="none"),
        pytest.param(_own_client, {"socket_timeout": 1, "single_connection_client": True}, 1.5, id="one connection"),
    ],
)
def test_waiting_longer_than_the_clients_own_time_out(
    redis: Client, valkey: Server, make: Callable[..., Client], options: dict[str, Any], wait_s: float
) -> None:
    """A block as long as the time-out would end in it, again and again, until the server is given up."""
    with make(valkey, **options) as client:
        job = Queue(connection=client).enqueue(add, 1)
        began = time.monotonic()
        assert job.latest_result(timeout=wait_s) is None
        assert wait_s <= time.monotonic() - began < wait_s + 1


def test_a_result_of_another_serializer(queue: Queue, worker: FakeWorker, redis: Client) -> None:
    job = queue.enqueue(add, 1)
    worker.finish(worker.take(job.id), b"no pickle")
    with pytest.raises(DeserializationError, match="the result cannot be read"):
        job.return_value()
    wrong = Job.fetch(job.id, redis, serializer="json")
    with pytest.raises(DeserializationError, match="same serializer"):
        _ = wrong.func_name


def test_rqs_legacy_result_is_read(queue: Queue, redis: Client) -> None:
    job = queue.enqueue(add, 1)
    redis.hset(job.key, "result", job.serializer.dumps(7))
    job.refresh()
    assert job.return_value() == 7


def test_meta(queue: Queue, redis: Client) -> None:
    job = queue.enqueue(add, 1, meta={"a": 1})
    other = Job.fetch(job.id, redis)
    job.meta["b"] = [2]
    assert other.get_meta() == {"a": 1}
    job.save_meta()
    assert other.get_meta(refresh=False) == {"a": 1}
    assert other.get_meta() == {"a": 1, "b": [2]}
    redis.hset(job.key, "meta", b"garbage")
    assert other.get_meta() == {"unserialized": b"garbage"}


def test_saving_leaves_what_workers_write(queue: Queue, worker: FakeWorker, redis: Client) -> None:
    """Whoever saves a job may have fetched it before it ran."""
    job = queue.enqueue(add, 1, retry=Retry(2))
    worker.fail(worker.take(job.id))
    claimed = worker.take(job.id)
    running = Job.fetch(job.id, redis).record
    job.description = "of the producer"
    job.save()
    assert Job.fetch(job.id, redis).record == running._replace(description="of the producer")
    worker.finish(claimed, job.serializer.dumps(3))
    ended = Job.fetch(job.id, redis).record
    job.result_ttl = 9
    job.save()
    assert Job.fetch(job.id, redis).record == ended._replace(result_ttl=9)
    assert redis.ttl(job.key) > 0, "it expires all the same"


def test_saving_what_is_not_stored(redis: Client) -> None:
    job = Job.create(add, (1,), connection=redis, retry=Retry(2), status=JobStatus.DEFERRED)
    job.save()
    stored = Job.fetch(job.id, redis)
    assert (stored.get_status(), stored.retries_left, stored.args) == ("deferred", 2, (1,))


def test_setting_what_a_job_says(queue: Queue, redis: Client) -> None:
    job = queue.enqueue(add, 1, ttl=60, retry=Retry(2))
    job.description, job.timeout, job.result_ttl, job.failure_ttl = "new", "2m", 9, -1
    job.ttl, job.retries_left, job.retry_intervals = None, 5, [1, 2]
    job.meta = {"a": 1}
    assert (job.description, job.timeout, str(job)) == ("new", 120, f"<Job {job.id}: new>")
    job.save()
    stored = Job.fetch(job.id, redis)
    assert (stored.description, stored.timeout, stored.result_ttl, stored.failure_ttl) == ("new", 120, 9, -1)
    assert (stored.ttl, stored.retries_left, stored.retry_intervals, stored.meta) == (None, 5, (1, 2), {"a": 1})
    stored.description = "newer"
    stored.save()
    job.refresh()
    assert job.description == "newer"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("status", "finished", "a job's status cannot be set: it is written by what becomes of the job"),
        ("worker_name", "w", "cannot be set"),
        ("id", "another", "id"),
        ("args", (1,), "args"),
    ],
)
def test_what_cannot_be_set_is_refused(queue: Queue, name: str, value: Any, words: str) -> None:
    job = queue.enqueue(add, 1)
    with pytest.raises(AttributeError, match=words):
        setattr(job, name, value)


def test_what_is_no_field_is_the_callers_own(queue: Queue, redis: Client) -> None:
    """Code of a job may keep something on its Job, as it may with RQ's."""
    job = queue.enqueue(add, 1)
    job.progress = 7
    job.save()
    assert (job.progress, b"progress" in redis.hgetall(f"rq:job:{job.id}")) == (7, False)


def test_values_of_another_kind_are_refused(queue: Queue) -> None:
    job = queue.enqueue(add, 1)
    with pytest.raises(TypeError, match="a job's description: it is a text, not 5"):
        job.description = 5
    with pytest.raises(TimeoutFormatError, match="'soon' is not a duration"):
        job.timeout = "soon"


def test_a_field_that_rq_could_not_read_is_named(queue: Queue, redis: Client) -> None:
    job = queue.enqueue(add, 1)
    redis.hset(job.key, "timeout", "soon")
    with pytest.raises(Exception, match=rf"job {job.id}: field 'timeout' holds b'soon'"):
        Job.fetch(job.id, redis)


def test_cancel(queue: Queue) -> None:
    job = queue.enqueue(add, 1)
    dependent = queue.enqueue(add, 2, depends_on=job)
    job.cancel(enqueue_dependents=True)
    assert job.is_canceled
    assert queue.job_ids == [dependent.id]
    assert job in queue.canceled_job_registry
    with pytest.raises(InvalidJobOperation, match="already canceled"):
        job.cancel()
    with pytest.raises(NoSuchJobError):
        Job("nobody", queue.connection).cancel()


def test_requeue(queue: Queue, worker: FakeWorker) -> None:
    job, other = queue.enqueue(add, 1), queue.enqueue(add, 2)
    with pytest.raises(InvalidJobOperation, match=r"not among the failed jobs of queue 'default'"):
        job.requeue()
    worker.fail(worker.take(job.id))
    assert job.is_failed
    assert job.requeue(at_front=True) is job
    assert queue.job_ids == [job.id, other.id]
    assert (job.started_at, job.ended_at, job.get_status(refresh=False)) == (None, None, "queued")


@pytest.mark.parametrize("with_dependents", [False, True])
def test_delete(queue: Queue, redis: Client, with_dependents: bool) -> None:
    job = queue.enqueue(add, 1)
    dependent = queue.enqueue(add, 2, depends_on=Dependency(job))
    job.delete(delete_dependents=with_dependents)
    assert queue.job_ids == []
    assert (Job.exists(job.id, redis), Job.exists(dependent.id, redis)) == (False, not with_dependents)
    with pytest.raises(InvalidJobOperation, match="Failed to retrieve status"):
        job.get_status()
    with pytest.raises(NoSuchJobError):
        job.refresh()
    job.delete()


def test_registries(queue: Queue, worker: FakeWorker) -> None:
    jobs = [queue.enqueue(add, number) for number in range(4)]
    worker.finish(worker.take(), b"v")
    worker.fail(worker.take())
    running = worker.take()
    jobs[3].cancel()
    dependent = queue.enqueue(add, 5, depends_on=running.job_id)
    wanted = [
        (queue.finished_job_registry, jobs[0]),
        (queue.failed_job_registry, jobs[1]),
        (queue.started_job_registry, jobs[2]),
        (queue.canceled_job_registry, jobs[3]),
        (queue.deferred_job_registry, dependent),
    ]
    for registry, job in wanted:
        assert (registry.count, len(registry), registry.get_job_count()) == (1, 1, 1)
        assert registry.get_job_ids() == [job.id]
        assert job in registry
        assert job.id in registry
        assert "nobody" not in registry
    assert queue.started_job_registry.get_job_and_execution_ids() == [(jobs[2].id, running.execution_id)]
    assert StartedJobRegistry(queue=queue) == queue.started_job_registry
    with pytest.raises(InvalidJobOperation, match="stop it first"):
        queue.started_job_registry.requeue(jobs[2])
    assert queue.failed_job_registry.requeue(jobs[1]).is_queued
    assert queue.finished_job_registry.remove(jobs[0], delete_job=True) == 1
    assert not Job.exists(jobs[0].id, queue.connection)
    with pytest.raises(InvalidJobOperation, match="not among the failed"):
        queue.failed_job_registry.requeue("nobody")


def test_counting_changes_nothing(queue: Queue, redis: Client) -> None:
    """RQ's counting deletes expired entries; ours only looks."""
    redis.zadd(queue.finished_job_registry.key, {"expired": 1})
    registry = queue.finished_job_registry
    assert (registry.count, registry.get_job_count(cleanup=True), registry.get_job_ids(cleanup=True)) == (
        1,
        1,
        ["expired"],
    )


def test_outside_a_job_there_is_no_current_one() -> None:
    assert get_current_job() is None


def test_workers_are_listed(redis: Client) -> None:
    FakeWorker(redis, "b", "low")
    FakeWorker(redis, "a", "low", "high")
    assert [worker.name for worker in Worker.all(redis)] == ["a", "b"]
    assert [worker.name for worker in Worker.all(redis, queue="high")] == ["a"]
    assert (Worker.count(redis), Worker.count(redis, Queue("low", redis)), Worker.count(redis, "x")) == (2, 2, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queues": []}, "at least one queue"),
        ({"queues": ["a,b"]}, "without commas"),
        ({"queues": [""]}, "without commas"),
        ({"abandoned": "forget"}, "'fail' or 'requeue', not 'forget'"),
        ({"max_deliveries": 0}, "max_deliveries must be at least 1"),
        ({"recycle_after": 0}, "recycle_after must be at least 1"),
        ({"lease_s": 0}, "lease_s must be at least 1"),
        ({"janitor_s": 0}, "janitor_s must be at least"),
        ({"default_result_ttl": 10**17}, "default_result_ttl is at most 31536000000"),
        ({"grace_s": -1}, "cannot be negative"),
        ({"job_memory_limit": "lots"}, "'lots' is not a size"),
    ],
)
def test_bad_settings_of_a_worker(redis: Client, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Worker(**{"queues": ["q"], "connection": redis, **options})


def test_a_worker_takes_queues_in_every_form(redis: Client) -> None:
    worker = Worker([Queue("a", redis, serializer="json"), "b", "a"], connection=redis)
    assert worker.queue_names() == ["a", "b"]
    assert worker.options.serializer is Queue("x", redis, serializer="json").serializer
    assert Worker("one", connection=redis).queues == [Queue("one", redis)]
    with pytest.raises(TypeError, match="a queue is a name or a Queue, not 5"):
        Worker([5], connection=redis)  # type: ignore[list-item]
