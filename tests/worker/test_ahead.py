"""Jobs ahead: a worker with quick jobs takes the next ones before the last one's end is written, with a fork for each and with recycled horses."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from rqk import Job, Queue
from rqk.core import keys
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.worker.live import ended, hold, order_of

pytestmark = pytest.mark.usefixtures("settled")
Client = redis_py.Redis
MANY = 200


@pytest.fixture(params=[pytest.param("1", id="forked"), pytest.param("1000", id="recycled")])
def options(request: pytest.FixtureRequest) -> list[str]:
    """Of a worker that gets into its stride with jobs that do next to nothing."""
    return ["--recycle-after", request.param, "--preload", "tests.support.jobs"]


def many(redis: Client, notes: Path, count: int = MANY) -> list[str]:
    """Quick jobs that note their number."""
    queue = Queue(connection=redis)
    made = queue.enqueue_many([queue.prepare_data(jobs.note, (str(notes), str(number))) for number in range(count)])
    return [job.id for job in made]


def all_done(redis: Client, count: int) -> bool:
    """Whether so many have finished."""
    return int(redis.zcard(keys.finished("default"))) == count


def test_each_runs_once_and_in_order(
    redis: Client, start_worker: StartWorker, options: list[str], tmp_path: Path
) -> None:
    ids = many(redis, tmp_path / "notes")
    worker = start_worker("default", options=[*options, "--burst"], ready=False)
    worker.wait()
    assert order_of(tmp_path / "notes") == [str(number) for number in range(MANY)]
    assert all_done(redis, MANY)
    assert {redis.hget(keys.job(job), "status") for job in ids} == {b"finished"}
    assert worker.log.count("Job OK") == MANY


def test_a_job_does_not_wait_behind_a_long_one(
    redis: Client, start_worker: StartWorker, options: list[str], tmp_path: Path
) -> None:
    many(redis, tmp_path / "notes", 40)
    held = hold(redis, tmp_path)
    queue = Queue(connection=redis)
    behind = [queue.enqueue(jobs.note, str(tmp_path / "notes"), f"behind-{number}") for number in range(4)]
    start_worker("default", options=options)
    wait_until(lambda: held.runs == 1, 20, "the long job to begin")
    wait_until(
        lambda: redis.lrange(keys.queue("default"), 0, -1) == [job.id.encode() for job in behind],
        *(5, "the next ones to be given back, in their order"),
    )
    assert {job.get_status() for job in behind} == {"queued"}
    other = start_worker("default", options=["--burst"], ready=False)
    other.wait()
    assert {ended(job) for job in behind} == {"finished"}
    assert order_of(tmp_path / "notes")[-4:] == [f"behind-{number}" for number in range(4)]
    held.open()
    assert ended(held.job) == "finished"


def saved_and_pushed(redis: Client, calls: Iterable[tuple[Callable[..., Any] | str, tuple[Any, ...]]]) -> list[Job]:
    """Jobs whose status stays created, as producers leave them that do both by hand."""
    made = [Job.create(func, args, connection=redis, origin="default") for func, args in calls]
    for job in made:
        job.save()
    redis.sadd(keys.QUEUES, keys.queue("default"))
    redis.rpush(keys.queue("default"), *[job.id for job in made])
    return made


def test_jobs_that_were_saved_and_pushed_by_hand(
    redis: Client, start_worker: StartWorker, options: list[str], tmp_path: Path
) -> None:
    notes, gate = str(tmp_path / "notes"), tmp_path / "gate"
    quick = [(jobs.note, (notes, str(number))) for number in range(MANY)]
    made = saved_and_pushed(redis, [*quick, (jobs.wait_for_file, (str(gate),)), *[(jobs.note, (notes, "behind"))] * 4])
    worker = start_worker("default", options=options, ready=False)
    wait_until(
        lambda: redis.lrange(keys.queue("default"), 0, -1) == [job.id.encode() for job in made[-4:]],
        *(20, "those behind the long one to be given back, in their order"),
    )
    gate.touch()
    wait_until(lambda: all_done(redis, len(made)), 20, "all to finish")
    assert {job.get_status() for job in made} == {"finished"}
    assert order_of(tmp_path / "notes") == [*map(str, range(MANY)), *["behind"] * 4]
    assert "is not written" not in worker.log


def test_what_is_given_back_has_waited_since_it_was_enqueued(
    redis: Client, start_worker: StartWorker, options: list[str], tmp_path: Path
) -> None:
    many(redis, tmp_path / "notes", 40)
    held = hold(redis, tmp_path)
    behind = [Queue(connection=redis).enqueue(jobs.add, number, ttl=1000) for number in range(3)]
    since = [job.enqueued_at for job in behind]
    for job in behind:
        redis.expire(keys.job(job.id), 100)
    start_worker("default", options=options)
    wait_until(lambda: held.runs == 1, 20, "the long job to begin")
    wait_until(lambda: redis.llen(keys.queue("default")) == 3, 5, "the next ones to be given back")
    for job in behind:
        job.refresh()
    assert [job.enqueued_at for job in behind] == since
    assert all(int(redis.ttl(keys.job(job.id))) <= 100 for job in behind)
    held.open()
    assert {ended(job) for job in behind} == {"finished"}


def test_one_that_is_canceled_while_it_is_ahead_stays_canceled(redis: Client, start_worker: StartWorker) -> None:
    queue = Queue(connection=redis)
    made = queue.enqueue_many([queue.prepare_data(jobs.nap, (0.003,)) for _ in range(800)])
    worker = start_worker("default", options=["--recycle-after", "1000"], ready=False)
    canceled: list[Job] = []
    others: list[Job] = []  # too late: they had begun

    def cancel_one_ahead() -> bool:
        for job_id in queue.started_job_registry.get_job_ids():
            if redis.hget(keys.job(job_id), "status") == b"queued":
                job = Job.fetch(job_id, redis)
                job.cancel()
                others.append(job) if redis.hget(keys.job(job_id), "worker_name") else canceled.append(job)
        return len(canceled) >= 3

    wait_until(cancel_one_ahead, 30, "some to be canceled", every=0.003)
    wait_until(lambda: redis.llen(keys.queue("default")) == 0 and not at_work(redis), 40, "all to be over")
    assert worker.alive
    assert {job.get_status() for job in canceled} == {"canceled"}
    assert all(job in queue.canceled_job_registry for job in canceled)
    assert not any(job.results() for job in canceled)
    finished = set(queue.finished_job_registry.get_job_ids())
    assert finished >= {job.id for job in made} - {job.id for job in canceled + others}


def at_work(redis: Client) -> bool:
    """Whether somebody has a job in hand."""
    return bool(redis.zcard(keys.started("default")))


def test_told_to_stop_it_gives_back_what_has_not_begun(
    redis: Client, start_worker: StartWorker, options: list[str], tmp_path: Path
) -> None:
    many(redis, tmp_path / "notes", 1000)
    worker = start_worker("default", options=options, ready=False)
    wait_until(lambda: int(redis.zcard(keys.finished("default"))) > 50, 60, "it to be in its stride")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    done = int(redis.zcard(keys.finished("default")))
    assert done + redis.llen(keys.queue("default")) == 1000
    assert order_of(tmp_path / "notes") == [str(number) for number in range(done)]
    start_worker("default", options=[*options, "--burst"], ready=False).wait(60)
    assert order_of(tmp_path / "notes") == [str(number) for number in range(1000)]


def test_cut_connections_lose_and_repeat_nothing(
    redis: Client, start_worker: StartWorker, options: list[str], proxy: Proxy, tmp_path: Path
) -> None:
    many(redis, tmp_path / "notes", 600)
    worker = start_worker("default", url=proxy.url, options=[*options, "--lease", "5"], ready=False)
    for part in range(1, 6):
        wait_until(lambda part=part: int(redis.zcard(keys.finished("default"))) > part * 80, 30, "more")  # type: ignore[misc]
        proxy.cut()
    wait_until(lambda: all_done(redis, 600), 60, "all to finish")
    assert sorted(order_of(tmp_path / "notes"), key=int) == [str(number) for number in range(600)]
    assert worker.log.count("Redis answers again") >= 3


def test_forgotten_scripts_are_missed_once(
    redis: Client, start_worker: StartWorker, options: list[str], tmp_path: Path
) -> None:
    """As after a restart of Redis; a worker that never comes to rest posts its claims and waits for none."""
    many(redis, tmp_path / "notes", 1000)
    worker = start_worker("default", options=options, ready=False)
    wait_until(lambda: int(redis.zcard(keys.finished("default"))) > 50, 60, "it to be in its stride")
    redis.script_flush()
    wait_until(lambda: all_done(redis, 1000), 60, "all to finish")
    assert sorted(order_of(tmp_path / "notes"), key=int) == [str(number) for number in range(1000)]
    assert worker.log.count("NOSCRIPT") == 1
