"""Several queues, several workers: order, priority, and who wakes when a job comes."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from rqk import Queue
from rqk.core import keys
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.waiting import holds_for, wait_until
from tests.worker.live import ended, order_of, running, waits

pytestmark = pytest.mark.usefixtures("settled")
Client = redis_py.Redis


def enqueue_words(client: Client, notes: Path, *words: str) -> None:
    """A job in queue ``a`` for each ``a…``, and so on; each notes its word."""
    for word in words:
        Queue(word[0], client).enqueue(jobs.note, str(notes), word)


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        ("default", ["a1", "a2", "a3", "b1", "b2", "c1"]),
        ("round_robin", ["a1", "b1", "c1", "a2", "b2", "a3"]),
    ],
)
def test_the_order_of_queues(
    redis: Client, start_worker: StartWorker, tmp_path: Path, strategy: str, wanted: list[str]
) -> None:
    enqueue_words(redis, tmp_path / "notes", "c1", "b1", "a1", "a2", "b2", "a3")
    start_worker("a", "b", "c", options=["--burst", "-ds", strategy], ready=False).wait()
    assert order_of(tmp_path / "notes") == wanted


def test_random_queues_keep_their_own_order(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    words = [f"{queue}{number:02}" for queue in "ab" for number in range(20)]
    enqueue_words(redis, tmp_path / "notes", *words)
    start_worker("a", "b", options=["--burst", "-ds", "random", "--recycle-after", "99"], ready=False).wait()
    found = order_of(tmp_path / "notes")
    assert sorted(found) == words
    assert found != words, "all of one queue first, by a chance of one in a hundred thousand millions"
    for queue in "ab":
        assert [word for word in found if word[0] == queue] == [word for word in words if word[0] == queue]


@pytest.mark.parametrize("order", [("c", "a"), ("a", "c"), ("c", "b", "a")])
def test_the_best_of_several_that_came_at_once(
    redis: Client, start_worker: StartWorker, tmp_path: Path, order: tuple[str, ...]
) -> None:
    """Every blocking pop of an idle worker is answered before it looks: the highest queue still goes first."""
    worker = start_worker("a", "b", "c")
    waits(redis, worker, 3)
    worker.signal(signal.SIGSTOP)
    notes = tmp_path / "notes"
    for queue in order:
        enqueue_words(redis, notes, f"{queue}1", f"{queue}2")
        assert redis.llen(keys.intermediate(queue)) == 1
    worker.signal(signal.SIGCONT)
    wanted = [f"{queue}{number}" for queue in sorted(order) for number in (1, 2)]
    wait_until(lambda: len(order_of(notes)) == len(wanted), 20, "all jobs")
    assert order_of(notes) == wanted


def test_a_higher_job_that_comes_while_one_runs(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    start_worker("a", "b")
    held = running(redis, tmp_path, "b")
    enqueue_words(redis, held.notes, "b1", "a1")
    held.open()
    wait_until(lambda: len(order_of(held.notes)) == 3, 20, "all jobs")
    assert order_of(held.notes) == ["run", "a1", "b1"]


def script_calls(client: Client) -> int:
    """How many scripts the server has run since its counters were reset."""
    stats: Any = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c")])
def test_one_job_wakes_one_worker(redis: Client, start_worker: StartWorker, names: tuple[str, ...]) -> None:
    calm = ["--no-scheduler", "--janitor", "1000", "--lease", "1000"]
    fleet = [start_worker(*names, options=calm, ready=False) for _ in range(4)]
    for worker in fleet:
        worker.wait_ready()
        waits(redis, worker, 1)
    wait_until(lambda: int(redis.info("clients")["blocked_clients"]) == 4 * len(names), 20, "all to wait")
    redis.config_resetstat()
    for number in range(5):
        before = script_calls(redis)
        assert ended(Queue(names[-1], redis).enqueue(jobs.add, number)) == "finished"
        wait_until(lambda: int(redis.info("clients")["blocked_clients"]) == 4 * len(names), 10, "all to wait again")
        # enqueue, claim, settle; a tally that is told late may make it one more.
        assert script_calls(redis) - before <= 4
    stats: Any = redis.info("commandstats")
    assert stats.get("cmdstat_lmove", {}).get("calls", 0) == 0


def test_waiting_costs_nothing(redis: Client, start_worker: StartWorker) -> None:
    worker = start_worker("a", "b", options=["--no-scheduler", "--janitor", "1000", "--lease", "1000"])
    waits(redis, worker, 2)
    redis.config_resetstat()

    def calls() -> int:
        stats: Any = redis.info("commandstats")
        return sum(
            stat["calls"] for name, stat in stats.items() if name not in ("cmdstat_info", "cmdstat_config|resetstat")
        )

    holds_for(lambda: calls() == 0, 1.5, "an idle worker to ask nothing")


def test_jobs_are_shared_and_each_runs_once(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    words = [f"{random.Random(number).choice(names)}{number}" for number in range(90)]
    fleet = [start_worker(*names[turn:], *names[:turn], ready=False) for turn in range(3)]
    enqueue_words(redis, tmp_path / "notes", *words)
    wait_until(lambda: len(order_of(tmp_path / "notes")) >= len(words), 30, "all jobs")
    assert sorted(order_of(tmp_path / "notes")) == sorted(words)
    wait_until(lambda: sum(Queue(name, redis).finished_job_registry.count for name in names) == len(words), 10)
    assert all(worker.alive for worker in fleet)


def test_names_of_queues_with_anything_in_them(redis: Client, start_worker: StartWorker) -> None:
    names = ["two words", "a:b", "ü", "x:intermediate"]
    start_worker(*names)
    made = [Queue(name, redis).enqueue(jobs.add, 1) for name in names]
    assert [ended(job) for job in made] == ["finished"] * 4
