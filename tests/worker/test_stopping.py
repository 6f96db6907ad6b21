"""SIGTERM, SIGINT and their seconds: exit code 0, and no job lost or run twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import redis as redis_py

from rqk import Queue, Retry
from rqk.core import keys
from rqk.store import workers
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.processes import is_running
from tests.support.proxy import Proxy
from tests.support.waiting import holds_for, wait_until
from tests.worker import jobs_horse
from tests.worker.live import ended, hold, running, waits

pytestmark = pytest.mark.usefixtures("settled")
Client = redis_py.Redis


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_leaves_at_once(redis: Client, start_worker: StartWorker, number: signal.Signals) -> None:
    worker = start_worker("default", "other", options=["--name", "w"])
    waits(redis, worker, 2)
    below = worker.descendants()
    worker.signal(number)
    assert worker.wait(5) == 0
    assert workers.names(redis) == []
    assert redis.hexists(keys.worker("w"), "death")
    assert not [*redis.scan_iter("rq:scheduler-lock:*")], "its locks are given back"
    wait_until(lambda: not any(is_running(process.pid) for process in below), 5, "its processes to end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_waits_for_redis_leaves_at_once(start_worker: StartWorker, number: signal.Signals) -> None:
    worker = start_worker("default", url="redis://127.0.0.1:1", options=["--wait-for-redis", "60"], ready=False)
    worker.wait_for_log("asking again")
    below = worker.descendants()
    worker.signal(number)
    assert worker.wait(5) == 0
    wait_until(lambda: not any(is_running(process.pid) for process in below), 5, "its processes to end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_busy_worker_lets_its_job_end(
    redis: Client, start_worker: StartWorker, tmp_path: Path, number: signal.Signals
) -> None:
    worker = start_worker("default")
    held = running(redis, tmp_path)
    later = Queue(connection=redis).enqueue(jobs.add, 1)
    worker.signal(number)
    worker.wait_for_log("Warm shut down requested, the running job may end")
    held.open()
    assert worker.wait() == 0
    assert (held.job.get_status(), held.runs, later.get_status()) == ("finished", 1, "queued")


def test_a_signal_to_the_whole_group_does_not_reach_the_job(
    redis: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    """As Ctrl-C in a terminal, and as container runtimes do that signal every process."""
    worker = start_worker("default")
    held = running(redis, tmp_path)
    for process in worker.descendants():
        process.send_signal(signal.SIGINT)
    worker.signal(signal.SIGINT)
    worker.wait_for_log("Warm shut down requested")
    held.open()
    assert worker.wait() == 0
    assert (held.job.get_status(), held.runs) == ("finished", 1)


def test_a_second_signal_puts_the_job_back(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker("default")
    held = running(redis, tmp_path, retry=Retry(3))
    other = Queue(connection=redis).enqueue(jobs.add, 1)
    worker.signal(signal.SIGTERM)
    holds_for(lambda: worker.alive, 1.1, "signals within a second are one request")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert redis.lrange(keys.queue("default"), 0, -1) == [held.job.id.encode(), other.id.encode()]
    held.job.refresh()
    assert (held.job.get_status(), held.job.retries_left, held.job.started_at) == ("queued", 3, None)
    assert f"job {held.job.id} is back at the head of its queue: the worker stops" in worker.log


def test_the_end_of_the_grace_period_puts_the_job_back(
    redis: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker("default", options=["--grace", "1"])
    held = running(redis, tmp_path)
    other = Queue(connection=redis).enqueue(jobs.add, 1)
    worker.signal(signal.SIGTERM)
    assert worker.wait(5) == 0
    assert redis.lrange(keys.queue("default"), 0, -1) == [held.job.id.encode(), other.id.encode()]
    held.open()
    start_worker("default", options=["--burst"], ready=False).wait()
    assert (held.job.get_status(), held.runs) == ("finished", 2)


def test_a_job_that_ends_within_the_grace_period_has_ended(
    redis: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker("default", options=["--grace", "30"])
    held = running(redis, tmp_path)
    worker.signal(signal.SIGTERM)
    worker.wait_for_log("Warm shut down requested")
    held.open()
    assert worker.wait(5) == 0
    assert held.job.get_status() == "finished"


def test_a_job_that_ignores_everything_is_put_back_too(
    redis: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker("default", options=["--grace", "0.5"])
    job = Queue(connection=redis).enqueue(jobs_horse.deaf, str(tmp_path / "deaf"))
    wait_until((tmp_path / "deaf").exists, 20, "the job to begin")
    worker.signal(signal.SIGTERM)
    assert worker.wait(5) == 0
    assert job.get_status() == "queued"


def test_grandchildren_end_with_the_job(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker("default", options=["--grace", "0.5"])
    Queue(connection=redis).enqueue(jobs_horse.with_children, str(tmp_path / "pids"))
    wait_until(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2, 20)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    worker.signal(signal.SIGTERM)
    assert worker.wait(5) == 0
    wait_until(lambda: not any(is_running(pid) for pid in pids), 5, "the job's own children to end")


def test_a_stop_right_after_the_start_loses_nothing(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    """The signal meets the claim at whatever point: the job has run, or waits."""
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        worker = start_worker("default", options=["--grace", "0.3"])
        waits(redis, worker)
        held = hold(redis, folder)
        worker.signal(signal.SIGTERM)
        assert worker.wait(10) == 0
        assert held.job.get_status() == "queued"
        assert redis.lrange(keys.queue("default"), 0, -1) == [held.job.id.encode()]
        held.job.delete()


def test_stopping_while_redis_is_away(redis: Client, proxy: Proxy, start_worker: StartWorker) -> None:
    worker = start_worker("default", url=proxy.url)
    waits(redis, worker)
    proxy.refuse()
    worker.wait_for_log("asking again")
    worker.signal(signal.SIGTERM)
    assert worker.wait(10) == 0


def test_a_busy_worker_waits_for_redis_to_write_its_last_outcome(
    redis: Client, proxy: Proxy, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker("default", url=proxy.url)
    held = running(redis, tmp_path)
    proxy.refuse()
    held.open()
    worker.wait_for_log("asking again")
    worker.signal(signal.SIGTERM)
    holds_for(lambda: worker.alive, 0.5, "an outcome that is not written keeps the worker")
    proxy.accept()
    assert worker.wait() == 0
    assert ended(held.job) == "finished"
