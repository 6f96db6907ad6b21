"""RQ's own command line and rq-exporter read our workers and queues without an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import redis as redis_py

from rqk import Queue
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.realrq import EXPORTER, RealRq
from tests.support.server import Server, free_port
from tests.support.venvs import venv_python
from tests.support.waiting import wait_until
from tests.support.workers import ROOT, ProcessWithLog, user_environment
from tests.wire.conftest import StartRqWorker


@pytest.fixture
def scene(redis: redis_py.Redis, start_worker: StartWorker, tmp_path: Path) -> Iterator[Path]:
    """A busy worker of ours, one idle, and jobs in many states. The file that is yielded lets the running job end."""
    high, low = Queue("high", connection=redis), Queue("low", connection=redis)
    gate = tmp_path / "gate"
    redis.sadd("rq:queues", "rq:queue:other")  # rq info shows the workers of known queues only
    high.enqueue(jobs.add, 1)
    high.enqueue(jobs.fail)
    held = high.enqueue(jobs.wait_for_file, str(gate))
    high.enqueue(jobs.add, 1, depends_on=held)
    start_worker("high", "other", options=["--name", "busy"])
    start_worker("other", options=["--name", "idle"])
    wait_until(lambda: held.get_status() == "started", 20, "the held job to start")
    wait_until(lambda: redis.hget("rq:worker:idle", "state") == b"idle", 20, "the other worker to be idle")
    wait_until(
        lambda: redis.hget("rq:worker:busy", "failed_job_count") == b"1", 20, "the busy worker to tell its counts"
    )
    low.enqueue(jobs.add, 1)
    low.enqueue(jobs.add, 2)
    yield gate
    gate.touch()


@pytest.mark.usefixtures("scene")
def test_rq_info(rq: RealRq) -> None:
    for words in (
        [],
        ["high"],
        ["--by-queue"],
        ["--raw"],
        ["--only-queues"],
        ["--only-workers"],
        ["--raw", "--by-queue"],
    ):
        done = rq.cli("info", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    text = rq.cli("info", "--raw").stdout
    assert "queue high 0, 1 executing, 1 finished, 1 failed" in text
    assert "queue low 2, 0 executing, 0 finished, 0 failed" in text
    lines = {line.split()[1]: line for line in text.splitlines() if line.startswith("worker ")}
    assert set(lines) == {"busy", "idle"}
    assert ") busy high, other. jobs: 1 finished, 1 failed" in lines["busy"]
    assert ") idle other. jobs: 0 finished, 0 failed" in lines["idle"]
    assert "None" not in lines["busy"]


@pytest.mark.usefixtures("scene")
def test_their_worker_objects_of_our_workers(rq: RealRq) -> None:
    seen = rq.run(
        "result = {w.name: dict(state=str(getattr(w.get_state(), 'value', w.get_state())), pid=w.pid, host=w.hostname,\n"
        "    ip=w.ip_address, version=w.version, python=w.python_version, birth=str(w.birth_date),\n"
        "    beat=str(w.last_heartbeat), good=w.successful_job_count, bad=w.failed_job_count,\n"
        "    time=w.total_working_time, queues=sorted(w.queue_names())) for w in Worker.all(connection=connection)}"
    )
    busy = seen["busy"]
    assert (busy["state"], busy["good"], busy["bad"], busy["queues"]) == ("busy", 1, 1, ["high", "other"])
    assert all(busy[name] for name in ("pid", "host", "ip", "version", "python", "birth", "beat", "time"))
    assert seen["idle"]["state"] == "idle"
    of_queue = rq.run("result = sorted(w.name for w in Worker.all(queue=Queue('other', connection=connection)))")
    assert of_queue == ["busy", "idle"]
    assert rq.run("result = Worker.count(connection=connection)") == 2


def test_a_name_of_ours_is_taken_for_their_worker(rq: RealRq, start_worker: StartWorker) -> None:
    start_worker("default", options=["--name", "taken"])
    done = rq.cli("worker", "--burst", "--name", "taken")
    assert done.returncode != 0
    assert "There exists an active worker named" in done.stdout + done.stderr


def test_a_name_of_theirs_is_taken_for_our_worker(start_rq_worker: StartRqWorker, start_worker: StartWorker) -> None:
    start_rq_worker(options=("--name", "taken"))
    ours = start_worker("default", options=["--name", "taken"], ready=False)
    assert ours.wait() != 0
    assert "taken" in ours.log
    assert "Traceback" not in ours.log


@pytest.mark.usefixtures("scene")
def test_rq_exporter(valkey: Server, tmp_path: Path) -> None:
    python = venv_python("rq-exporter", *EXPORTER)
    port = free_port()
    exporter = ProcessWithLog(
        [str(python.parent / "rq-exporter"), "--host", "127.0.0.1", "--port", str(port), "--redis-url", valkey.url],
        tmp_path / "exporter.log",
    )
    try:
        text = wait_until(lambda: scrape(port, exporter), 20, "rq-exporter to answer")
    finally:
        exporter.close()
    assert "Traceback" not in exporter.log
    assert 'rq_workers{name="busy",queues="high,other",state="busy"} 1.0' in text
    assert 'rq_workers{name="idle",queues="other",state="idle"} 1.0' in text
    assert 'rq_workers_success_total{name="busy",queues="high,other"} 1.0' in text
    assert 'rq_workers_failed_total{name="busy",queues="high,other"} 1.0' in text
    wanted = {"queued": 0, "started": 1, "finished": 1, "failed": 1, "deferred": 1, "scheduled": 0}
    for status, count in wanted.items():
        assert f'rq_jobs{{queue="high",status="{status}"}} {count}.0' in text
    assert 'rq_jobs{queue="low",status="queued"} 2.0' in text


def scrape(port: int, exporter: ProcessWithLog) -> str:
    assert exporter.alive, exporter.log
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


@pytest.mark.usefixtures("scene")
def test_our_info_of_their_workers(rq: RealRq, start_rq_worker: StartRqWorker) -> None:
    start_rq_worker("low", options=("--name", "theirs"))
    wait_until(lambda: not rq.run("result = Queue('low', connection=connection).count"), 20, "their worker to work")

    def look() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "rqk", "info", "--json", "--url", rq.url],
            capture_output=True,
            text=True,
            check=True,
            env=user_environment(),
            cwd=ROOT,
        )
        return dict(json.loads(done.stdout))

    assert "theirs" in json.dumps(look())
