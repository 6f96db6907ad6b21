"""``rqk up``: manifests in, pools of processes out."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest
import redis as redis_py

from rqk import Queue
from tests.cli.conftest import Command, Process
from tests.support.jobs import add
from tests.support.waiting import wait_until
from tests.support.workers import ROOT, ProcessWithLog

POOL = """
apiVersion: rqk.dev/v1beta1
kind: RQWorkerPool
metadata: {{name: {name}}}
spec:
  queues: [{queue}]
  scaling: {{maxReplicas: 2, targetDepthPerWorker: 10}}
  worker: {{image: "example.com/x:1"}}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "pool.yaml"
    file.write_text(POOL.format(name="one", queue="default"))
    return file


def test_work_is_done_and_then_it_stops(
    manifest: Path, rqk_process: Process, redis: redis_py.Redis, redis_url: str
) -> None:
    jobs = [Queue(connection=redis).enqueue(add, number) for number in range(5)]
    said = rqk_process("up", "-f", str(manifest), "--url", redis_url, "--no-metrics", "--stop-when-idle", timeout=60)
    assert said.code == 0, said.err
    assert [job.return_value() for job in jobs] == [0, 1, 2, 3, 4]
    assert "5 jobs in" in said.out
    assert "at most 1 workers at a time" in said.out


def test_several_files_for_a_while(manifest: Path, tmp_path: Path, rqk_process: Process, redis_url: str) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(POOL.format(name="two", queue="low"))
    words = ("up", "-f", str(manifest), "-f", str(other), "--url", redis_url, "--for", "1s")
    said = rqk_process(*words)
    assert said.code == 0, said.err
    assert "0 jobs in" in said.out


def test_an_embedded_server_and_ctrl_c(manifest: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "rqk", "up", "-f", str(manifest), "--no-metrics"]
    up = ProcessWithLog(words, tmp_path / "up.log", cwd=ROOT)
    try:
        up.wait_for_log("enqueue there: RQ_REDIS_URL=")
        url = re.search(r"RQ_REDIS_URL=(\S+)", up.log)
        assert url is not None
        with redis_py.Redis.from_url(url[1]) as client:
            job = Queue(connection=client).enqueue(add, 1, 2)
            wait_until(lambda: job.get_status() == "finished", 30, "the job to end")
        up.signal(signal.SIGINT)
        assert up.wait() == 0
    finally:
        up.close()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Pod", "pool.yaml, document 1: this is a (no apiVersion) Pod"),
        (": : :", "pool.yaml, line 1: not YAML"),
        ("", "there is no pool in it"),
        (POOL.format(name="a", queue="q").replace("maxReplicas: 2", "maxReplica: 2"), "did you mean maxReplicas?"),
        (POOL.format(name="a", queue="q") + "---" + POOL.format(name="a", queue="q"), "each its own name"),
    ],
)
def test_a_bad_manifest(text: str, told: str, rqk: Command, tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text(text)
    said = rqk("up", "-f", str(file))
    assert said.code == 2
    assert told in said.err
    assert "Traceback" not in said.err


def test_a_pool_twice_in_two_files(manifest: Path, tmp_path: Path, rqk: Command) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(manifest.read_text())
    said = rqk("up", "-f", str(manifest), "-f", str(other))
    assert said.code == 2
    assert "other.yaml: a pool named 'one' stands in" in said.err


def test_a_file_that_is_not_text(tmp_path: Path, rqk: Command) -> None:
    file = tmp_path / "pool.yaml"
    file.write_bytes(b"\xff\xfe")
    said = rqk("up", "-f", str(file))
    assert (said.code, "it is not UTF-8 text" in said.err) == (2, True)


def test_a_redis_that_is_not_there(manifest: Path, rqk: Command) -> None:
    said = rqk("up", "-f", str(manifest), url="redis://127.0.0.1:1")
    assert said.code == 1
    assert "no usable answer from Redis at 127.0.0.1:1" in said.err


def test_a_pool_that_needs_a_cluster(rqk: Command) -> None:
    said = rqk("up", "-f", str(ROOT / "examples" / "pools" / "wordcount.yaml"), url=None)
    assert said.code == 2
    assert "here use --url URL or --embedded" in said.err
