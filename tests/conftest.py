"""Fixtures for every tier: one real Valkey for the run, servers and proxies for a single test, worker processes.

Two laws of the system hold for every test by themselves: no process is left behind, and (where ``settled`` is used)
no job is left between two places.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest
import redis as redis_py

from tests.support.examples import register_profiles
from tests.support.processes import adopt_orphans, children, describe, is_running, reap
from tests.support.proxy import Proxy
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

pytest_plugins = ["pytester"]
register_profiles()


def pytest_configure(config: pytest.Config) -> None:
    """Become the parent of orphans, so that a leaked horse is found, and forget the caller's own queue settings."""
    adopt_orphans()
    for name in [name for name in os.environ if name.startswith(("RQ_", "RQK_", "REDIS_"))]:
        del os.environ[name]


@pytest.fixture(scope="session")
def valkey() -> Iterator[Server]:
    """The server that most tests share; each starts with an empty database."""
    with Server() as server:
        yield server


@pytest.fixture
def redis(valkey: Server) -> Iterator[redis_py.Redis]:
    """A client of the shared server, whose database is empty at the start of the test."""
    with valkey.client() as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.fixture
def redis_url(valkey: Server, redis: redis_py.Redis) -> str:
    """The URL of the shared, empty server."""
    return valkey.url


class MakeServer(Protocol):
    """Starts a server of the test's own."""

    def __call__(self, *, persistent: bool = False, **options: str) -> Server:
        """``persistent`` keeps the data over a restart; ``options`` are directives, ``_`` for ``-``."""


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """Servers for one test, closed at its end."""
    with contextlib.ExitStack() as stack:

        def make(*, persistent: bool = False, **options: str) -> Server:
            directives = {name.replace("_", "-"): value for name, value in options.items()}
            return stack.enter_context(Server(persistent=persistent, options=directives))

        yield make


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    """A server of the test's own that keeps its data over a restart: to stop, kill, pause and reconfigure."""
    return make_server(persistent=True)


MakeProxy = Callable[[int], Proxy]


@pytest.fixture
def make_proxy() -> Iterator[MakeProxy]:
    """Proxies to a port of this machine, closed at the test's end."""
    with contextlib.ExitStack() as stack:
        yield lambda port: stack.enter_context(Proxy("127.0.0.1", port))


@pytest.fixture
def proxy(make_proxy: MakeProxy, valkey: Server, redis: redis_py.Redis) -> Proxy:
    """A proxy in front of the shared, empty server."""
    return make_proxy(valkey.port)


class StartWorker(Protocol):
    """Starts ``rqk worker`` and, unless told otherwise, waits until it listens."""

    def __call__(
        self, *queues: str, url: str | None = None, options: Sequence[str] = (), ready: bool = True, **env: str
    ) -> WorkerProcess:
        """``url`` defaults to the shared server; ``options`` are command line words; ``env`` is added."""


@pytest.fixture
def start_worker(tmp_path: Path, redis_url: str) -> Iterator[StartWorker]:
    """Worker processes of ours for one test, killed at its end if they still run."""
    started: list[WorkerProcess] = []

    def start(
        *queues: str, url: str | None = None, options: Sequence[str] = (), ready: bool = True, **env: str
    ) -> WorkerProcess:
        # A worker of a test serves no metrics unless the test asks, so that workers do not compete for a port.
        words = list(options) if any(word.startswith("--metrics") for word in options) else [*options, "--no-metrics"]
        worker = WorkerProcess(
            url or redis_url, tmp_path / f"worker-{len(started)}.log", *queues, options=words, env=env
        )
        started.append(worker)
        return worker.wait_ready() if ready else worker

    yield start
    for worker in started:
        worker.close()


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """A law: whatever a test starts is gone when it ends, grandchildren of killed processes included."""
    before = children()
    yield

    def left() -> set[int]:
        new = children() - before
        for pid in new:
            if not is_running(pid):
                reap(pid)
        return {pid for pid in new if is_running(pid)}

    try:
        wait_until(lambda: not left(), 5.0, "every process of the test to end")
    except AssertionError:
        leaked = sorted(left())
        told = "\n".join(describe(pid) for pid in leaked)
        for pid in leaked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pytest.fail(f"processes left behind by this test:\n{told}")


@pytest.fixture
def settled(redis: redis_py.Redis) -> Iterator[None]:
    """A law for tests that run jobs to their end: no lease, execution or intermediate entry is left."""
    yield
    patterns = ("rq:wip:*", "rq:executions:*", "rq:execution:*", "rq:queue:*:intermediate")
    left = [key for pattern in patterns for key in redis.scan_iter(pattern)]
    assert not left, f"left between two places: {left}"
