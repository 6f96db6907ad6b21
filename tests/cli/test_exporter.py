"""``rqk exporter``: one target for a whole Redis."""

from __future__ import annotations

import re
import signal
import socket
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
import redis as redis_py

from rqk import Queue
from tests.cli.conftest import Command
from tests.support.jobs import add
from tests.support.workers import ROOT, ProcessWithLog


@pytest.mark.parametrize("words", [["--url", "{url}"], []], ids=["option", "rq-exporter's variable"])
def test_it_serves_until_it_is_told_to_stop(
    words: list[str], tmp_path: Path, redis: redis_py.Redis, redis_url: str
) -> None:
    Queue("high", redis).enqueue(add, 1)
    given = [word.format(url=redis_url) for word in words]
    command = [sys.executable, "-m", "rqk", "exporter", "--host", "127.0.0.1", "--port", "0", *given]
    env = (
        {} if words else {"RQ_REDIS_HOST": "127.0.0.1", "RQ_REDIS_PORT": redis_url.rsplit(":", 1)[1].removesuffix("/0")}
    )
    exporter = ProcessWithLog(command, tmp_path / "log", cwd=ROOT, env=env)
    try:
        exporter.wait_for_log("on port ")
        port = re.search(r"on port (\d+)", exporter.log)
        assert port is not None
        with urlopen(f"http://127.0.0.1:{port[1]}/metrics", timeout=5) as answer:
            assert 'rq_jobs{queue="high",status="queued"} 1.0' in answer.read().decode()
        exporter.signal(signal.SIGTERM)
        assert exporter.wait() == 0
    finally:
        exporter.close()


def test_a_port_that_is_taken_is_an_error(rqk: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = rqk("exporter", "--host", "127.0.0.1", "--port", str(taken.getsockname()[1]))
    assert said.code == 2
    assert "Traceback" not in said.err
    assert "in use" in said.err.lower()
