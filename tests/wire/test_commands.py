"""RQ's commands reach our workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from rqk import Queue
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.realrq import RealRq
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess
from tests.wire.conftest import StartRqWorker

pytestmark = pytest.mark.usefixtures("settled")
JOBS = "tests.support.jobs"


@pytest.fixture
def worker(start_worker: StartWorker, redis: redis_py.Redis) -> WorkerProcess:
    """A worker named w1 that hears commands."""
    started = start_worker("default", options=["--name", "w1"])
    wait_until(lambda: dict(redis.pubsub_numsub("rq:pubsub:w1"))[b"rq:pubsub:w1"], 10, "the worker to subscribe")
    return started


def run_held_job(rq: RealRq, tmp_path: Path, options: str = "") -> str:
    """A job that our worker has begun and that waits for a file."""
    notes = tmp_path / "notes"
    job_id = rq.enqueue(f"{JOBS}.note_and_wait", str(notes), "begun", str(tmp_path / "gate"), options=options)
    wait_until(notes.exists, 20, "the job to begin")
    return job_id


def test_shutdown_of_an_idle_worker(rq: RealRq, worker: WorkerProcess) -> None:
    rq.run("send_shutdown_command(connection, 'w1')")
    assert worker.wait() == 0


def test_shutdown_of_a_busy_worker_waits_for_the_job(rq: RealRq, worker: WorkerProcess, tmp_path: Path) -> None:
    job_id = run_held_job(rq, tmp_path)
    later = rq.enqueue(f"{JOBS}.add", 1)
    rq.run("send_shutdown_command(connection, 'w1')")
    worker.wait_for_log("arm shut down requested")
    assert worker.alive
    (tmp_path / "gate").touch()
    assert worker.wait() == 0
    assert rq.status(job_id) == "finished"
    assert rq.status(later) == "queued"


def test_kill_horse(rq: RealRq, worker: WorkerProcess, tmp_path: Path) -> None:
    job_id = run_held_job(rq, tmp_path)
    rq.run("send_kill_horse_command(connection, 'w1')")
    wait_until(lambda: rq.status(job_id) == "failed", 20, "the job to fail")
    assert "Work-horse terminated unexpectedly" in rq.job(job_id)["exc"]
    again = rq.enqueue(f"{JOBS}.add", 1)
    wait_until(lambda: rq.status(again) == "finished", 20, "the next job")
    assert worker.alive


def test_kill_horse_of_an_idle_worker_is_ignored(rq: RealRq, worker: WorkerProcess) -> None:
    rq.run("send_kill_horse_command(connection, 'w1')")
    job_id = rq.enqueue(f"{JOBS}.add", 1)
    wait_until(lambda: rq.status(job_id) == "finished", 20, "the job")
    assert worker.alive


def test_stop_job(rq: RealRq, worker: WorkerProcess, redis: redis_py.Redis, tmp_path: Path) -> None:
    job_id = run_held_job(rq, tmp_path, f"on_stopped=Callback('{JOBS}.on_stopped'), retry=Retry(max=3)")
    rq.run("send_stop_job_command(connection, job_id)", job_id=job_id)
    wait_until(lambda: rq.status(job_id) == "stopped", 20, "the job to stop")
    seen = rq.job(job_id)
    assert "Job stopped by user, work-horse terminated." in seen["exc"]
    assert rq.registry("Failed") == [job_id]
    assert wait_until(lambda: redis.lrange("test:callbacks", 0, -1), 5, "the stopped callback") == [
        f"stopped {job_id}".encode()
    ]
    assert worker.alive


def test_stop_execution(rq: RealRq, worker: WorkerProcess, tmp_path: Path) -> None:
    if not rq.is_3:
        pytest.skip("only RQ 3.0 has this command")
    job_id = run_held_job(rq, tmp_path)
    rq.run(
        "execution = Job.fetch(job_id, connection=connection).get_executions()[0]\n"
        "send_stop_execution_command(connection, job_id, execution.id)",
        job_id=job_id,
    )
    wait_until(lambda: rq.status(job_id) == "stopped", 20, "the job to stop")
    assert worker.alive


def test_stop_of_another_job_is_ignored(
    rq: RealRq, worker: WorkerProcess, redis: redis_py.Redis, tmp_path: Path
) -> None:
    job_id = run_held_job(rq, tmp_path)
    redis.publish("rq:pubsub:w1", '{"command": "stop-job", "job_id": "another"}')
    redis.publish("rq:pubsub:w1", '{"command": "stop-execution", "job_id": "x", "execution_id": "y"}')
    (tmp_path / "gate").touch()
    wait_until(lambda: rq.status(job_id) == "finished", 20, "the job to finish")
    assert worker.alive


def test_a_stopped_job_can_be_requeued(rq: RealRq, worker: WorkerProcess, tmp_path: Path) -> None:
    job_id = run_held_job(rq, tmp_path)
    rq.run("send_stop_job_command(connection, job_id)", job_id=job_id)
    wait_until(lambda: rq.status(job_id) == "stopped", 20, "the job to stop")
    (tmp_path / "gate").touch()
    rq.run("Job.fetch(job_id, connection=connection).requeue()", job_id=job_id)
    wait_until(lambda: rq.status(job_id) == "finished", 20, "the requeued job")


def test_a_job_canceled_while_it_runs(rq: RealRq, worker: WorkerProcess, redis: redis_py.Redis, tmp_path: Path) -> None:
    job_id = run_held_job(rq, tmp_path)
    rq.run("Job.fetch(job_id, connection=connection).cancel()", job_id=job_id)
    (tmp_path / "gate").touch()
    wait_until(lambda: not list(redis.scan_iter("rq:execution*")), 20, "the attempt to end")
    places: Any = [name for name in ("Finished", "Failed", "Canceled") if rq.registry(name)]
    assert len(places) == 1, f"a job is in one place: {places}"
    status = rq.status(job_id)
    assert (status, places) in [("finished", ["Finished"]), ("canceled", ["Canceled"])]


def test_a_job_deleted_while_it_runs_stays_deleted(
    rq: RealRq, worker: WorkerProcess, redis: redis_py.Redis, tmp_path: Path
) -> None:
    job_id = run_held_job(rq, tmp_path)
    rq.run("Job.fetch(job_id, connection=connection).delete()", job_id=job_id)
    (tmp_path / "gate").touch()
    other = rq.enqueue(f"{JOBS}.add", 1)
    wait_until(lambda: rq.status(other) == "finished", 20, "the next job")
    assert not list(redis.scan_iter(f"*{job_id}*"))


def test_our_stop_reaches_their_worker(
    rq: RealRq, queue: Queue, redis: redis_py.Redis, start_rq_worker: StartRqWorker, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    start_rq_worker(options=("--name", "theirs"))
    job = queue.enqueue(jobs.note_and_wait, str(notes), "begun", str(tmp_path / "gate"))
    wait_until(notes.exists, 20, "the job to begin")
    redis.publish("rq:pubsub:theirs", json_command(job.id))
    wait_until(lambda: job.get_status() == "stopped", 20, "the job to stop")
    result = job.latest_result()
    assert result is not None
    assert "Job stopped by user" in (result.exc_string or "")


def json_command(job_id: str) -> str:
    return f'{{"command": "stop-job", "job_id": "{job_id}"}}'
