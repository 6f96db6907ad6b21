"""Real RQ beside the shared server, in both versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
import redis as redis_py

from rqk import Queue
from tests.conftest import StartWorker
from tests.support.realrq import VERSIONS, RealRq
from tests.support.server import Server
from tests.support.workers import ProcessWithLog


@pytest.fixture(scope="session", params=VERSIONS)
def rq_session(request: pytest.FixtureRequest, valkey: Server) -> Iterator[RealRq]:
    """One long-lived client process of a version of RQ."""
    with RealRq(str(request.param), valkey.url) as rq:
        yield rq


@pytest.fixture
def rq(rq_session: RealRq, redis: redis_py.Redis) -> RealRq:
    """Real RQ, in each version in turn, beside an empty database."""
    return rq_session


class StartRqWorker(Protocol):
    """Starts a worker of real RQ."""

    def __call__(self, *queues: str, options: tuple[str, ...] = ()) -> ProcessWithLog:
        """``options`` are words of RQ's command line."""


@pytest.fixture
def start_rq_worker(rq: RealRq, tmp_path: Path) -> Iterator[StartRqWorker]:
    """Workers of real RQ for one test, killed at its end if they still run."""
    started: list[ProcessWithLog] = []

    def start(*queues: str, options: tuple[str, ...] = ()) -> ProcessWithLog:
        worker = rq.worker(tmp_path / f"rq-worker-{len(started)}.log", *queues, options=options)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.close()


class OurBurst(Protocol):
    """Runs our worker until its queues are empty."""

    def __call__(self, *queues: str, options: tuple[str, ...] = ()) -> str:
        """Returns the log; an exit code other than 0 fails the test."""


@pytest.fixture
def our_burst(start_worker: StartWorker) -> OurBurst:
    """``rqk worker --burst`` to its end."""

    def run(*queues: str, options: tuple[str, ...] = ()) -> str:
        worker = start_worker(*(queues or ("default",)), options=["--burst", *options], ready=False)
        code = worker.wait(60)
        assert code == 0, f"exit code {code}:\n{worker.log}"
        return worker.log

    return run


@pytest.fixture
def queue(redis: redis_py.Redis) -> Queue:
    """Our queue ``default``."""
    return Queue(connection=redis)
