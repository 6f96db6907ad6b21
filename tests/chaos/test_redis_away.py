"""Redis restarts, freezes, refuses writes or is cut off, while a worker is idle and while a job runs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis as redis_py

from rqk import Queue
from tests.chaos.accounting import count_words, places
from tests.conftest import MakeProxy, StartWorker
from tests.support import jobs
from tests.support.processes import is_running
from tests.support.proxy import Proxy
from tests.support.server import Server
from tests.support.waiting import holds_for, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


def kill_and_start(server: Server) -> None:
    """A crash; the data comes back from the append-only file."""
    server.kill()
    server.start()


AWAY: list[Any] = [
    pytest.param(Server.restart, id="restart"),
    pytest.param(kill_and_start, id="crash"),
]


@pytest.mark.parametrize("go_away", AWAY)
def test_redis_restarts_while_a_job_runs(
    server: Server, start_worker: StartWorker, tmp_path: Path, go_away: Callable[[Server], None]
) -> None:
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    with server.client() as client:
        queue = Queue(connection=client)
        worker = start_worker("default", url=server.url)
        job = queue.enqueue(jobs.note_and_wait, str(notes), "once", str(gate))
        wait_until(notes.exists, 20, "the job to begin")
        horse = [process.pid for process in worker.horses]
        go_away(server)
        gate.touch()
        wait_until(lambda: job.get_status() == "finished", 30, "the outcome to be written")
        assert job.return_value() == "once"
        assert count_words(notes) == {"once": 1}
        after = queue.enqueue(jobs.add, 1)
        wait_until(lambda: after.get_status() == "finished", 30, "the next job")
        assert worker.alive
        assert horse
        assert worker.terminate() == 0


@pytest.mark.parametrize("go_away", AWAY)
def test_redis_restarts_while_the_worker_is_idle(
    server: Server, start_worker: StartWorker, go_away: Callable[[Server], None]
) -> None:
    with server.client() as client:
        worker = start_worker("high", "low", url=server.url)
        go_away(server)
        job = Queue("low", connection=client).enqueue(jobs.add, 1)
        wait_until(lambda: job.get_status() == "finished", 30, "a job after the restart")
        assert worker.alive


def test_a_restart_that_forgets_everything_leaves_a_working_worker(
    make_server: Callable[..., Server], start_worker: StartWorker
) -> None:
    server = make_server(persistent=False)
    with server.client() as client:
        worker = start_worker("default", url=server.url, options=["--lease", "3"])
        server.restart()
        wait_until(lambda: client.scard("rq:workers"), 30, "the worker to register again")
        job = Queue(connection=client).enqueue(jobs.add, 1)
        wait_until(lambda: job.get_status() == "finished", 30, "a job after the restart")
        assert worker.alive


def test_a_read_only_replica_is_waited_out(server: Server, start_worker: StartWorker, tmp_path: Path) -> None:
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    with server.client() as client:
        worker = start_worker("default", url=server.url)
        job = Queue(connection=client).enqueue(jobs.note_and_wait, str(notes), "once", str(gate))
        wait_until(notes.exists, 20, "the job to begin")
        server.read_only()
        gate.touch()
        worker.wait_for_log("asking again")
        assert worker.alive
        server.writable()
        wait_until(lambda: job.get_status() == "finished", 30, "the outcome to be written")
        assert count_words(notes) == {"once": 1}


def test_a_worker_starts_before_its_redis(start_worker: StartWorker, server: Server) -> None:
    server.stop()
    worker = start_worker("default", url=server.url, options=["--wait-for-redis", "60"], ready=False)
    worker.wait_for_log("asking again")
    server.start()
    with server.client() as client:
        job = Queue(connection=client).enqueue(jobs.add, 1)
        wait_until(lambda: job.get_status() == "finished", 40, "the job")


def test_a_silent_connection_is_noticed(
    server: Server, make_proxy: MakeProxy, start_worker: StartWorker, tmp_path: Path
) -> None:
    """A network that swallows everything: no error is ever reported to the worker."""
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    proxy: Proxy = make_proxy(server.port)
    with server.client() as client:
        worker = start_worker("default", url=proxy.url)
        job = Queue(connection=client).enqueue(jobs.note_and_wait, str(notes), "once", str(gate))
        wait_until(notes.exists, 20, "the job to begin")
        proxy.silence()
        gate.touch()
        worker.wait_for_log("asking again", timeout=30)
        proxy.cut()
        proxy.speak()
        wait_until(lambda: job.get_status() == "finished", 30, "the outcome to be written")
        assert count_words(notes) == {"once": 1}


def test_a_refused_connection_is_retried_with_growing_pauses(
    redis: redis_py.Redis, proxy: Proxy, start_worker: StartWorker
) -> None:
    worker = start_worker("default", url=proxy.url)
    proxy.refuse()
    worker.wait_for_log("asking again", times=3)
    proxy.accept()
    job = Queue(connection=redis).enqueue(jobs.add, 1)
    wait_until(lambda: job.get_status() == "finished", 30, "a job after the outage")
    assert worker.alive


def test_a_worker_that_was_frozen_beyond_its_lease_writes_nothing(
    redis: redis_py.Redis, start_worker: StartWorker, tmp_path: Path
) -> None:
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    options = ["--lease", "2", "--abandoned", "requeue"]
    frozen = start_worker("default", options=[*options, "--name", "frozen"])
    job = Queue(connection=redis).enqueue(jobs.note_and_wait, str(notes), "run", str(gate))
    wait_until(notes.exists, 20, "the job to begin")
    tree = [psutil.Process(frozen.pid), *frozen.descendants()]
    for process in tree:
        process.send_signal(signal.SIGSTOP)
    try:
        start_worker("default", options=[*options, "--name", "fresh"])
        wait_until(lambda: count_words(notes)["run"] == 2, 40, "the other worker to take the job over")
        gate.touch()
        wait_until(lambda: job.get_status() == "finished", 20, "the job to finish elsewhere")
        job.refresh()
        assert job.worker_name == "fresh"
        before = redis.xlen(f"rq:results:{job.id}")
    finally:
        for process in tree:
            process.send_signal(signal.SIGCONT)
    # It thaws, its job function returns, and its outcome is refused.
    wait_until(lambda: redis.hget("rq:worker:frozen", "state") == b"idle", 20, "the thawed worker to be idle again")
    assert redis.xlen(f"rq:results:{job.id}") == before == 1
    job.refresh()
    assert (job.worker_name, job.get_status()) == ("fresh", "finished")
    assert places(redis, ["default"], [job.id])[job.id].is_consistent


def test_a_killed_supervisor_leaves_no_horse_behind(
    redis: redis_py.Redis, start_worker: StartWorker, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    worker = start_worker("default")
    Queue(connection=redis).enqueue(jobs.note_and_wait, str(notes), "once", str(tmp_path / "gate"))
    wait_until(notes.exists, 20, "the job to begin")
    below = worker.descendants()
    assert len(below) >= 2
    worker.kill()
    wait_until(lambda: not any(is_running(process.pid) for process in below), 5, "zygote and horses to end")


def test_an_abandoned_job_fails_with_rqs_words(
    redis: redis_py.Redis, start_worker: StartWorker, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    worker = start_worker("default", options=["--lease", "2"])
    job = Queue(connection=redis).enqueue(jobs.note_and_wait, str(notes), "once", str(tmp_path / "gate"))
    wait_until(notes.exists, 20, "the job to begin")
    worker.kill()
    start_worker("default", options=["--lease", "2"])
    wait_until(lambda: job.get_status() == "failed", 30, "the abandoned job to be found")
    result = job.latest_result()
    assert result is not None
    assert "Moved to FailedJobRegistry, due to AbandonedJobError, at " in (result.exc_string or "")
    assert count_words(notes) == {"once": 1}


def test_a_stopped_worker_takes_nothing_new(redis: redis_py.Redis, start_worker: StartWorker, tmp_path: Path) -> None:
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    queue = Queue(connection=redis)
    worker = start_worker("default")
    job = queue.enqueue(jobs.note_and_wait, str(notes), "once", str(gate))
    wait_until(notes.exists, 20, "the job to begin")
    later = queue.enqueue(jobs.add, 1)
    worker.signal(signal.SIGTERM)
    holds_for(lambda: worker.alive and job.get_status() == "started", 0.5, "a warm shutdown waits for the job")
    gate.touch()
    assert worker.wait() == 0
    assert job.get_status() == "finished"
    assert later.get_status() == "queued"
    assert redis.lrange("rq:queue:default", 0, -1) == [later.id.encode()]


def test_the_grace_period_gives_the_job_back(redis: redis_py.Redis, start_worker: StartWorker, tmp_path: Path) -> None:
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    queue = Queue(connection=redis)
    worker = start_worker("default", options=["--grace", "1"])
    job = queue.enqueue(jobs.note_and_wait, str(notes), "run", str(gate))
    other = queue.enqueue(jobs.add, 1)
    wait_until(notes.exists, 20, "the job to begin")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert job.get_status() == "queued"
    assert redis.lrange("rq:queue:default", 0, -1) == [job.id.encode(), other.id.encode()]


def test_a_second_signal_gives_the_job_back_at_once(
    redis: redis_py.Redis, start_worker: StartWorker, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    worker = start_worker("default")
    job = Queue(connection=redis).enqueue(jobs.note_and_wait, str(notes), "run", str(tmp_path / "gate"))
    wait_until(notes.exists, 20, "the job to begin")
    worker.signal(signal.SIGTERM)
    worker.wait_for_log("arm shut down requested")
    holds_for(lambda: worker.alive, 1.1, "a second signal within a second counts as the first")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert job.get_status() == "queued"
    assert redis.lrange("rq:queue:default", 0, -1) == [job.id.encode()]
