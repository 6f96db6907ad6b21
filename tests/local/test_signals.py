"""How ``rqk up`` ends: asked once, asked twice, and killed; nothing of it stays behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from rqk import Queue
from rqk.store.connect import connect
from tests.local.pools import pool
from tests.support import jobs
from tests.support.processes import is_running
from tests.support.waiting import wait_until
from tests.support.workers import ROOT, user_environment


class Running:
    """The driver in a process of its own."""

    def __init__(self, directory: Path, url: str | None) -> None:
        file = directory / "pool.yaml"
        file.write_text(yaml.safe_dump(pool(url=url, least=1).manifest()))
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.local.driver", str(file)],
                stdout=subprocess.PIPE, stderr=log, env=user_environment(), cwd=ROOT,
            )  # fmt: skip
        assert self.process.stdout is not None
        self.url: str = json.loads(self.process.stdout.readline())["words"]
        self.client = connect(self.url)
        self.queue = Queue(connection=self.client)

    def below(self) -> list[psutil.Process]:
        return [child for child in psutil.Process(self.process.pid).children(recursive=True) if is_running(child.pid)]

    def close(self) -> None:
        below = self.below() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for process in below:
            wait_until(lambda process=process: not is_running(process.pid), 20, "the end of a child")  # type: ignore[misc]
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.client.close()


@pytest.fixture(params=["embedded", "named"])
def up(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[Running]:
    running = Running(tmp_path, redis_url if request.param == "named" else None)
    yield running
    running.close()


def hold(up: Running, directory: Path) -> Path:
    """A job that has begun and runs until the gate file exists."""
    gate, notes = directory / "gate", directory / "notes"
    up.queue.enqueue(jobs.note_and_wait, str(notes), "begun", str(gate), job_id="held")
    wait_until(notes.exists, 30, "the job's beginning")
    return gate


def test_asked_once_the_job_in_hand_is_finished(up: Running, tmp_path: Path) -> None:
    gate = hold(up, tmp_path)
    below = up.below()
    up.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "workers finish their jobs" in up.log.read_text(), 10, "the answer")
    assert up.process.poll() is None
    gate.touch()
    assert up.process.wait(30) == 0
    assert "1 jobs in" in up.log.read_text()
    assert not [process for process in below if is_running(process.pid)]


def test_asked_twice_the_job_goes_back_to_its_queue(tmp_path: Path, redis_url: str) -> None:
    up = Running(tmp_path, redis_url)
    try:
        hold(up, tmp_path)
        up.process.send_signal(signal.SIGINT)
        wait_until(lambda: "Warm shut down" in up.log.read_text(), 10, "the worker's answer")
        # Within a second of the first it would count as the same request, as with RQ.
        wait_until(lambda: send_until_cold(up), 10, "the second answer", every=1.2)
        assert up.process.wait(30) == 0
        assert up.queue.job_ids == ["held"]
    finally:
        up.close()


def send_until_cold(up: Running) -> bool:
    if up.process.poll() is None:
        up.process.send_signal(signal.SIGINT)
    return "asked again" in up.log.read_text()


def test_killed_it_takes_everything_along(up: Running, tmp_path: Path) -> None:
    gate = hold(up, tmp_path)
    below = up.below()
    assert len(below) >= 3  # supervisor, zygote, horse
    up.process.kill()
    up.process.wait()
    gate.touch()
    wait_until(lambda: not [process for process in below if is_running(process.pid)], 30, "the end of all children")
