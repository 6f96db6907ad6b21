"""The two sides of the comparison: how each starts a worker and runs the producer."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.realrq import rq_python
from tests.support.workers import ROOT, WORKER_COMMAND, ProcessWithLog, user_environment

QUEUE = "bench"
JOBS = "benchmarks.jobs"


@dataclass(frozen=True)
class Side:
    """One implementation in one mode. ``command`` precedes the queue names, ``options`` follow them."""

    name: str
    python: str
    module: str
    command: tuple[str, ...]
    options: tuple[str, ...] = ()

    def produce(self, url: str, what: str, count: int, queue: str = QUEUE) -> Any:
        """Run the producer (benchmarks/client.py) and return what it measured."""
        done = subprocess.run(
            [self.python, "-m", "benchmarks.client", self.module, url, queue, what, str(count)],
            capture_output=True,
            text=True,
            env=user_environment(),
            cwd=ROOT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the producer of {self.name} failed:\n{done.stderr}")
        return json.loads(done.stdout)

    @contextmanager
    def worker(self, url: str, *queues: str) -> Iterator[ProcessWithLog]:
        """A worker that listens, until the block ends."""
        with tempfile.TemporaryDirectory() as directory:
            words = [*self.command, "--url", url, *self.options, *(queues or (QUEUE,))]
            process = ProcessWithLog(words, Path(directory) / "log")
            try:
                process.wait_for_log("Listening on")
                yield process
            finally:
                process.close()


def rqk_side(name: str, *options: str) -> Side:
    """Our worker, without its metrics endpoint as the other side is; the job's module is imported once."""
    python = sys.executable
    return Side(name, python, "rqk", tuple(WORKER_COMMAND), ("--no-metrics", "--preload", JOBS, *options))


def rq_side(version: str, name: str, *options: str) -> Side:
    """A worker class of real RQ, the job's module imported once too. A log line a job is suppressed on neither side."""
    python = rq_python(version)
    return Side(
        name, str(python), "rq", (str(python.parent / "rq"), "worker"), ("--config", "benchmarks.rq_settings", *options)
    )


def all_sides(version: str) -> dict[str, Side]:
    """Forking and in-process, ours and RQ's."""
    return {
        "rqk forked": rqk_side("rqk worker"),
        "rqk recycled": rqk_side("rqk worker --recycle-after 100000", "--recycle-after", "100000"),
        "rq forked": rq_side(version, "rq Worker"),
        "rq simple": rq_side(version, "rq SimpleWorker", "--worker-class", "rq.worker.SimpleWorker"),
    }
