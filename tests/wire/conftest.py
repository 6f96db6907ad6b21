"""Real RQ beside the shared server, in both versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
import redis as redis_py

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
