"""A whole worker at its daily work: how it ends, what it says of dead jobs, what it obeys, what it survives."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from rqk import Job, Queue, Repeat, Retry
from rqk.command import send_stop_job_command
from rqk.core import keys
from rqk.core.commands import Command
from rqk.store import queues, workers
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.processes import is_running
from tests.support.waiting import holds_for, wait_until
from tests.worker import jobs_horse, jobs_live
from tests.worker.live import ended, json_lines, listens, order_of, running, state, waits

pytestmark = pytest.mark.usefixtures("settled")
Client = redis_py.Redis
OPENING = "Work-horse terminated unexpectedly; waitpid returned "


# Reasons to leave
def test_burst(redis: Client, start_worker: StartWorker) -> None:
    made = [Queue(name, redis).enqueue(jobs.add, 1) for name in ("a", "b", "a")]
    worker = start_worker("a", "b", options=["--burst"], ready=False)
    assert worker.wait() == 0
    assert [job.get_status() for job in made] == ["finished"] * 3
    assert not redis.smembers(keys.WORKERS)


def test_burst_runs_what_its_jobs_bring(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    """A retry at once, a repeat and a released dependent are jobs that wait."""
    queue, notes = Queue(connection=redis), str(tmp_path / "notes")
    parent = queue.enqueue(jobs.note, notes, "again", repeat=Repeat(1))
    last = queue.enqueue(jobs.note, notes, "last", depends_on=parent)
    retried = queue.enqueue(jobs.fail_times, str(tmp_path / "calls"), 1, retry=Retry(1))
    assert start_worker("default", options=["--burst"], ready=False).wait() == 0
    assert (last.get_status(), retried.get_status()) == ("finished", "finished")
    assert sorted(order_of(tmp_path / "notes")) == ["again", "again", "last"]


def test_max_jobs(redis: Client, start_worker: StartWorker) -> None:
    made = [Queue(connection=redis).enqueue(jobs.add, number) for number in range(3)]
    assert start_worker("default", options=["--max-jobs", "2"], ready=False).wait() == 0
    assert [job.get_status() for job in made] == ["finished", "finished", "queued"]


def test_max_idle_time(redis: Client, start_worker: StartWorker) -> None:
    worker = start_worker("default", options=["--max-idle-time", "1"], ready=False)
    assert worker.wait() == 0
    assert "idle for 1 s: leaving" in worker.log
    assert not redis.smembers(keys.WORKERS)


def test_a_worker_that_leaves_tells_its_counts(redis: Client, start_worker: StartWorker) -> None:
    for _ in range(3):
        Queue(connection=redis).enqueue(jobs.add, 1)
    Queue(connection=redis).enqueue(jobs.fail)
    start_worker("default", options=["--burst", "--name", "w"], ready=False).wait()
    found = workers.fetch(redis, "w")
    assert found is not None
    assert (found.successful_job_count, found.failed_job_count) == (3, 1)
    assert found.total_working_time is not None
    assert found.total_working_time > 0
    assert found.death is not None


# What becomes of jobs that die
@pytest.mark.parametrize(
    ("func", "args", "words"),
    [
        pytest.param(jobs_horse.vanish, (3,), [f"{OPENING}768; ", "exit code 3; os._exit(3) does that"], id="exit"),
        pytest.param(
            jobs_horse.die_by,
            (signal.SIGKILL,),
            [f"{OPENING}9 (signal 9); SIGKILL", "from outside"],
            id="killed",
        ),
        pytest.param(
            jobs_horse.segfault,
            (),
            [
                f"{OPENING}11 (signal 11); SIGSEGV, invalid memory access",
                "Fatal Python error: Segmentation fault",
                "in segfault",
            ],
            id="segfault",
        ),
        pytest.param(jobs_horse.leave, (5,), ["SystemExit: 5"], id="sys.exit"),
        pytest.param(jobs_horse.interrupt, (), ["KeyboardInterrupt"], id="interrupt"),
        pytest.param(jobs_horse.close_everything, (), ["exit code 72", "closed the file descriptor"], id="mute"),
    ],
)
def test_a_dead_job_says_why(
    redis: Client, start_worker: StartWorker, func: Any, args: tuple[Any, ...], words: list[str]
) -> None:
    queue = Queue(connection=redis)
    dead, next_one = queue.enqueue(func, *args), queue.enqueue(jobs.add, 1)
    worker = start_worker("default", options=["--burst"], ready=False)
    assert worker.wait() == 0
    assert (dead.get_status(), next_one.get_status()) == ("failed", "finished")
    for word in words:
        assert word in (dead.exc_info or "")
        assert word in worker.log
    assert dead in queue.failed_job_registry


def test_a_dead_job_with_retries_is_tried_again(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    queue = Queue(connection=redis)
    job = queue.enqueue(jobs_horse.vanish, 1, retry=Retry(2))
    worker = start_worker("default", options=["--burst"], ready=False)
    worker.wait()
    assert (job.get_status(), Job.fetch(job.id, redis).retries_left) == ("failed", 0)
    assert worker.log.count("it will be tried again") == 2


def test_the_failure_callback_of_a_killed_job_runs_all_the_same(redis: Client, start_worker: StartWorker) -> None:
    job = Queue(connection=redis).enqueue(jobs_horse.segfault, on_failure=jobs.on_failure)
    start_worker("default", options=["--burst"], ready=False).wait()
    assert ended(job) == "failed"
    told: Any = redis.lrange("test:callbacks", 0, -1)
    assert len(told) == 1
    assert told[0].startswith(f"failure {job.id} HorseDied {OPENING}11".encode())


def test_a_callback_that_kills_its_horse_too_changes_nothing(redis: Client, start_worker: StartWorker) -> None:
    queue = Queue(connection=redis)
    job = queue.enqueue(jobs_horse.vanish, 1, on_failure="os.abort")
    after = queue.enqueue(jobs.add, 1)
    start_worker("default", options=["--burst"], ready=False).wait()
    assert (ended(job), ended(after)) == ("failed", "finished")
    assert f"{OPENING}256" in (job.exc_info or "")


def test_jobs_that_cannot_be_read_fail_and_the_worker_goes_on(redis: Client, start_worker: StartWorker) -> None:
    queue = Queue(connection=redis)
    bad = [queue.enqueue(jobs.add, number) for number in range(3)]
    redis.hset(bad[0].key, "timeout", "soon")
    redis.hset(bad[1].key, "data", b"garbage")
    redis.hset(bad[2].key, "created_at", "yesterday")
    good = queue.enqueue(jobs.add, 1)
    worker = start_worker("default", options=["--burst"], ready=False)
    assert worker.wait() == 0
    assert good.get_status() == "finished"
    statuses = [redis.hget(job.key, "status") for job in bad]
    assert set(statuses) <= {b"failed", b"finished"}, statuses
    assert statuses[1] == b"failed"
    assert "producer and worker must use the same serializer" in worker.log


# Processes
def test_the_zygote_is_replaced(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker("default")
    held = running(redis, tmp_path)
    zygote = worker.zygote
    assert zygote is not None
    zygote.kill()
    assert ended(held.job) == "failed"
    assert f"{OPENING}None; the process that would have waited for it was killed" in (held.job.exc_info or "")
    assert held.runs == 1
    after = Queue(connection=redis).enqueue(jobs.add, 1)
    assert ended(after) == "finished"
    assert worker.zygote is not None
    assert worker.zygote.pid != zygote.pid
    assert "the zygote died (wait status 9); a new one starts" in worker.log


def test_a_zygote_that_dies_while_idle_costs_no_job(redis: Client, start_worker: StartWorker) -> None:
    worker = start_worker("default")
    waits(redis, worker)
    for _ in range(2):
        before, tree = worker.zygote, worker.descendants()
        assert before is not None
        before.kill()
        wait_until(lambda tree=tree: not any(is_running(process.pid) for process in tree), 5)  # type: ignore[misc]
        assert ended(Queue(connection=redis).enqueue(jobs.add, 1)) == "finished"
        wait_until(lambda before=before: worker.zygote not in (None, before), 10, "another zygote")  # type: ignore[misc]


def test_a_waiting_horse_that_dies_is_replaced(redis: Client, start_worker: StartWorker) -> None:
    worker = start_worker("default")
    waits(redis, worker)
    doomed = worker.horses[0]
    doomed.kill()
    wait_until(lambda: len(worker.horses) == 2 and doomed not in worker.horses, 10, "another horse")
    job = Queue(connection=redis).enqueue(jobs.add, 1)
    assert ended(job) == "finished"
    assert "a waiting work-horse died (wait status 9)" in worker.log


# Commands
def test_stop_job(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker("default", options=["--name", "w"])
    listens(redis, "w")
    held = running(redis, tmp_path, on_stopped=jobs.on_stopped, retry=Retry(3))
    workers.send(redis, "w", Command("stop-job", "another"))
    workers.send(redis, "w", Command("stop-execution", held.job.id, "another"))
    workers.send(redis, "w", Command("stop-job", held.job.id))
    assert ended(held.job) == "stopped"
    assert held.job.exc_info == "Job stopped by user, work-horse terminated."
    assert redis.lrange("test:callbacks", 0, -1) == [f"stopped {held.job.id}".encode()]
    assert held.job in Queue(connection=redis).failed_job_registry
    assert held.runs == 1
    assert ended(Queue(connection=redis).enqueue(jobs.add, 1)) == "finished"
    assert worker.alive


# A job and its own record
def test_a_job_knows_that_it_runs_and_where(redis: Client, start_worker: StartWorker) -> None:
    job = Queue(connection=redis).enqueue(jobs_live.itself)
    start_worker("default", options=["--name", "w", "--burst"], ready=False).wait()
    told = job.return_value()
    job.refresh()
    assert (told["status"], told["worker_name"]) == ("started", "w")
    assert told["enqueued_at"] <= told["started_at"] == told["last_heartbeat"] <= str(job.ended_at)


@pytest.mark.parametrize("how", ["save", "save_meta", "save, changed afterwards"])
def test_a_job_that_saves_itself_ends_as_any_other(
    redis: Client, start_worker: StartWorker, tmp_path: Path, how: str
) -> None:
    worker = start_worker("default", options=["--name", "w"], ready=False)
    queue, notes, gate = Queue(connection=redis), tmp_path / "notes", tmp_path / "gate"
    job = queue.enqueue(jobs_live.save_and_wait, how, str(notes), str(gate))
    wait_until(lambda: notes.exists(), 20, "the job to save itself")
    job.refresh()
    assert (job.get_status(refresh=False), job.worker_name, job.meta) == ("started", "w", {"progress": 50})
    gate.touch()
    assert ended(job) == "finished"
    assert job.return_value() == {"status": "started", "progress": "50", "how": how}
    job.refresh()
    assert job.meta == {"progress": 50}
    assert job in queue.finished_job_registry
    assert "is not written" not in worker.log


def test_a_job_that_saves_itself_can_be_stopped(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    start_worker("default", options=["--name", "w"], ready=False)
    queue, notes, gate = Queue(connection=redis), tmp_path / "notes", tmp_path / "gate"
    saving = {"on_stopped": jobs_live.saving_callback}
    job = queue.enqueue(jobs_live.save_and_wait, args=("save", str(notes), str(gate)), **saving)
    wait_until(lambda: notes.exists(), 20, "the job to save itself")
    listens(redis, "w")
    send_stop_job_command(redis, job.id)
    assert ended(job) == "stopped"
    job.refresh()
    assert redis.lrange("test:callbacks", 0, -1) == [b"started w True"]
    assert (job.meta["told"], job.exc_info) == (True, "Job stopped by user, work-horse terminated.")
    assert job in queue.failed_job_registry


@pytest.mark.parametrize("how", ["fails", "is killed"])
def test_a_job_that_saves_itself_is_tried_again(
    redis: Client, start_worker: StartWorker, tmp_path: Path, how: str
) -> None:
    queue, notes = Queue(connection=redis), tmp_path / "notes"
    saving = {"retry": Retry(1), "on_failure": jobs_live.saving_callback}
    if how == "fails":
        job = queue.enqueue(jobs_live.save_and_fail, args=(str(notes),), **saving)
    else:
        job = queue.enqueue(jobs.kill_self, **saving)
    start_worker("default", options=["--name", "w", "--burst"], ready=False).wait()
    job.refresh()
    assert (job.get_status(), job.retries_left, job.meta["told"]) == ("failed", 0, True)
    assert redis.lrange("test:callbacks", 0, -1) == [b"started w True"] * 2
    assert how != "fails" or order_of(notes) == ["save", "save"]
    assert job in queue.failed_job_registry


def test_what_others_save_while_a_job_runs_does_not_cost_its_outcome(
    redis: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    start_worker("default")
    held = running(redis, tmp_path)
    held.job.meta["seen"] = True
    held.job.save()  # its status is that of the enqueue
    held.open()
    assert ended(held.job) == "finished"
    assert held.job.return_value() == "run"
    assert held.runs == 1


def test_junk_on_the_channel(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker("default", options=["--name", "w"])
    listens(redis, "w")
    held = running(redis, tmp_path)
    junk = [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b'{"command": []}',
        b'{"command": {"a": []}}',
        b"[" * 100_000,
        b"x" * 2_000_000,
    ]
    for payload in (*junk, b'{"command": "stop-job"}', b'{"command": "stop-job", "job_id": [1]}'):
        assert redis.publish("rq:pubsub:w", payload) == 1
    holds_for(lambda: worker.alive and held.job.get_status() == "started", 0.3, "the worker to go on")
    held.open()
    assert ended(held.job) == "finished"
    workers.send(redis, "w", Command("shutdown"))
    assert worker.wait() == 0, "it still hears what is meant for it"


def test_suspend_and_resume(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    start_worker("default", options=["--name", "w"])
    held = running(redis, tmp_path)
    queues.suspend(redis)
    waiting = Queue(connection=redis).enqueue(jobs.add, 1)
    held.open()
    assert ended(held.job) == "finished", "what runs may end"
    state(redis, "w", "suspended")
    assert waiting.get_status() == "queued"
    queues.resume(redis)
    assert ended(waiting) == "finished"


def test_a_suspension_that_begins_while_the_worker_waits(redis: Client, start_worker: StartWorker) -> None:
    worker = start_worker("default", options=["--name", "w"])
    waits(redis, worker)
    queues.suspend(redis)
    job = Queue(connection=redis).enqueue(jobs.add, 1)
    state(redis, "w", "suspended")
    assert (job.get_status(), redis.lrange(keys.queue("default"), 0, -1)) == ("queued", [job.id.encode()])
    queues.resume(redis)
    assert ended(job) == "finished"


def test_a_retiring_worker_takes_nothing(redis: Client, start_worker: StartWorker) -> None:
    worker = start_worker("default", options=["--name", "w"])
    waits(redis, worker)
    assert workers.retire(redis, "w") == "retiring"
    wait_until(lambda: not redis.info("clients")["blocked_clients"], 10, "the worker to wait for jobs no more")
    job = Queue(connection=redis).enqueue(jobs.add, 1)
    holds_for(lambda: job.get_status() == "queued", 0.5)
    assert workers.unretire(redis, "w")
    assert ended(job) == "finished"
    assert workers.retire(redis, "w") == "retiring"
    assert worker.terminate() == 0


def test_a_busy_worker_does_not_retire(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    start_worker("default", options=["--name", "w"])
    held = running(redis, tmp_path)
    assert workers.retire(redis, "w") == "busy"
    held.open()
    assert ended(held.job) == "finished"


def test_a_job_deleted_while_it_runs_leaves_nothing(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker("default", options=["--name", "w"])
    held = running(redis, tmp_path)
    held.job.delete()
    held.open()
    state(redis, "w", "idle")
    assert not Job.exists(held.job.id, redis)
    assert not [*redis.scan_iter(f"*{held.job.id}*")]
    assert ended(Queue(connection=redis).enqueue(jobs.add, 1)) == "finished"
    assert "another worker has judged it" not in worker.log, "nobody has"


def test_a_job_deleted_while_it_runs_is_not_interrupted(
    redis: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    """As Job.delete() promises; the worker says a sign of life several times meanwhile."""
    worker = start_worker("default", options=["--lease", "1"])
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    job = Queue(connection=redis).enqueue(jobs_live.note_wait_note, str(notes), str(gate))
    wait_until(notes.exists, 20, "the job to begin")
    job.delete()
    beats = redis.hget(keys.worker(workers.names(redis)[0]), "last_heartbeat")
    for _ in range(2):
        before = beats
        wait_until(lambda: redis.hget(keys.worker(workers.names(redis)[0]), "last_heartbeat") != before, 10)
        beats = redis.hget(keys.worker(workers.names(redis)[0]), "last_heartbeat")
    gate.touch()
    wait_until(lambda: order_of(notes) == ["begin", "end"], 5, "the job to run to its end")
    assert worker.alive


def test_a_queue_whose_key_is_no_list_is_waited_out(redis: Client, start_worker: StartWorker) -> None:
    redis.set(keys.queue("bad"), "text")
    worker = start_worker("good", "bad", ready=False)
    worker.wait_for_log("WRONGTYPE")
    redis.delete(keys.queue("bad"))
    assert ended(Queue("good", redis).enqueue(jobs.add, 1)) == "finished"
    assert worker.alive


# Names
def test_a_name_is_had_once(redis: Client, start_worker: StartWorker) -> None:
    start_worker("default", options=["--name", "w"])
    second = start_worker("default", options=["--name", "w"], ready=False)
    assert second.wait() != 0
    assert "There exists an active worker named 'w' already" in second.log
    assert "Traceback" not in second.log
    assert workers.names(redis) == ["w"]


# Logs
def test_lines_as_rq_writes_them(redis: Client, start_worker: StartWorker) -> None:
    queue = Queue(connection=redis)
    done, failed = queue.enqueue(jobs.add, 1, right=2), queue.enqueue(jobs.fail, "no luck")
    worker = start_worker("default", options=["--burst", "--name", "w"], ready=False)
    worker.wait()
    for line in (
        r"Worker w: started with PID \d+, rqk \d+\.\d+",
        r"\*\*\* Listening on default\.\.\.",
        rf"default: tests\.support\.jobs\.add\(1, right=2\) \({done.id}\)",
        rf"default: Job OK, result = 3 \({done.id}\)",
        rf"default: tests\.support\.jobs\.fail\('no luck'\) \({failed.id}\)",
        rf"default: job {failed.id} failed$",
    ):
        assert re.search(rf"^\d\d:\d\d:\d\d {line}", worker.log, re.MULTILINE), line
    assert "ValueError: no luck" in worker.log


def test_lines_for_machines(redis: Client, start_worker: StartWorker) -> None:
    queue = Queue("a queue", redis)
    done, failed = queue.enqueue(jobs.add, 1), queue.enqueue(jobs.fail)
    worker = start_worker("a queue", options=["--burst", "--log-format", "json"], ready=False)
    worker.wait()
    assert [json.loads(line) for line in worker.log.splitlines()], "every line is an object"
    begun = json_lines(worker, action="start", job_id=done.id, queue="a queue")
    assert len(begun) == 1
    assert begun[0]["level"] == "info"
    (end,) = json_lines(worker, action="end", job_id=done.id, outcome="finished")
    assert end["seconds"] >= 0
    assert end["peak_bytes"] > 1 << 20
    (bad,) = json_lines(worker, action="end", job_id=failed.id, outcome="failed")
    assert (bad["level"], "ValueError: on purpose" in bad["message"]) == ("error", True)


# Horses ahead
@pytest.mark.parametrize(("options", "waiting"), [([], 2), (["--recycle-after", "5"], 1)])
def test_the_next_horses_wait_while_a_job_runs(
    redis: Client, start_worker: StartWorker, tmp_path: Path, options: list[str], waiting: int
) -> None:
    worker = start_worker("default", options=options)
    held = running(redis, tmp_path)
    wait_until(lambda: len(worker.horses) == 1 + waiting, 10, "the next horses")
    holds_for(lambda: len(worker.horses) <= 1 + waiting, 0.3)
    held.open()
    assert ended(held.job) == "finished"


@pytest.mark.parametrize(
    ("options", "processes"), [([], 3), (["--recycle-after", "3"], 1), (["--recycle-after", "2"], 2)]
)
def test_a_process_for_each_job_or_for_some(
    redis: Client, start_worker: StartWorker, options: list[str], processes: int
) -> None:
    made = [Queue(connection=redis).enqueue(os.getpid) for _ in range(3)]
    start_worker("default", options=["--burst", *options], ready=False).wait()
    assert len({job.return_value() for job in made}) == processes
