"""What is measured, one function each. All take a running, otherwise idle server."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.sides import QUEUE, Side
from tests.support.server import Server

POLL_SECONDS = 0.004
PARKED = "bench:parked"
RUN_SECONDS = 120.0


@dataclass(frozen=True)
class Throughput:
    """One run of a worker over a prepared queue."""

    jobs_per_second: float
    round_trips: float
    """Reads the server made from client sockets, a job; the poller's own are subtracted."""
    commands: float
    """Commands the server carried out, a job, those inside scripts included."""
    pss_mib: float
    """Proportional memory of the worker's processes after the run, MiB."""


@dataclass(frozen=True)
class Idle:
    """What an idle worker costs."""

    cpu_percent: float
    commands_per_second: float
    pss_mib: float


def _stats(client: Any) -> tuple[int, int]:
    stats = client.info("stats")
    return stats["total_reads_processed"], stats["total_commands_processed"]


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _pss_mib(pid: int) -> float:
    total = 0
    for process in _tree(pid):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:  # a horse that just ended
            continue
    return float(total) / (1 << 20)


def _cpu_seconds(pid: int) -> float:
    total = 0.0
    for process in _tree(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def throughput(server: Server, side: Side, jobs: int) -> Throughput:
    """Jobs a second: the worker waits on its queue, then the whole queue appears at once.

    The jobs are enqueued before, by the same side, and parked under another name; renaming a list wakes the worker.
    """
    with server.client() as connection:
        client: Any = connection
        client.flushall()
        side.produce(server.url, "many", jobs)
        client.rename(f"rq:queue:{QUEUE}", PARKED)
        with side.worker(server.url) as worker:
            wait_idle(client)
            finished = f"rq:finished:{QUEUE}"
            reads, commands = _stats(client)
            polls = 0
            began = time.perf_counter()
            client.rename(PARKED, f"rq:queue:{QUEUE}")
            while client.zcard(finished) < jobs:
                polls += 1
                if time.perf_counter() - began > RUN_SECONDS:
                    raise RuntimeError(f"{side.name}: not done in {RUN_SECONDS:g} s:\n{worker.log[-2000:]}")
                time.sleep(POLL_SECONDS)
            seconds = time.perf_counter() - began
            reads_after, commands_after = _stats(client)
            own = polls + 3  # the last poll, the rename and one INFO
            return Throughput(
                jobs / seconds,
                (reads_after - reads - own) / jobs,
                (commands_after - commands - own) / jobs,
                _pss_mib(worker.pid),
            )


def enqueue_rates(server: Server, side: Side, count: int) -> tuple[float, float]:
    """Jobs a second by ``enqueue`` one by one, and by ``enqueue_many``."""
    with server.client() as client:
        client.flushall()
        one = count / float(side.produce(server.url, "one", count))
        client.flushall()
        many = count / float(side.produce(server.url, "many", count))
        client.flushall()
    return one, many


def latencies(server: Server, side: Side, count: int) -> list[float]:
    """Seconds from enqueue to result on an idle worker, one job at a time."""
    with server.client() as client:
        client.flushall()
        with side.worker(server.url):
            wait_idle(client)
            return [float(wait) for wait in side.produce(server.url, "latency", count)]


def idle(server: Server, side: Side, seconds: float, queues: int) -> Idle:
    """What waiting costs, over ``seconds``, on this many queues."""
    with server.client() as client:
        client.flushall()
        with side.worker(server.url, *(f"idle{number}" for number in range(queues))) as worker:
            wait_idle(client)
            _, commands = _stats(client)
            cpu, began = _cpu_seconds(worker.pid), time.perf_counter()
            time.sleep(seconds)  # the length of the observation, not a wait for anything
            _, commands_after = _stats(client)
            passed = time.perf_counter() - began
            return Idle(
                100 * (_cpu_seconds(worker.pid) - cpu) / passed,
                (commands_after - commands - 1) / passed,
                _pss_mib(worker.pid),
            )


def wait_idle(client: Any, timeout: float = 20.0) -> None:
    """Wait until the only worker says it is idle and all its connections have been quiet for a moment."""
    deadline = time.monotonic() + timeout
    quiet = 0
    before = -1
    while quiet < 5:
        states = [client.hget(key, "state") for key in client.smembers("rq:workers")]
        _, commands = _stats(client)
        # Besides ours: the members, the state and the statistics themselves.
        quiet = quiet + 1 if states == [b"idle"] and commands - before <= 3 else 0
        before = commands
        if time.monotonic() > deadline:
            raise RuntimeError(f"no idle worker within {timeout:g} s: {states}")
        time.sleep(0.05)
