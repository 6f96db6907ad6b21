"""A job's way, and something dies at each of its steps: before a request reaches Redis, or before its answer comes back.

All traffic of the worker passes a proxy, which counts the pieces. At the chosen one it kills a process of the worker or
cuts its connections. Whatever is left must be put right by the next worker.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import redis as redis_py

from rqk import Queue
from tests.chaos.accounting import assert_each_in_one_place, count_words, places
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

STEPS = 8
"""More pieces than two jobs need from an idle worker; where the last ones never come, nothing dies and all is well."""
JOBS = 2
OPTIONS = ["--lease", "1", "--abandoned", "requeue"]


class Trap:
    """Does something at the n-th piece in one direction, counted from ``set``."""

    def __init__(self, proxy: Proxy) -> None:
        self._lock = threading.Lock()
        self._left = 0
        self._before = True
        self._action: Callable[[], None] = lambda: None
        self.sprung = 0
        proxy.before = lambda piece: self._count(True)
        proxy.after = lambda piece: self._count(False)

    def set(self, at: int, before: bool, action: Callable[[], None]) -> None:
        """Arm: ``action`` runs in the proxy's thread, while the piece is held back."""
        with self._lock:
            self._left, self._before, self._action = at, before, action

    def clear(self) -> None:
        """Disarm."""
        with self._lock:
            self._left = 0

    def _count(self, before: bool) -> None:
        with self._lock:
            if self._left == 0 or before is not self._before:
                return
            self._left -= 1
            fire = self._left == 0
            action = self._action
        if fire:
            self.sprung += 1
            action()


def kill(processes: list[psutil.Process]) -> None:
    """SIGKILL, and wait until the kernel has done it."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def victims(worker: WorkerProcess, kind: str) -> list[psutil.Process]:
    """The processes of one kind."""
    if kind == "supervisor":
        return [psutil.Process(worker.pid)]
    zygote = worker.zygote
    if kind == "zygote":
        return [zygote] if zygote is not None else []
    return worker.horses


def all_ended(redis: redis_py.Redis, ids: list[str]) -> bool:
    """Whether each of the jobs is in an end registry."""
    return all(place.places in (("finished",), ("failed",)) for place in places(redis, ["default"], ids).values())


@pytest.mark.parametrize("before", [True, False], ids=["before the request", "before the answer"])
@pytest.mark.parametrize("kind", ["supervisor", "zygote", "horse"])
def test_a_process_dies_at_each_step(
    redis: redis_py.Redis, proxy: Proxy, start_worker: StartWorker, tmp_path: Path, kind: str, before: bool
) -> None:
    notes = tmp_path / "notes"
    queue = Queue(connection=redis)
    trap = Trap(proxy)
    worker = start_worker("default", url=proxy.url, options=OPTIONS)
    failed = Counter[int]()

    def ready() -> bool:
        nonlocal worker
        if not worker.alive:
            worker = start_worker("default", url=proxy.url, options=OPTIONS, ready=False)
        return waits(redis, worker)

    for step in range(1, STEPS + 1):
        wait_until(ready, 20, "an idle worker")
        # What belongs to the worker is looked up before it is needed, so that nothing but the kill happens at the step.
        doomed = victims(worker, kind)
        trap.set(step, before, lambda doomed=doomed: kill(doomed))  # type: ignore[misc]
        ids = [queue.enqueue(jobs.note_twice, str(notes)).id for _ in range(JOBS)]

        def settled(ids: list[str] = ids) -> bool:
            ready()
            assert_each_in_one_place(redis, ["default"], ids)
            return all_ended(redis, ids)

        wait_until(settled, 40, f"all jobs to end after step {step}", every=0.05)
        trap.clear()
        failed[step] = sum(place.status == "failed" for place in places(redis, ["default"], ids).values())
    assert trap.sprung >= 3, "the worker's way has fewer steps than it can have"
    runs = count_words(notes)
    for word, times in runs.items():
        # A supervisor's death repeats the job it had in hand; a horse's death is the job's own failure.
        assert times <= (2 if kind == "supervisor" else 1), f"{word} {times} times"
    if kind == "supervisor":
        assert not failed.total(), f"an innocent job failed: {failed}"
    else:
        assert max(failed.values()) <= 1, f"one death failed several jobs: {failed}"


def waits(redis: redis_py.Redis, worker: WorkerProcess) -> bool:
    """Whether the only live worker has said that it is idle and its process has its horse ready."""
    states = [redis.hget(key, "state") for key in redis.scan_iter("rq:worker:*") if redis.type(key) == b"hash"]
    blocked = int(redis.info("clients")["blocked_clients"])
    return b"idle" in states and blocked > 0 and worker.alive and bool(worker.horses)


@pytest.mark.parametrize("before", [True, False], ids=["before the request", "before the answer"])
def test_the_connections_are_cut_at_each_step(
    redis: redis_py.Redis, proxy: Proxy, start_worker: StartWorker, tmp_path: Path, before: bool
) -> None:
    notes = tmp_path / "notes"
    queue = Queue(connection=redis)
    trap = Trap(proxy)
    worker = start_worker("default", url=proxy.url, options=["--lease", "2"])
    for step in range(1, STEPS + 1):
        wait_until(lambda: waits(redis, worker), 20, "an idle worker")
        trap.set(step, before, proxy.cut)
        ids = [queue.enqueue(jobs.note_twice, str(notes)).id for _ in range(JOBS)]
        wait_until(lambda ids=ids: all_ended(redis, ids), 40, f"all jobs to end after step {step}")  # type: ignore[misc]
        trap.clear()
        statuses = {place.status for place in places(redis, ["default"], ids).values()}
        assert statuses == {"finished"}, f"step {step}: {statuses}\n{worker.log[-2000:]}"
        assert worker.alive
    assert trap.sprung >= 3
    assert set(count_words(notes).values()) == {1}, "a lost connection repeats nothing"
