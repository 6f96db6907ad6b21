"""Jobs enqueued by rqk are run by real RQ's workers, and our client reads what became of them."""

from __future__ import annotations

import builtins
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from rqk import Callback, Job, Queue, Repeat, Retry
from rqk.errors import DuplicateJobError
from rqk.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry
from tests.support import jobs
from tests.support.realrq import RealRq
from tests.support.waiting import wait_until
from tests.wire.conftest import StartRqWorker


def test_a_plain_job(rq: RealRq, queue: Queue) -> None:
    job = queue.enqueue(jobs.add, 1, right=2)
    seen = rq.job(job.id)
    assert seen["status"] == "queued"
    assert (seen["func_name"], seen["args"], seen["kwargs"]) == ("tests.support.jobs.add", [1], {"right": 2})
    assert seen["description"] == "tests.support.jobs.add(1, right=2)"
    assert seen["timeout"] == 180
    rq.burst()
    assert job.get_status() == "finished"
    assert job.return_value() == 3
    assert len(FinishedJobRegistry(queue=queue)) == 1


@pytest.mark.parametrize(
    ("function", "args", "wanted"),
    [
        pytest.param(math.sqrt, [16], 4.0, id="builtin"),
        pytest.param(builtins.len, ["four"], 4, id="builtins"),
        pytest.param("tests.support.jobs.add", [1, 2], 3, id="name"),
        pytest.param(jobs.Counter(5).up, [1], 6, id="bound method"),
        pytest.param(jobs.Counter.of_class, [1], 11, id="class method"),
        pytest.param(jobs.Counter.of_nobody, [1], 2, id="static method"),
        pytest.param(jobs.Counter(5), [1], 105, id="callable instance"),
        pytest.param(jobs.later, ["then"], "then", id="coroutine"),
    ],
)
def test_every_kind_of_callable(rq: RealRq, queue: Queue, function: Any, args: list[Any], wanted: Any) -> None:
    job = queue.enqueue(function, *args)
    rq.burst()
    assert job.return_value() == wanted


def test_options_are_read_as_they_were_meant(rq: RealRq, queue: Queue) -> None:
    job = queue.enqueue(
        jobs.add,
        1,
        job_id="chosen",
        job_timeout="1h",
        result_ttl=77,
        failure_ttl=88,
        description="a sum",
        meta={"who": "me"},
        retry=Retry(max=2, interval=[5, 6]),
        repeat=Repeat(times=3, interval=7),
    )
    seen = rq.job(job.id)
    assert (seen["timeout"], seen["result_ttl"], seen["failure_ttl"]) == (3600, 77, 88)
    assert (seen["description"], seen["meta"]) == ("a sum", {"who": "me"})
    assert (seen["retries_left"], seen["repeats_left"]) == (2, 3)
    intervals = rq.run(
        "job = Job.fetch('chosen', connection=connection)\nresult = [job.retry_intervals, job.repeat_intervals]"
    )
    assert intervals == [[5, 6], [7]]


def test_json(rq: RealRq, redis: redis_py.Redis) -> None:
    queue = Queue(connection=redis, serializer="json")
    job = queue.enqueue(jobs.describe, 1, "two", three=[3])
    rq.burst(options=("--serializer", "json"))
    assert job.return_value() == {"args": [1, "two"], "kwargs": {"three": [3]}}


