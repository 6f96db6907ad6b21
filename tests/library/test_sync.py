"""Queue(is_async=False): the job runs at once, here, and looks afterwards as if a worker had run it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_py

from rqk import Job, Queue, Repeat, Retry, get_current_job
from tests.support import jobs

Client = redis_py.Redis


@pytest.fixture
def queue(redis: Client) -> Queue:
    return Queue(connection=redis, is_async=False)


def test_success(queue: Queue, redis: Client) -> None:
    job = queue.enqueue(jobs.add, 1, 2)
    assert (job.get_status(), job.return_value(), job.worker_name) == ("finished", 3, "sync")
    assert job.id in queue.finished_job_registry
    assert queue.is_empty()
    assert (len(job.results()), job.results()[0].worker_name) == (1, "")
    assert 495 <= int(redis.ttl(job.key)) <= 500
    assert Job.fetch(job.id, redis).ended_at is not None


@pytest.mark.parametrize("func", [jobs.fail, "tests.support.jobs.fail", "no.such.function"])
def test_failure_is_stored_and_not_raised(queue: Queue, func: Any) -> None:
    job = queue.enqueue(func)
    assert job.get_status() == "failed"
    assert "Traceback (most recent call last)" in (job.exc_info or "")
    assert job.id in queue.failed_job_registry


@pytest.mark.parametrize(("ttl", "left"), [(0, -2), (-1, -1), (50, 50)])
def test_the_life_of_a_result(queue: Queue, redis: Client, ttl: int, left: int) -> None:
    job = queue.enqueue(jobs.add, 1, result_ttl=ttl)
    assert int(redis.ttl(job.key)) in (left, left - 1 if left > 0 else left)
    assert queue.finished_job_registry.count == (0 if ttl == 0 else 1)


def test_no_retry_and_no_repeat(queue: Queue, redis: Client) -> None:
    failed = queue.enqueue(jobs.fail, retry=Retry(3))
    done = queue.enqueue(jobs.add, 1, repeat=Repeat(3))
    assert (failed.get_status(), done.get_status(), queue.count) == ("failed", "finished", 0)
    assert not [*redis.scan_iter("rq:wip:*"), *redis.scan_iter("rq:execution*")]


def test_coroutines_methods_and_json(redis: Client) -> None:
    queue = Queue(connection=redis, is_async=False, serializer="json")
    assert queue.enqueue(jobs.later, "then").return_value() == "then"
    assert Queue(connection=redis, is_async=False).enqueue(jobs.Counter(5).up, 1).return_value() == 6


seen: list[Any] = []


@pytest.fixture
def called() -> Iterator[list[Any]]:
    """What the callbacks of a test were called with."""
    seen.clear()
    yield seen
    seen.clear()


def note_job() -> None:
    seen.append(get_current_job())


def note_success(job: Job, connection: Any, result: Any) -> None:
    seen.append(("success", job.id, result))


def note_failure(job: Job, connection: Any, kind: type, value: Exception, trace: Any) -> None:
    seen.append(("failure", job.id, kind.__name__, str(value)))


def test_the_current_job(queue: Queue, called: list[Any]) -> None:
    job = queue.enqueue(note_job)
    assert called == [job]
    assert get_current_job() is None


def test_callbacks(queue: Queue, called: list[Any]) -> None:
    done = queue.enqueue(jobs.add, 1, 2, on_success=note_success, on_failure=note_failure)
    failed = queue.enqueue(jobs.fail, "no luck", on_success=note_success, on_failure=note_failure)
    assert called == [("success", done.id, 3), ("failure", failed.id, "ValueError", "no luck")]


def test_a_job_for_later_is_not_run_now(queue: Queue, called: list[Any]) -> None:
    job = queue.enqueue_in(timedelta(hours=1), note_job)
    assert called == []
    assert job.get_status() == "scheduled"


def test_a_method_by_its_bound_object_is_no_text(queue: Queue) -> None:
    assert queue.enqueue("tests.support.jobs.Counter.of_nobody", 1).return_value() == 2
