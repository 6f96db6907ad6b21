"""What the tests of whole workers share: a job that is held in its running state, and a look at what became of one."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis as redis_py

from rqk import Job, Queue
from tests.support import jobs
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

JOBS = "tests.worker.jobs_horse"
FEVERISH = ("--lease", "2", "--janitor", "0.3")
"""A worker that finds the dead within three seconds."""


@dataclass
class HeldJob:
    """A job that runs until its gate is opened, and the file in which it notes each run."""

    job: Job
    notes: Path
    gate: Path

    @property
    def runs(self) -> int:
        """How often it has begun."""
        return len(self.notes.read_text().split()) if self.notes.exists() else 0

    def open(self) -> None:
        """Let it end."""
        self.gate.touch()


def hold(client: redis_py.Redis, folder: Path, queue: str = "default", **options: Any) -> HeldJob:
    """Enqueue such a job."""
    notes, gate = folder / "held-notes", folder / "held-gate"
    job = Queue(queue, client).enqueue(jobs.note_and_wait, str(notes), "run", str(gate), **options)
    return HeldJob(job, notes, gate)


def running(client: redis_py.Redis, folder: Path, queue: str = "default", **options: Any) -> HeldJob:
    """Enqueue such a job and wait until a worker runs it."""
    held = hold(client, folder, queue, **options)
    wait_until(lambda: held.runs == 1, 20, "the job to begin")
    return held


def ended(job: Job, timeout: float = 20.0) -> str:
    """Wait until a job has finished, failed or was stopped; returns which."""
    wait_until(lambda: job.get_status() in ("finished", "failed", "stopped"), timeout, "the job to end")
    return str(job.get_status(refresh=False))


def state(client: redis_py.Redis, name: str, wanted: str, timeout: float = 10.0) -> None:
    """Wait until a worker says that it is in a state."""
    wait_until(lambda: client.hget(f"rq:worker:{name}", "state") == wanted.encode(), timeout, f"{name} to be {wanted}")


def waits(client: redis_py.Redis, worker: WorkerProcess, connections: int = 1) -> None:
    """Wait until a worker has its horse ready and blocks on its queues."""
    wait_until(
        lambda: bool(worker.horses) and int(client.info("clients")["blocked_clients"]) >= connections,
        20,
        "an idle worker",
    )


def listens(client: redis_py.Redis, name: str) -> None:
    """Wait until a worker hears commands."""
    channel = f"rq:pubsub:{name}"
    wait_until(lambda: dict(client.pubsub_numsub(channel))[channel.encode()], 10, "the worker to subscribe")


def order_of(notes: Path) -> list[str]:
    """The words that jobs have noted."""
    return notes.read_text().split() if notes.exists() else []


def get(url: str) -> tuple[int, str]:
    """Status and text of a page; (0, '') if nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def json_lines(worker: WorkerProcess, **wanted: Any) -> list[dict[str, Any]]:
    """Log lines (of a worker with --log-format json) that have these fields."""
    lines = [json.loads(line) for line in worker.log.splitlines()]
    return [line for line in lines if all(line.get(name) == value for name, value in wanted.items())]
