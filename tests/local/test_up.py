"""Pools as processes: real workers, a real server, from zero to many and back."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rqk import Queue
from rqk.autoscale.manifest import parse_pool
from rqk.autoscale.model import Pool
from rqk.autoscale.retire import Duty
from rqk.errors import BadPool, StoreUnavailable
from rqk.local.state import UpState
from rqk.local.up import Up, run
from rqk.store.connect import connect
from tests.local.pools import pool
from tests.support import jobs
from tests.support.server import Server

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def our_code_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers import the jobs' module, as a user's workers import the user's code."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))


@contextmanager
def queue_at(url: str, name: str = "default") -> Iterator[Queue]:
    with connect(url) as client:
        yield Queue(name, connection=client)


def until(up: Up, holds: Callable[[UpState], object], what: str) -> UpState:
    """Ticks until the state is as wished."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        state = up.tick()
        if holds(state):
            return state
        assert time.monotonic() < deadline, f"waited in vain for {what}; last seen: {state}"
        up.wait(time.monotonic() + 0.1)


def duties(state: UpState, duty: Duty) -> int:
    return sum(worker.duty is duty for pool in state.pools for worker in pool.workers)


def test_from_zero_to_many_and_back_on_a_server_of_its_own() -> None:
    seen: list[UpState] = []

    def begin(urls: object) -> None:
        assert isinstance(urls, dict)
        with queue_at(urls["words"]) as queue:
            for number in range(20):
                queue.enqueue(jobs.add, number, 1)
            queue.enqueue(jobs.fail)

    def done(state: UpState) -> bool:
        seen.append(state)
        return state.summary.jobs == 21 and state.at_rest

    summary = run([pool(depth=5, most=3)], live=False, tick_s=0.1, on_ready=begin, stop_when=done)
    assert (summary.jobs, summary.failures, summary.peak_workers, summary.crashes) == (21, 1, 3, 0)
    assert seen[0].pools[0].desired == 3, "from zero to three in one step"
    assert summary.wait_p50 is not None and summary.wait_p95 is not None
    assert 0 < summary.wait_p50 <= summary.wait_p95


def test_a_busy_worker_is_never_let_go(redis_url: str, tmp_path: Path) -> None:
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    with Up([pool(url=redis_url, most=3)]) as up, queue_at(redis_url) as queue:
        for number in range(3):
            queue.enqueue(
                jobs.note_and_wait, str(notes), f"job {number}", str(gate if number == 1 else tmp_path / "now")
            )
        until(up, lambda state: duties(state, Duty.BUSY) == 3, "three jobs running")
        busy = queue.fetch_job(queue_running(up, str(gate)))
        (tmp_path / "now").touch()
        state = until(up, lambda state: len(state.pools[0].workers) == 1, "the two others gone")
        assert duties(state, Duty.BUSY) == 1
        assert busy is not None and busy.is_started
        gate.touch()
        until(up, lambda state: state.at_rest, "all gone")
        assert busy.is_finished
    assert up.state().summary.crashes == 0


def queue_running(up: Up, argument: str) -> str:
    """The id of the job that runs with this argument."""
    for worker in up.state().pools[0].workers:
        assert worker.job is not None
        with queue_at(up.urls["words"]) as queue:
            job = queue.fetch_job(worker.job)
        if job is not None and argument in job.args:
            return job.id
    raise AssertionError("no such job runs")


def test_a_crashed_worker_is_replaced_and_spoken_of(redis_url: str) -> None:
    with Up([pool(url=redis_url, least=2)]) as up:
        state = until(up, lambda state: duties(state, Duty.IDLE) == 2, "two idle workers")
        victim = state.pools[0].workers[0]
        os.kill(victim.pid, signal.SIGKILL)
        until(up, lambda state: state.summary.crashes == 1, "the crash seen")
        state = until(up, lambda state: duties(state, Duty.IDLE) == 2, "two again")
        assert victim.name not in {worker.name for worker in state.pools[0].workers}
        assert any(f"worker {victim.name} ended by SIGKILL" in note for note in state.notes)


