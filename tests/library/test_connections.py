"""Which Redis a bare Queue() means, and what importing the library costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py

import rqk
from rqk import Job, Queue, connections, use_connection
from tests.support.jobs import add
from tests.support.workers import ROOT, user_environment

Client = redis_py.Redis


@pytest.fixture(autouse=True)
def no_default() -> Iterator[None]:
    """Each test begins and ends without a default connection."""
    connections._current.connection = None
    yield
    connections._current.connection = None


def test_the_default_connection(redis: Client) -> None:
    assert use_connection(redis) is redis
    job = Queue().enqueue(add, 1)
    assert redis.exists(f"rq:job:{job.id}")
    assert Job.fetch(job.id).id == job.id


def test_a_url_will_do(redis: Client, redis_url: str) -> None:
    use_connection(redis_url)
    assert redis.exists(f"rq:job:{Queue().enqueue(add, 1).id}")


def test_what_is_no_connection_is_refused() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match=r"use_connection takes a redis\.Redis client or a URL, not 5"):
        use_connection(wrong)


@pytest.mark.parametrize("variable", ["RQ_REDIS_URL", "REDIS_URL"])
def test_the_environment(redis: Client, redis_url: str, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, redis_url)
    assert redis.exists(f"rq:job:{Queue().enqueue(add, 1).id}")


def test_without_anything_it_is_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    kwargs = Queue().connection.connection_pool.connection_kwargs
    assert (kwargs["host"], kwargs.get("port", 6379)) == ("localhost", 6379)


def test_a_given_connection_wins(redis: Client, redis_url: str) -> None:
    use_connection("redis://127.0.0.1:1")
    assert Queue(connection=redis).enqueue(add, 1).get_status() == "queued"


def modules_after(code: str) -> set[str]:
    """What a fresh interpreter has imported after running the code."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env=user_environment(),
        cwd=ROOT,
    )
    return set(told.stdout.split())


def test_importing_the_library_is_cheap() -> None:
    loaded = modules_after("import rqk; rqk.__version__; dir(rqk)")
    dear = {"redis", "asyncio", "json", "click", "rich", "prometheus_client", "croniter", "pydantic", "yaml", "logging"}
    assert not loaded & dear
    assert [name for name in loaded if name.startswith("rqk")] and len(loaded) < 120


def test_a_producer_loads_no_worker() -> None:
    loaded = modules_after("from rqk import Queue, Retry")
    assert "redis" in loaded
    assert not [
        name for name in loaded if name.startswith(("rqk.worker", "rqk.metrics", "rqk.cli", "prometheus_client"))
    ]


def test_public_names() -> None:
    assert set(rqk.__all__) <= set(dir(rqk))
    for name in rqk.__all__:
        assert getattr(rqk, name) is not None
    with pytest.raises(AttributeError, match="module 'rqk' has no attribute 'Nothing'"):
        _ = rqk.Nothing
