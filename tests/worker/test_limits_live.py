"""Time and memory limits of a whole worker: the soft one, the hard one, and what each failure says."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import redis as redis_py

from rqk import Job, Queue, Retry
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.waiting import wait_until
from tests.worker import jobs_horse, jobs_live
from tests.worker.live import ended, json_lines, order_of, running

pytestmark = pytest.mark.usefixtures("settled")
Client = redis_py.Redis
SOFT = "rqk.errors.JobTimeoutException: Task exceeded maximum timeout value (1 seconds)"
MIB = 1 << 20


def test_the_soft_limit(redis: Client, start_worker: StartWorker) -> None:
    queue = Queue(connection=redis)
    slow = queue.enqueue(jobs_horse.spin, job_timeout=1, on_failure=jobs.on_failure)
    after = queue.enqueue(jobs.add, 1)
    options = ["--burst", "--log-format", "json", "--preload", jobs_horse.__name__]  # the limit covers the import
    worker = start_worker("default", options=options, ready=False)
    worker.wait()
    assert (slow.get_status(), after.get_status()) == ("failed", "finished")
    assert SOFT in (slow.exc_info or "")
    assert "in spin" in (slow.exc_info or ""), "the traceback says where the time went"
    (end,) = json_lines(worker, action="end", job_id=slow.id)
    assert end["outcome"] == "timeout"
    assert 0.9 <= end["seconds"] < 3.0
    assert redis.lrange("test:callbacks", 0, -1) == [
        f"failure {slow.id} JobTimeoutException Task exceeded maximum timeout value (1 seconds)".encode()
    ]


def test_a_limit_that_is_swallowed_comes_again(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    job = Queue(connection=redis).enqueue(jobs_horse.swallow, str(tmp_path / "said"), job_timeout=1)
    start_worker("default", options=["--burst", "--kill-after", "20"], ready=False).wait()
    assert (tmp_path / "said").read_text().startswith("swallowed Task exceeded")
    assert job.get_status() == "failed"
    assert SOFT in (job.exc_info or "")


@pytest.mark.parametrize("how", ["deaf", "native"])
def test_the_hard_limit(redis: Client, start_worker: StartWorker, tmp_path: Path, how: str) -> None:
    """Blocked signals, or a long call into native code: no exception gets through."""
    queue = Queue(connection=redis)
    if how == "deaf":
        job = queue.enqueue(jobs_horse.deaf, str(tmp_path / "deaf"), job_timeout=1, on_failure=jobs.on_failure)
    else:
        job = queue.enqueue(jobs_live.native_sleep, 60, job_timeout=1, on_failure=jobs.on_failure)
    after = queue.enqueue(jobs.add, 1)
    worker = start_worker("default", options=["--burst", "--kill-after", "0.5"], ready=False)
    worker.wait()
    assert (job.get_status(), after.get_status()) == ("failed", "finished")
    words = job.exc_info or ""
    assert words.startswith("Work-horse terminated unexpectedly; waitpid returned None; ")
    assert "Task exceeded maximum timeout value (1 seconds) and did not react to JobTimeoutException" in words
    assert "is past its time limit by 0 s and is killed" in worker.log or "past its time limit" in worker.log
    (told,) = redis.lrange("test:callbacks", 0, -1)
    assert f"failure {job.id} JobTimeoutException " in str(told)


def test_a_time_out_is_a_failure_to_be_retried(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    job = Queue(connection=redis).enqueue(
        jobs.note_and_nap, str(tmp_path / "notes"), "run", 60, job_timeout=1, retry=Retry(1)
    )
    start_worker("default", options=["--burst"], ready=False).wait()
    assert job.get_status() == "failed"
    assert order_of(tmp_path / "notes") == ["run", "run"]


def test_no_limit(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    """-1 is none; what ends in time is not disturbed by an alarm that is still set."""
    start_worker("default", options=["--kill-after", "0", "--recycle-after", "5"])
    quick = Queue(connection=redis).enqueue(jobs.add, 1, job_timeout=1)
    assert ended(quick) == "finished"
    endless = running(redis, tmp_path, job_timeout=-1)
    wait_until(lambda: Job.fetch(endless.job.id, redis).timeout == -1, 1)
    nap = jobs.nap
    nap(1.2)  # longer than the first job's limit, which must not ring in the second one
    assert endless.job.get_status() == "started"
    endless.open()
    assert ended(endless.job) == "finished"


def test_a_memory_limit(redis: Client, start_worker: StartWorker) -> None:
    queue = Queue(connection=redis)
    greedy, modest = queue.enqueue(jobs_horse.eat, 400), queue.enqueue(jobs_horse.eat, 10)
    worker = start_worker(
        "default", options=["--burst", "--job-memory-limit", "200Mi", "--log-format", "json"], ready=False
    )
    worker.wait()
    assert (greedy.get_status(), modest.return_value()) == ("failed", 10 * MIB)
    assert "MemoryError" in (greedy.exc_info or "")
    assert "in eat" in (greedy.exc_info or "")
    (end,) = json_lines(worker, action="end", job_id=modest.id)
    assert 10 * MIB < end["peak_bytes"] < 200 * MIB


def test_a_job_killed_near_its_memory_limit_ran_out_of_memory(redis: Client, start_worker: StartWorker) -> None:
    job = Queue(connection=redis).enqueue(jobs_live.eat_and_die, 355, int(signal.SIGKILL))
    start_worker("default", options=["--burst", "--job-memory-limit", "400Mi"], ready=False).wait()
    assert job.get_status() == "failed"
    assert "out of memory" in (job.exc_info or "")
    assert "Peak memory 3" in (job.exc_info or "")
    assert "MiB of 400.0 MiB allowed" in (job.exc_info or "")