def test_a_worker_that_cannot_start_is_tried_ever_more_rarely_and_its_last_words_are_told(redis_url: str) -> None:
    command = [sys.executable, "-c", "raise SystemExit('there is no such module')"]
    with Up([pool(url=redis_url, least=1, command=command)]) as up:
        began = time.monotonic()
        state = until(up, lambda state: state.summary.crashes == 3, "three tries")
        assert time.monotonic() - began >= 0.5 + 1.0
        assert "ended with exit code 1 (there is no such module); another may start in 2.0 s" in state.notes[-1]


def test_while_redis_is_away_the_size_stays_and_then_it_goes_on(server: Server) -> None:
    with Up([pool(url=server.url, least=0, most=2, stable=1, zero=1)]) as up:
        with queue_at(server.url) as queue:
            queue.enqueue(jobs.add, 1)
            queue.enqueue(jobs.add, 2)
        state = until(up, lambda state: state.size == 2 and duties(state, Duty.IDLE) == 2, "two workers")
        server.stop()
        state = until(up, lambda state: state.pools[0].trouble is not None, "the trouble seen")
        assert not state.quiet
        until_time = time.monotonic() + 3
        state = until(up, lambda state: time.monotonic() > until_time, "some time")
        assert (state.size, state.pools[0].reason) == (2, "Unreadable")
        server.start()
        state = until(up, lambda state: state.pools[0].trouble is None, "its return")
        assert any("is back" in note for note in state.notes)
        until(up, lambda state: state.at_rest, "zero")


def test_two_pools_on_one_server_scale_by_their_own_queues(redis_url: str) -> None:
    pools = [pool(name="a", queues=("qa",), url=redis_url, least=1), pool(name="b", queues=("qb",), url=redis_url)]
    with Up(pools) as up, queue_at(redis_url, "qb") as queue:
        until(up, lambda state: duties(state, Duty.IDLE) == 1, "pool a's worker")
        job = queue.enqueue(jobs.add, 2, 3)
        state = until(up, lambda state: job.is_finished and state.pools[1].size == 0, "pool b's work done")
        assert state.pools[0].size == 1


def test_jobs_of_before_are_not_in_the_figures(redis_url: str) -> None:
    with queue_at(redis_url) as queue:
        for number in range(2):
            queue.enqueue(jobs.add, number)
        with Up([pool(url=redis_url)]) as up:
            until(up, lambda state: state.summary.jobs == 2 and state.at_rest, "the end of two jobs")
            assert len(up.waits.values) == 2
        with Up([pool(url=redis_url)]) as up:
            queue.enqueue(jobs.add, 2)
            until(up, lambda state: state.summary.jobs == 1 and state.at_rest, "the end of the third")
            assert len(up.waits.values) == 1


def test_a_dry_run_decides_and_does_nothing(redis_url: str) -> None:
    with Up([pool(url=redis_url, dryRun=True)]) as up, queue_at(redis_url) as queue:
        queue.enqueue(jobs.add, 1)
        state = up.tick()
        assert (state.pools[0].desired, state.size) == (1, 0)


def test_it_can_run_beside_other_work_in_a_thread(redis_url: str) -> None:
    found: list[int] = []
    with queue_at(redis_url) as queue:
        job = queue.enqueue(jobs.add, 20, 22)
        runner = threading.Thread(
            target=lambda: found.append(
                run([pool(url=redis_url)], live=False, stop_when=lambda _: job.is_finished).jobs
            )
        )
        runner.start()
        runner.join(PATIENCE_S)
    assert found == [1]


def test_a_named_server_that_is_not_there_is_an_error_at_the_start() -> None:
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1\b"), Up([pool(url="redis://127.0.0.1:1")]):
        pass


def test_a_url_stands_in_for_pools_that_name_none(redis_url: str) -> None:
    with Up([pool()], url=redis_url) as up:
        assert up.urls == {"words": redis_url}


def from_a_secret() -> Pool:
    body = pool().manifest()
    body["spec"]["redis"] = {"urlFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}
    return parse_pool(body)


def test_a_pool_that_needs_a_cluster_is_refused() -> None:
    with pytest.raises(
        BadPool, match=r"spec\.redis\.urlFrom: works on Kubernetes only; here use --url URL or --embedded"
    ):
        Up([from_a_secret()])


def test_but_an_embedded_server_may_stand_in_whatever_it_names() -> None:
    with Up([from_a_secret(), pool(name="b", url="redis://127.0.0.1:1")], embedded=True) as up:
        assert len(set(up.urls.values())) == 1
        assert up.tick().pools[0].trouble is None
