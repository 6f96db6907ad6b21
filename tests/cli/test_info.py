"""``rqk info`` beside a real server, and beside ``rq info``."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
import redis as redis_py

from rqk import Queue
from tests.cli.conftest import Command, Process
from tests.conftest import StartWorker
from tests.support.jobs import add
from tests.support.realrq import VERSIONS, RealRq
from tests.support.waiting import wait_until
from tests.support.workers import ROOT, user_environment


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "words", [("--raw",), ("--raw", "-Q"), ("--raw", "-W"), ("--raw", "-R"), ("-Q",), ("-R", "-W")], ids=" ".join
)
def test_lines_are_those_of_rq(
    version: str, words: tuple[str, ...], rqk: Command, redis: redis_py.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    for name, count in {"high": 20, "two words": 3, "a:b": 0, "done": 1}.items():
        queue = Queue(name, redis)
        for _ in range(count):
            queue.enqueue(add, 1)
    Queue("a:b", redis).enqueue(add, 1)
    Queue("a:b", redis).empty()
    worker = start_worker("done", "idle queue", options=["--name", "ours"])
    wait_until(lambda: Queue("done", redis).finished_job_registry.count, what="the job to end")
    Queue("idle queue", redis).enqueue(add, 1)
    wait_until(lambda: Queue("idle queue", redis).finished_job_registry.count, what="the job to end")
    worker.wait_for_log("Job OK", times=2)
    with RealRq(version, redis_url) as rq:
        theirs = rq.cli("info", *words).stdout.splitlines()
    ours = rqk("info", *words).out.splitlines()
    assert sorted(ours) == sorted(theirs)


def test_it_shows_queues_by_name_even_if_they_are_empty(rqk: Command, redis: redis_py.Redis) -> None:
    Queue("high", redis).enqueue(add, 1)
    said = rqk("info", "nothing here", "high")
    assert said.code == 0
    assert [line.split("|")[0].strip() for line in said.out.splitlines()[:2]] == ["nothing here", "high"]
    assert "2 queues, 1 jobs total" in said.out


def test_it_changes_nothing(rqk: Command, redis: redis_py.Redis) -> None:
    redis.sadd("rq:queues", "rq:queue:q")
    redis.zadd("rq:finished:q", {"expired": 1})
    redis.sadd("rq:workers", "rq:worker:gone")
    before = {key: redis.dump(key) for key in redis.keys("*")}
    for words in ((), ("--raw",), ("--json",), ("-R",), ("q", "other")):
        assert rqk("info", *words).code == 0
    assert {key: redis.dump(key) for key in redis.keys("*")} == before


def test_json(rqk: Command, redis: redis_py.Redis, start_worker: StartWorker) -> None:
    start_worker("high", options=["--name", "w1"])
    Queue("low", redis).enqueue(add, 1)
    told = json.loads(rqk("info", "--json").out)
    assert told["suspended"] is False
    assert [(queue["name"], queue["queued"]) for queue in told["queues"]] == [("low", 1)]
    assert [(worker["name"], worker["queues"]) for worker in told["workers"]] == [("w1", ["high"])]
    assert json.loads(rqk("info", "--json", "nope").out)["workers"] == []


def test_a_queue_that_cannot_be_read_is_named(rqk: Command, redis: redis_py.Redis) -> None:
    redis.sadd("rq:queues", "rq:queue:odd")
    redis.set("rq:queue:odd", "no list")
    assert "queue odd cannot be read: rq:queue:odd of queue 'odd' is a string and should be a list" in rqk("info").out
    assert "odd" in json.loads(rqk("info", "--json").out)["unreadable"]


def test_a_pipe_gets_plain_text(rqk: Command, redis: redis_py.Redis, rqk_process: Process, redis_url: str) -> None:
    Queue("high", redis).enqueue(add, 1)
    assert "\x1b" not in rqk("info").out
    said = rqk_process("info", "--url", redis_url, env={"PYTHONIOENCODING": "ascii"})
    assert said.code == 0
    assert said.out.startswith("high         |# 1, ")


def on_a_terminal(*words: str, seconds: float = 8.0, until: bytes = b"", **env: str) -> tuple[bytes, int]:
    """What ``rqk`` writes to a terminal until it has written ``until`` and is interrupted, and its exit code."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rqk", *words],
        stdin=side,
        stdout=side,
        stderr=side,
        env=user_environment({"TERM": "xterm", "COLUMNS": "100", **env}),
        cwd=ROOT,
    )
    os.close(side)
    seen, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            seen += os.read(main, 65_536)
        except OSError:  # the other end is closed
            break
        if until and until in seen and process.poll() is None:
            process.send_signal(signal.SIGINT)
            until = b""
    process.wait(10)
    os.close(main)
    return seen, process.returncode


def test_a_terminal_gets_colours_unless_told_otherwise(redis: redis_py.Redis, redis_url: str) -> None:
    Queue("high", redis).enqueue(add, 1)
    drawn, code = on_a_terminal("info", "--url", redis_url)
    assert code == 0
    assert b"\x1b[34m" in drawn
    drawn, code = on_a_terminal("info", "--url", redis_url, NO_COLOR="1")
    assert b"\x1b[34m" not in drawn


def test_an_interval_redraws_in_place_until_interrupted(redis: redis_py.Redis, redis_url: str) -> None:
    Queue("high", redis).enqueue(add, 1)
    up = b"\x1b[1A"  # the cursor goes up: drawn over what stood there
    drawn, code = on_a_terminal("info", "--interval", "0.1", "--url", redis_url, until=up, seconds=15)
    assert code == 130
    assert drawn.count(b"high") >= 2
    assert b"Traceback" not in drawn
