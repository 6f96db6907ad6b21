"""What a worker says of the modules it imports beforehand, also when it has nothing else to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis as redis_py

from rqk import Queue
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.waiting import holds_for
from tests.support.workers import user_environment
from tests.worker.live import ended

pytestmark = pytest.mark.usefixtures("settled")
Client = redis_py.Redis
BROKEN = "preload slow_module: ImportError: on purpose"


def slow_module(folder: Path, then: str = "raise ImportError('on purpose')") -> Path:
    """A module whose import takes until a gate is there; returns the gate."""
    gate = folder / "gate"
    waiting = f"import os, time\nwhile not os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\n"
    (folder / "slow_module.py").write_text(waiting + then)
    return gate


def test_a_worker_without_jobs_still_says_what_cannot_be_imported(redis: Client, start_worker: StartWorker) -> None:
    worker = start_worker("default", options=["--burst", "--preload", "no.such.module"], ready=False)
    assert worker.wait() == 0
    assert worker.log.count("preload no.such.module: ModuleNotFoundError: No module named 'no'") == 1


@pytest.mark.parametrize(
    ("words", "seconds"), [pytest.param("--burst", 0.5, id="burst"), pytest.param("--max-idle-time 1", 1.5, id="idle")]
)
def test_it_leaves_when_the_import_is_over(
    redis: Client, start_worker: StartWorker, tmp_path: Path, words: str, seconds: float
) -> None:
    gate = slow_module(tmp_path)
    options = [*words.split(), "--preload", "slow_module", "--path", str(tmp_path)]
    worker = start_worker("default", options=options)
    holds_for(lambda: worker.alive, seconds, "the worker to stay")
    gate.touch()
    assert worker.wait() == 0
    assert BROKEN in worker.log


def test_a_job_that_comes_meanwhile_is_run(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    gate = slow_module(tmp_path)
    options = ["--burst", "--preload", "slow_module", "--path", str(tmp_path)]
    worker = start_worker("default", options=options)
    job = Queue(connection=redis).enqueue(jobs.add, 1)
    gate.touch()
    assert worker.wait() == 0
    assert ended(job) == "finished"


def test_a_stop_does_not_wait_for_the_import(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    slow_module(tmp_path)
    options = ["--burst", "--preload", "slow_module", "--path", str(tmp_path)]
    assert start_worker("default", options=options).terminate() == 0


def test_an_import_without_end_is_not_waited_for(redis: Client, tmp_path: Path) -> None:
    """Half a minute is what a worker without jobs gives it; here less."""
    slow_module(tmp_path)
    port = redis.connection_pool.connection_kwargs["port"]
    (tmp_path / "app.py").write_text(
        "from redis import Redis\nfrom rqk import Worker\nfrom rqk.worker import supervisor\n"
        "supervisor._HEAR_S = 0.3\n"
        f"Worker('q', connection=Redis(port={port}), metrics=False, preload=['slow_module']).work(burst=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        env=user_environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert "in which the preload was not over; how it went is not known" in done.stdout + done.stderr


@pytest.mark.parametrize("waiting", [0, 2])
def test_a_limit_under_which_no_job_could_run_is_told_and_no_job_is_lost(
    redis: Client, start_worker: StartWorker, waiting: int
) -> None:
    made = [Queue(connection=redis).enqueue(jobs.add, number) for number in range(waiting)]
    worker = start_worker("default", options=["--burst", "--job-memory-limit", "1Mi"], ready=False)
    assert worker.wait() == 2
    assert worker.log.count("the job memory limit of 1048576 bytes is below the") == 1
    assert redis.lrange("rq:queue:default", 0, -1) == [job.id.encode() for job in made]
    assert {str(job.get_status()) for job in made} <= {"queued"}
