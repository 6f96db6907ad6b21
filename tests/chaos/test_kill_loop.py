"""A fleet at work while something kills a random process of ours every 100 ms: every job is accounted for."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import redis as redis_py

from rqk import Queue
from tests.chaos.accounting import assert_each_in_one_place, count_words, places
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

QUEUES = ("high", "default", "low")
WORKERS = 4
KILL_EVERY_S = 0.1
LEASE_S = 2
MOST_DELIVERIES = 3
"""The worker's own limit: a job that so many workers died with fails."""

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


class Fleet:
    """Workers that are replaced when they die, and a thread that kills their processes."""

    def __init__(self, start_worker: StartWorker, options: list[str], seed: int) -> None:
        self._start_worker, self._options = start_worker, options
        self._random = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.workers: list[WorkerProcess] = [self._start() for _ in range(WORKERS)]
        self._calm = threading.Event()
        self._killer = threading.Thread(target=self._kill_on, daemon=True)

    def _start(self) -> WorkerProcess:
        return self._start_worker(*QUEUES, options=self._options, ready=False)

    def begin(self) -> None:
        """Let the killing begin."""
        self._killer.start()

    def replace_dead(self) -> None:
        """Start a worker for each that died."""
        for index, worker in enumerate(self.workers):
            if not worker.alive:
                self.workers[index] = self._start()

    def calm(self) -> None:
        """End the killing."""
        self._calm.set()
        if self._killer.is_alive():
            self._killer.join()

    def _victims(self) -> dict[str, list[int]]:
        """Process ids by kind, of workers that have got as far as their zygote: one that still imports has nothing to lose."""
        found: dict[str, list[int]] = {}
        for worker in list(self.workers):
            if not worker.alive:
                continue
            with suppress(psutil.NoSuchProcess):
                for zygote in psutil.Process(worker.pid).children():
                    found.setdefault("supervisor", []).append(worker.pid)
                    found.setdefault("zygote", []).append(zygote.pid)
                    for horse in zygote.children():
                        found.setdefault("horse", []).append(horse.pid)
        return found

    def _kill_on(self) -> None:
        while not self._calm.wait(KILL_EVERY_S):
            victims = self._victims()
            if victims:
                # The kind first: there is one supervisor to several horses, and its death costs the most.
                kind = self._random.choice(sorted(victims))
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(self._random.choice(victims[kind])).send_signal(signal.SIGKILL)
                    self.kills[kind] += 1


def ended(redis: redis_py.Redis) -> int:
    """How many jobs are in an end registry."""
    return sum(int(redis.zcard(f"rq:{registry}:{name}")) for registry in ("finished", "failed") for name in QUEUES)


@pytest.mark.parametrize(
    ("count", "policy", "seed", "more"),
    [
        pytest.param(2000, "requeue", 20261123, [], id="requeue"),
        pytest.param(400, "fail", 4, [], id="fail"),
        pytest.param(1500, "requeue", 7, ["--recycle-after", "500"], id="requeue, recycled"),
        pytest.param(1500, "fail", 8, ["--recycle-after", "500"], id="fail, recycled"),
    ],
)
def test_no_job_is_lost_or_run_beyond_the_policy(
    redis: redis_py.Redis,
    start_worker: StartWorker,
    tmp_path: Path,
    count: int,
    policy: str,
    seed: int,
    more: list[str],
) -> None:
    notes = tmp_path / "notes"
    queues = [Queue(name, connection=redis) for name in QUEUES]
    ids = [queue.enqueue(jobs.note_twice, str(notes)).id for number in range(count) for queue in [queues[number % 3]]]
    fleet = Fleet(start_worker, ["--abandoned", policy, "--lease", str(LEASE_S), *more], seed)
    fleet.begin()
    began = time.monotonic()

    def done() -> bool:
        fleet.replace_dead()
        # The law of one place holds at every instant, so it is looked at now and then while all this goes on.
        assert_each_in_one_place(redis, QUEUES, ids)
        return ended(redis) == count

    try:
        wait_until(done, 600, f"{count} jobs to end", every=0.25)
    finally:
        fleet.calm()
    seconds = time.monotonic() - began
    for worker in fleet.workers:
        worker.close()

    where = places(redis, QUEUES, ids)
    begun, completed = Counter[str](), Counter[str]()
    for word, times in count_words(notes).items():
        kind, _, job_id = word.partition(":")
        (begun if kind == "begin" else completed)[job_id] += times
    statuses = Counter(place.status for place in where.values())
    told = f"{dict(fleet.kills)} killed in {seconds:.0f} s, {dict(statuses)}, {begun.total()} attempts"
    print(told)

    assert all(place.is_consistent for place in where.values()), told
    assert sum(fleet.kills.values()) > 20, told
    not_done = [job_id for job_id, place in where.items() if place.status == "finished" and not completed[job_id]]
    assert not not_done, f"finished without having run: {not_done[:5]} ({told})"
    extra = begun.total() - len(begun)
    if policy == "fail":
        assert extra == 0, f"{extra} attempts too many ({told})"
    else:
        # Each further attempt was caused by a death; nothing runs twice by itself.
        assert extra <= sum(fleet.kills.values()), told
        assert max(begun.values()) <= MOST_DELIVERIES, told
    # Only a killed horse or (under "fail") a killed worker may fail a job, and each kill at most one.
    assert statuses["failed"] <= sum(fleet.kills.values()), told
    assert statuses["finished"] + statuses["failed"] == count, told
