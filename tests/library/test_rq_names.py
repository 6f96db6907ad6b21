"""What RQ's documentation shows of jobs, queues and workers, under RQ's names."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis as redis_py

import rqk
import rqk.worker
from rqk import (
    Callback,
    Job,
    Queue,
    Worker,
    cancel_job,
    exceptions,
    executions,
    requeue_job,
    results,
    timeouts,
    use_connection,
)
from rqk.command import (
    send_kill_horse_command,
    send_shutdown_command,
    send_stop_execution_command,
    send_stop_job_command,
)
from rqk.connections import _current
from rqk.decorators import job
from rqk.errors import InvalidJobOperation, NoSuchJobError
from rqk.suspension import is_suspended, resume, suspend
from rqk.worker.known import KnownWorker
from tests.conftest import StartWorker
from tests.store.stage import FakeWorker
from tests.support import jobs
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

Client = redis_py.Redis


@pytest.fixture
def queue(redis: Client) -> Queue:
    return Queue(connection=redis)


@pytest.fixture
def worker(start_worker: StartWorker, redis: Client) -> WorkerProcess:
    """A worker named w1 that hears commands."""
    started = start_worker("default", options=["--name", "w1"])
    wait_until(lambda: dict(redis.pubsub_numsub("rq:pubsub:w1"))[b"rq:pubsub:w1"], 10, "the worker to subscribe")
    return started


def held(queue: Queue, directory: Path, **options: object) -> Job:
    """A job that has begun and waits for a file."""
    notes = directory / "notes"
    found = queue.enqueue(jobs.note_and_wait, str(notes), "begun", str(directory / "gate"), **options)
    wait_until(notes.exists, 20, "the job to begin")
    return found


def test_a_job_is_stopped(queue: Queue, redis: Client, worker: WorkerProcess, tmp_path: Path) -> None:
    running = held(queue, tmp_path, on_stopped=Callback(jobs.on_stopped))
    send_stop_job_command(redis, running.id)
    wait_until(lambda: running.is_stopped, 20, "the job to stop")
    wait_until(lambda: redis.lrange("test:callbacks", 0, -1), 20, "the callback")
    assert redis.lrange("test:callbacks", 0, -1) == [f"stopped {running.id}".encode()]
    assert running in queue.failed_job_registry
    with pytest.raises(InvalidJobOperation, match=r"is not running \(it is stopped\)"):
        send_stop_job_command(redis, running.id)


def test_an_attempt_is_stopped(queue: Queue, redis: Client, worker: WorkerProcess, tmp_path: Path) -> None:
    running = held(queue, tmp_path)
    (execution,) = running.get_executions()
    send_stop_execution_command(redis, running.id, execution.id)
    wait_until(lambda: running.is_stopped, 20, "the job to stop")
    with pytest.raises(InvalidJobOperation, match=f"execution {execution.id} of job {running.id} is over"):
        send_stop_execution_command(redis, running.id, execution.id)


def test_a_horse_is_killed_and_a_worker_shut_down(
    queue: Queue, redis: Client, worker: WorkerProcess, tmp_path: Path
) -> None:
    running = held(queue, tmp_path)
    send_kill_horse_command(redis, "w1")
    wait_until(lambda: running.is_failed, 20, "the job to fail")
    assert "Work-horse terminated unexpectedly" in (running.exc_info or "")
    send_shutdown_command(redis, "w1")
    assert worker.wait() == 0


def test_what_does_not_run_cannot_be_stopped(queue: Queue, redis: Client) -> None:
    waiting = queue.enqueue(jobs.add, 1)
    with pytest.raises(InvalidJobOperation, match=r"is not running \(it is queued\)"):
        send_stop_job_command(redis, waiting.id)
    with pytest.raises(NoSuchJobError):
        send_stop_job_command(redis, "nobody")


def test_the_decorator(redis: Client) -> None:
    @job("low", connection=redis, timeout=5, result_ttl=60, description="a sum", at_front=True)
    def local(left: int, right: int = 0) -> int:
        return left + right

    add = job("low", connection=redis, timeout=5, result_ttl=60, description="a sum")(jobs.add)
    try:
        assert local(2, right=3) == 5
        first = add.delay(1, right=2)
        second = add.enqueue(3, job_id="mine", at_front=True)
        third = add.delay(4, depends_on=first)
        low = Queue("low", redis)
        assert low.job_ids == ["mine", first.id]
        assert (first.func_name, first.args, first.kwargs) == ("tests.support.jobs.add", (1,), {"right": 2})
        assert (first.timeout, first.result_ttl, first.description) == (5, 60, "a sum")
        assert (second.id, third.dependency_ids, third.is_deferred) == ("mine", [first.id], True)
        assert local.delay(1).get_position() == 0
    finally:
        del jobs.add.delay, jobs.add.enqueue  # type: ignore[attr-defined]


def test_the_decorator_takes_a_queue_and_finds_the_default_connection(
    redis: Client, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_current, "connection", None)

    @job("late")
    def late() -> None: ...

    @job(Queue("given", redis))
    def given() -> None: ...

    use_connection(redis_url)
    late.delay()
    given.delay()
    assert (Queue("late", redis).count, Queue("given", redis).count) == (1, 1)
    with pytest.raises(TypeError, match=r"@job needs the name of a queue, or a Queue: @job\('default'\)"):
        job(given)  # type: ignore[arg-type]


def test_cancel_and_requeue_by_id(queue: Queue, redis: Client) -> None:
    worker = FakeWorker(redis, "w", "default")
    failed, unwanted = queue.enqueue(jobs.add, 1), queue.enqueue(jobs.add, 2)
    worker.fail(worker.take(failed.id))
    assert requeue_job(failed.id, connection=redis).is_queued
    cancel_job(unwanted.id, connection=redis)
    assert queue.job_ids == [failed.id]
    with pytest.raises(NoSuchJobError):
        cancel_job("nobody", connection=redis)


def test_what_a_job_tells(queue: Queue, redis: Client) -> None:
    first = queue.enqueue(jobs.add, 1, ttl=30)
    second = queue.enqueue("len", [1], depends_on=first, result_ttl=-1)
    fetched = Job.fetch(second.id, redis)
    assert (first.func, fetched.func) == (jobs.add, len)
    assert fetched.dependency == first
    assert fetched.fetch_dependencies() == [first]
    assert (first.dependency, first.fetch_dependencies()) == (None, [])
    assert (first.get_ttl(), fetched.get_ttl(7), first.get_result_ttl(500), fetched.get_result_ttl()) == (
        30,
        7,
        500,
        -1,
    )
    assert Job.fetch(queue.enqueue(jobs.Counter(5).up, 1).id, redis).func(2) == 7
    worker = FakeWorker(redis, "w", "default")
    worker.finish(worker.take(first.id), first.serializer.dumps(5))
    assert first.result == first.return_value() == 5


def test_workers_under_rqs_names(queue: Queue, redis: Client) -> None:
    fake = FakeWorker(redis, "w", "default", "low")
    running = queue.enqueue(jobs.add, 1)
    fake.take(running.id)
    (known,) = Worker.all(queue=queue)
    assert known == Worker.find_by_key("rq:worker:w", redis)
    assert Worker.find_by_key("rq:worker:nobody", redis) is None
    with pytest.raises(ValueError, match="not a worker key"):
        Worker.find_by_key("rq:job:w", redis)
    assert isinstance(known, KnownWorker)
    assert (known.name, known.key, known.queue_names()) == ("w", "rq:worker:w", ["default", "low"])
    assert known.queues == [queue, Queue("low", redis)]
    assert known.get_current_job() == known.current_job == running
    assert known.get_current_job_id() == running.id
    assert (known.state, known.get_state()) == ("busy", "busy")
    assert (known.successful_job_count, known.failed_job_count, known.total_working_time) == (0, 0, 0.0)
    assert known.birth_date is not None
    assert known.last_heartbeat is not None
    assert Worker.count(queue=queue) == 1


@pytest.mark.parametrize(("name", "words"), [("SimpleWorker", "recycle_after"), ("Group", "does not have it yet")])
@pytest.mark.parametrize("module", [rqk, rqk.worker])
def test_what_is_elsewhere_is_said(module: ModuleType, name: str, words: str) -> None:
    with pytest.raises(AttributeError, match=words):
        getattr(module, name)
    with pytest.raises(ImportError, match=f"cannot import name '{name}' from '{module.__name__}': .*{words}"):
        exec(f"from {module.__name__} import {name}", {})
    assert not hasattr(module, name)
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        exec(f"from {module.__name__} import Nothing", {})


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"exception_handlers": [print]}, r"Worker\(exception_handlers=...\) cannot be used here: .*use on_failure"),
        ({"disable_default_exception_handler": True}, "always goes to the failed registry"),
        ({"work_horse_killed_handler": print}, "calls its on_failure callback"),
        ({"job_class": Job}, "one kind of job"),
        ({"queue_class": Queue}, "one kind of queue"),
        ({"lease": 3}, r"Worker\(\) knows no argument 'lease'"),
        ({"name": redis_py.Redis()}, "a worker's name is a text, not .*; a client is given as connection="),
    ],
)
def test_what_a_worker_cannot_obey_is_refused_with_the_reason(
    redis: Client, option: dict[str, Any], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        Worker(["q"], connection=redis, **option)


def test_what_a_worker_does_its_own_way_is_said(redis: Client, caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(["q"], connection=redis, worker_ttl=420, default_worker_ttl=None, exception_handlers=[], lease_s=3)
    assert worker.options.lease_s == 3
    assert [record.getMessage() for record in caplog.records] == [
        "Worker(worker_ttl=...) has no effect here: a silent worker is forgotten after twice its lease_s"
    ]


def test_classes_of_a_queue(redis: Client) -> None:
    assert Queue("q", redis, job_class=None) == Queue("q", redis)
    with pytest.raises(TypeError, match=r"Queue\(job_class=...\) cannot be used here: rqk has one kind of job"):
        Queue("q", redis, job_class=Job)
    with pytest.raises(TypeError, match=r"Queue\(\) knows no argument 'timeout'"):
        Queue("q", redis, timeout=5)


def test_what_a_registry_knows_of_its_entries(queue: Queue, redis: Client) -> None:
    worker = FakeWorker(redis, "w", "default")
    kept, done, failed, running = [
        queue.enqueue(jobs.add, 1, job_id=name, result_ttl=ttl)
        for name, ttl in (("kept", -1), ("done", 60), ("failed", 60), ("running", 60))
    ]
    worker.finish(worker.take(kept.id))
    worker.finish(worker.take(done.id))
    worker.fail(worker.take(failed.id))
    worker.take(running.id, lease_s=90)
    due = datetime.fromtimestamp(2_000_000_000, UTC)
    late = queue.enqueue_at(due, jobs.add, 1)
    now = datetime.now(UTC)
    finished = queue.finished_job_registry
    assert finished.get_queue() == queue
    assert finished.get_expiration_time(kept) is None
    for registry, one, seconds in (
        (finished, done, 60),
        (queue.failed_job_registry, failed, 365 * 86400),
        (queue.started_job_registry, running, 90),
    ):
        expires = registry.get_expiration_time(one.id)
        assert expires is not None
        assert abs((expires - now).total_seconds() - seconds) < 20
    assert queue.scheduled_job_registry.get_expiration_time(late) == due
    with pytest.raises(NoSuchJobError, match="there is no job"):
        finished.get_expiration_time(failed)
    assert late in queue.scheduled_job_registry
    assert running in queue.started_job_registry
    redis.zadd(finished.key, {"expired": 1})
    finished.cleanup()
    assert finished.get_job_ids() == [done.id, kept.id]
    finished.cleanup(now.timestamp() + 1000)
    queue.scheduled_job_registry.cleanup()
    assert (finished.get_job_ids(), queue.scheduled_job_registry.count) == ([kept.id], 1)
    (execution,) = running.get_executions()
    assert execution.job == running


def test_a_job_has_callbacks_and_a_status_that_can_be_set(queue: Queue, redis: Client) -> None:
    job = queue.enqueue(jobs.add, 1, on_success=jobs.on_success, on_stopped=Callback(jobs.on_stopped))
    found = Job.fetch(job.id, redis)
    assert (found.success_callback, found.failure_callback, found.stopped_callback) == (
        *(jobs.on_success, None),
        jobs.on_stopped,
    )
    found.set_status(rqk.JobStatus.CANCELED)
    assert (found.get_status(refresh=False), job.get_status()) == ("canceled", "canceled")
    with redis.pipeline() as pipe:
        found.set_status(rqk.JobStatus.QUEUED, pipeline=pipe)
        assert job.is_canceled
        pipe.execute()
    assert job.is_queued
    assert job.is_async
    assert not Queue("here", redis, is_async=False).enqueue(jobs.add, 1).is_async


def test_a_job_is_scheduled_as_an_object(queue: Queue, redis: Client) -> None:
    due = datetime.fromtimestamp(2_000_000_000, UTC)
    job = Job.create(jobs.add, (1,), connection=redis, meta={"user": 7})
    assert queue.schedule_job(job, due).is_scheduled
    assert queue.scheduled_job_registry.get_scheduled_time(job) == due
    assert (Job.fetch(job.id, redis).meta, Job.fetch(job.id, redis).origin) == ({"user": 7}, "default")


def test_all_workers_pause_and_go_on(redis: Client) -> None:
    assert not is_suspended(redis)
    suspend(redis)
    assert (is_suspended(redis), redis.ttl("rq:suspended")) == (True, -1)
    suspend(redis, ttl=600)
    assert 590 < redis.ttl("rq:suspended") <= 600
    assert resume(redis)
    assert (is_suspended(redis), resume(redis)) == (False, False)
    with pytest.raises(ValueError, match="ttl must be greater than 0, not 0"):
        suspend(redis, 0)


def test_modules_under_rqs_names_have_the_same_things() -> None:
    assert exceptions.NoSuchJobError is NoSuchJobError
    assert exceptions.InvalidJobOperation is InvalidJobOperation
    assert timeouts.JobTimeoutException is rqk.JobTimeoutException
    assert (results.Result, executions.Execution) == (rqk.Result, rqk.Execution)
