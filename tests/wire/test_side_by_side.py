"""Workers of both kinds on the same queues at the same time, suspension, and each side's maintenance beside the other."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from rqk import Queue
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.realrq import RealRq
from tests.support.waiting import holds_for, wait_until
from tests.wire.conftest import StartRqWorker

pytestmark = pytest.mark.usefixtures("settled")
JOBS = "tests.support.jobs"


def test_two_kinds_of_workers_run_each_job_once(
    rq: RealRq, queue: Queue, start_worker: StartWorker, start_rq_worker: StartRqWorker, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    count = 60
    start_worker("default", options=["--name", "ours"])
    start_rq_worker(options=("--name", "theirs"))
    made = [queue.enqueue(jobs.note_and_nap, str(notes), str(number), 0.02) for number in range(0, count, 2)]
    ids = [job.id for job in made]
    ids += [rq.enqueue(f"{JOBS}.note_and_nap", str(notes), str(number), 0.02) for number in range(1, count, 2)]
    wait_until(lambda: len(rq.registry("Finished")) == count, 60, "all jobs to finish")
    assert Counter(notes.read_text().split()) == Counter(str(number) for number in range(count))
    workers = Counter(rq.job(job_id)["worker"] for job_id in ids)
    assert set(workers) == {"ours", "theirs"}, workers


@pytest.mark.parametrize("suspend", ["RQ", "rqk"])
def test_a_suspension_holds_for_both(
    rq: RealRq,
    queue: Queue,
    redis: redis_py.Redis,
    start_worker: StartWorker,
    start_rq_worker: StartRqWorker,
    suspend: str,
) -> None:
    # A worker of RQ that is blocked in its pop takes one more job, so both start after the suspension.
    if suspend == "RQ":
        rq.run("suspend(connection)")
    else:
        redis.set("rq:suspended", 1)
    start_worker("default", ready=False)
    job = queue.enqueue(jobs.add, 1)
    wait_until(lambda: worker_states(redis) == {b"suspended"}, 20, "our worker to be suspended")
    holds_for(lambda: job.get_status() == "queued", 1.0, "a suspended worker leaves the job alone")
    rq.run("resume(connection)")
    wait_until(lambda: job.get_status() == "finished", 20, "the job after the suspension")


def worker_states(redis: redis_py.Redis) -> set[bytes | None]:
    keys: Any = redis.smembers("rq:workers")
    return {redis.hget(key, "state") for key in keys}  # type: ignore[misc]


def test_an_idle_worker_of_ours_sees_a_suspension_before_its_next_job(
    rq: RealRq, queue: Queue, redis: redis_py.Redis, start_worker: StartWorker
) -> None:
    start_worker("default")
    wait_until(lambda: worker_states(redis) == {b"idle"}, 20, "our worker to be idle")
    rq.run("suspend(connection)")
    job = queue.enqueue(jobs.add, 1)
    holds_for(lambda: job.get_status() == "queued", 1.5, "no job is started while suspended")
    rq.run("resume(connection)")
    wait_until(lambda: job.get_status() == "finished", 20, "the job after the suspension")


def test_their_maintenance_leaves_our_running_job_alone(
    rq: RealRq, queue: Queue, start_worker: StartWorker, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    start_worker("default")
    job = queue.enqueue(jobs.wait_for_file, str(gate))
    wait_until(lambda: job.get_status() == "started", 20, "the job to start")
    rq.run("clean_registries(Queue(connection=connection))")
    rq.burst()
    assert rq.cli("info").returncode == 0
    assert job.get_status() == "started"
    assert len(rq.registry("Started")) == 1
    gate.touch()
    wait_until(lambda: job.get_status() == "finished", 20, "the job to finish")


def test_our_worker_leaves_their_running_job_alone(
    rq: RealRq, start_worker: StartWorker, start_rq_worker: StartRqWorker, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    theirs = start_rq_worker(options=("--max-jobs", "1"))
    held = rq.enqueue(f"{JOBS}.wait_for_file", str(gate))
    wait_until(lambda: rq.status(held) == "started", 20, "their job to start")
    start_worker("default")
    other = rq.enqueue(f"{JOBS}.add", 1)
    wait_until(lambda: rq.status(other) == "finished", 20, "our worker to run the other job")
    assert rq.status(held) == "started"
    gate.touch()
    assert theirs.wait() == 0
    assert rq.status(held) == "finished"


def test_their_cleanup_settles_a_job_whose_worker_of_ours_died(
    rq: RealRq, queue: Queue, redis: redis_py.Redis, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker("default")
    job = queue.enqueue(jobs.wait_for_file, str(tmp_path / "gate"))
    wait_until(lambda: job.get_status() == "started", 20, "the job to start")
    worker.kill()
    member: Any = redis.zrange("rq:wip:default", 0, 0)
    redis.zadd("rq:wip:default", {member[0]: 1})  # the lease ended long ago
    rq.run("StartedJobRegistry('default', connection=connection).cleanup()")
    seen = rq.job(job.id)
    assert seen["status"] == "failed"
    assert "AbandonedJobError" in seen["exc"]
    for key in (*redis.scan_iter("rq:execution*"), *redis.scan_iter("rq:worker:*")):
        redis.delete(key)  # RQ leaves these to their time to live


def test_a_dependent_of_theirs_in_the_ready_registry_is_not_lost(
    rq: RealRq, redis: redis_py.Redis, start_worker: StartWorker
) -> None:
    if not rq.is_3:
        pytest.skip("only RQ 3.0 has a ready registry")
    job_id = rq.run(
        "q = Queue(connection=connection)\nparent = q.enqueue('tests.support.jobs.add', 1)\n"
        "child = q.enqueue('tests.support.jobs.add', 2, depends_on=parent)\n"
        "q.remove(parent)\nparent.set_status('finished')\nq.move_dependents_to_ready(parent)\nresult = child.id"
    )
    assert redis.zcard("rq:ready:default") == 1
    start_worker("default")
    wait_until(lambda: rq.status(job_id) == "finished", 30, "the ready dependent to be pushed and run")


def test_a_scheduler_of_theirs_and_one_of_ours_move_each_job_once(
    rq: RealRq, queue: Queue, start_worker: StartWorker, start_rq_worker: StartRqWorker, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    ids = rq.run(
        "q = Queue(connection=connection)\n"
        "result = [q.enqueue_in(timedelta(seconds=1), 'tests.support.jobs.note', notes, str(n)).id for n in range(20)]",
        notes=str(notes),
    )
    start_rq_worker(options=("--with-scheduler",))
    start_worker("default", options=["--with-scheduler"])
    wait_until(lambda: all(rq.status(job_id) == "finished" for job_id in ids), 40, "the scheduled jobs")
    assert Counter(notes.read_text().split()) == Counter(str(number) for number in range(20))


def test_our_worker_moves_what_their_client_scheduled(rq: RealRq, start_worker: StartWorker) -> None:
    job_id = rq.run(
        "result = Queue(connection=connection).enqueue_in(timedelta(seconds=1), 'tests.support.jobs.add', 1).id"
    )
    start_worker("default", options=["--with-scheduler"])
    wait_until(lambda: rq.status(job_id) == "finished", 30, "the scheduled job")


def test_junk_on_the_command_channel_does_not_make_us_deaf(
    rq: RealRq, redis: redis_py.Redis, start_worker: StartWorker
) -> None:
    worker = start_worker("default", options=["--name", "listener"])
    wait_until(lambda: redis.publish("rq:pubsub:listener", "not JSON"), 10, "the worker to subscribe")
    for junk in ("[]", "{}", '{"command": 7}', json.dumps({"command": "unknown"}), '{"command": "stop-job"}'):
        redis.publish("rq:pubsub:listener", junk)
    rq.run("send_shutdown_command(connection, 'listener')")
    assert worker.wait() == 0