def test_the_front_of_the_queue(rq: RealRq, queue: Queue, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    for word in ("one", "two"):
        queue.enqueue(jobs.note, str(notes), word)
    queue.enqueue(jobs.note, str(notes), "first", at_front=True)
    rq.burst()
    assert notes.read_text().split() == ["first", "one", "two"]


def test_many_at_once(rq: RealRq, queue: Queue) -> None:
    made = queue.enqueue_many([Queue.prepare_data(jobs.add, (number, 1)) for number in range(5)])
    rq.burst()
    assert [job.return_value() for job in made] == [1, 2, 3, 4, 5]


def test_a_failure(rq: RealRq, queue: Queue) -> None:
    job = queue.enqueue(jobs.fail, "no luck")
    rq.burst()
    assert job.get_status() == "failed"
    result = job.latest_result()
    assert result is not None
    assert "ValueError: no luck" in (result.exc_string or "")
    assert FailedJobRegistry(queue=queue).get_job_ids() == [job.id]


def test_a_retry_at_once(rq: RealRq, queue: Queue, tmp_path: Path) -> None:
    job = queue.enqueue(jobs.fail_times, str(tmp_path / "calls"), 2, retry=Retry(max=3))
    rq.burst()
    assert job.return_value() == "call 3"
    job.refresh()
    assert job.retries_left == 1


def test_a_retry_after_an_interval(rq: RealRq, queue: Queue, tmp_path: Path, start_rq_worker: StartRqWorker) -> None:
    job = queue.enqueue(jobs.fail_times, str(tmp_path / "calls"), 1, retry=Retry(max=3, interval=1))
    start_rq_worker(options=("--with-scheduler",))
    wait_until(lambda: job.get_status() == "finished", 20, "the retry of the job")
    assert job.return_value() == "call 2"


def test_a_scheduled_job(rq: RealRq, queue: Queue, start_rq_worker: StartRqWorker) -> None:
    job = queue.enqueue_in(timedelta(seconds=1), jobs.add, 1)
    assert rq.status(job.id) == "scheduled"
    assert ScheduledJobRegistry(queue=queue).get_job_ids() == [job.id]
    start_rq_worker(options=("--with-scheduler",))
    wait_until(lambda: job.get_status() == "finished", 20, "the scheduled job")


@pytest.mark.parametrize(("result_ttl", "least", "most"), [(0, None, None), (-1, -1, -1), (100, 95, 100)])
def test_the_life_of_a_result(
    rq: RealRq, queue: Queue, redis: redis_py.Redis, result_ttl: int, least: int | None, most: int | None
) -> None:
    job = queue.enqueue(jobs.add, 1, result_ttl=result_ttl)
    rq.burst()
    if least is None or most is None:
        assert not Job.exists(job.id, connection=redis)
        return
    assert least <= int(redis.ttl(f"rq:job:{job.id}")) <= most
    assert least <= int(redis.ttl(f"rq:results:{job.id}")) <= most


def test_a_timeout(rq: RealRq, queue: Queue) -> None:
    job = queue.enqueue(jobs.nap, 60, job_timeout=1)
    rq.burst()
    assert job.get_status() == "failed"
    result = job.latest_result()
    assert result is not None
    assert "Task exceeded maximum timeout value (1 seconds)" in (result.exc_string or "")


def test_callbacks(rq: RealRq, queue: Queue, redis: redis_py.Redis) -> None:
    good = queue.enqueue(jobs.add, 1, on_success=Callback(jobs.on_success), on_failure=Callback(jobs.on_failure))
    bad = queue.enqueue(
        jobs.fail, on_success=Callback(jobs.on_success), on_failure=Callback(jobs.on_failure, timeout=9)
    )
    rq.burst()
    told: Any = redis.lrange("test:callbacks", 0, -1)
    assert told == [f"success {good.id} 1".encode(), f"failure {bad.id} ValueError on purpose".encode()]


def test_dependents_are_released_by_their_worker(rq: RealRq, queue: Queue) -> None:
    first = queue.enqueue(jobs.add, 1)
    second = queue.enqueue(jobs.add, 2, depends_on=first)
    third = queue.enqueue(jobs.add, 3, depends_on=[first, second])
    assert (rq.status(second.id), rq.status(third.id)) == ("deferred", "deferred")
    rq.burst()
    assert [job.return_value() for job in (first, second, third)] == [1, 2, 3]


def test_a_repeat_by_their_worker(rq: RealRq, queue: Queue, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    queue.enqueue(jobs.note, str(notes), "again", repeat=Repeat(times=2))
    rq.burst()
    assert notes.read_text().split() == ["again"] * 3


def test_meta_written_by_their_worker(rq: RealRq, queue: Queue) -> None:
    job = queue.enqueue(jobs.add, 1, meta={"step": 0})
    rq.run("job = Job.fetch(job_id, connection=connection)\njob.meta['step'] = 1\njob.save_meta()", job_id=job.id)
    assert job.get_meta(refresh=True) == {"step": 1}


def test_a_failed_job_of_theirs_is_requeued_by_us(
    rq: RealRq, queue: Queue, redis: redis_py.Redis, tmp_path: Path
) -> None:
    job_id = rq.enqueue("tests.support.jobs.fail_times", str(tmp_path / "calls"), 1)
    rq.burst()
    assert rq.status(job_id) == "failed"
    job = Job.fetch(job_id, connection=redis)
    job.requeue()
    assert rq.status(job_id) == "queued"
    assert rq.registry("Failed") == []
    rq.burst()
    assert job.return_value() == "call 2"


def test_a_job_canceled_by_us_is_not_run_by_them(rq: RealRq, queue: Queue, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    kept = queue.enqueue(jobs.note, str(notes), "kept")
    dropped = queue.enqueue(jobs.note, str(notes), "dropped")
    dropped.cancel()
    assert rq.registry("Canceled") == [dropped.id]
    rq.burst()
    assert notes.read_text().split() == ["kept"]
    assert rq.status(dropped.id) == "canceled"
    assert kept.get_status() == "finished"


def test_a_deleted_job_leaves_nothing(rq: RealRq, queue: Queue, redis: redis_py.Redis) -> None:
    job = queue.enqueue(jobs.add, 1)
    rq.burst()
    job.delete()
    assert not list(redis.scan_iter(f"*{job.id}*"))
    assert rq.registry("Finished") == []


def test_a_duplicate_of_their_unique_job_is_refused(rq: RealRq, queue: Queue) -> None:
    rq.enqueue("math.sqrt", 4, options="job_id='only', unique=True")
    with pytest.raises(DuplicateJobError):
        queue.enqueue(math.sqrt, 4, job_id="only", unique=True)
