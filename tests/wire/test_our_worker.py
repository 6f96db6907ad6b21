"""Jobs enqueued by real RQ are run by rqk's workers, and RQ's client reads what became of them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from tests.conftest import StartWorker
from tests.support.realrq import RealRq
from tests.support.waiting import wait_until
from tests.wire.conftest import OurBurst

pytestmark = pytest.mark.usefixtures("settled")
JOBS = "tests.support.jobs"


def test_a_plain_job(rq: RealRq, our_burst: OurBurst) -> None:
    job_id = rq.enqueue(f"{JOBS}.add", 1, right=2)
    log = our_burst()
    seen = rq.job(job_id)
    assert (seen["status"], seen["value"], seen["kind"]) == ("finished", 3, "SUCCESSFUL")
    assert seen["results"] == 1
    assert seen["executions"] == 0
    assert seen["worker"]
    assert seen["started"] <= seen["ended"]
    assert f"default: {JOBS}.add(1, right=2) ({job_id})" in log
    assert rq.registry("Finished") == [job_id]


@pytest.mark.parametrize(
    ("expression", "args", "wanted"),
    [
        pytest.param("__import__('math').sqrt", [16], 4.0, id="builtin"),
        pytest.param("len", ["four"], 4, id="builtins"),
        pytest.param("__import__('operator').add", [1, 2], 3, id="c function"),
        pytest.param("jobs.Counter(5).up", [1], 6, id="bound method"),
        pytest.param("jobs.Counter.of_class", [1], 11, id="class method"),
        pytest.param("jobs.Counter.of_nobody", [1], 2, id="static method"),
        pytest.param("jobs.Counter(5)", [1], 105, id="callable instance"),
        pytest.param("jobs.later", ["then"], "then", id="coroutine"),
        pytest.param("__import__('functools').partial(jobs.add, 1)", [2], 3, id="partial"),
    ],
)
def test_every_kind_of_callable(rq: RealRq, our_burst: OurBurst, expression: str, args: list[Any], wanted: Any) -> None:
    job_id = rq.run(
        "import sys; sys.path.insert(0, '.')\nfrom tests.support import jobs\n"
        f"result = Queue(connection=connection).enqueue({expression}, *args).id",
        args=args,
    )
    our_burst()
    assert rq.job(job_id)["value"] == wanted


def test_json(rq: RealRq, our_burst: OurBurst) -> None:
    job_id = rq.enqueue(f"{JOBS}.describe", 1, "two", three=[3], serializer="json")
    our_burst(options=("--serializer", "json"))
    assert rq.job(job_id, serializer="json")["value"] == {"args": [1, "two"], "kwargs": {"three": [3]}}


def test_the_front_of_the_queue(rq: RealRq, our_burst: OurBurst, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    for word in ("one", "two"):
        rq.enqueue(f"{JOBS}.note", str(notes), word)
    rq.enqueue(f"{JOBS}.note", str(notes), "first", options="at_front=True")
    our_burst()
    assert notes.read_text().split() == ["first", "one", "two"]


def test_strict_priority(rq: RealRq, our_burst: OurBurst, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    for queue in ("low", "high", "low", "high"):
        rq.enqueue(f"{JOBS}.note", str(notes), queue, queue=queue)
    our_burst("high", "low")
    assert notes.read_text().split() == ["high", "high", "low", "low"]


def test_a_failure(rq: RealRq, our_burst: OurBurst, redis: redis_py.Redis) -> None:
    job_id = rq.enqueue(f"{JOBS}.fail", "no luck")
    our_burst()
    seen = rq.job(job_id)
    assert (seen["status"], seen["kind"]) == ("failed", "FAILED")
    assert seen["exc"].startswith("Traceback (most recent call last):")
    assert seen["exc"].rstrip().endswith("ValueError: no luck")
    assert rq.registry("Failed") == [job_id]
    # The hash of a failed job lives for a year; its result entry has no end of its own.
    assert 31_535_990 <= int(redis.ttl(f"rq:job:{job_id}")) <= 31_536_000
    assert int(redis.ttl(f"rq:results:{job_id}")) == -1


@pytest.mark.parametrize("failure_ttl", [0, -1, 100])
def test_the_life_of_a_failure(rq: RealRq, our_burst: OurBurst, redis: redis_py.Redis, failure_ttl: int) -> None:
    job_id = rq.enqueue(f"{JOBS}.fail", options=f"failure_ttl={failure_ttl}")
    our_burst()
    left = int(redis.ttl(f"rq:job:{job_id}"))
    if failure_ttl == 0:
        assert left == -2
    elif failure_ttl == -1:
        assert left == -1
        assert redis.zscore("rq:failed:default", job_id) == -1
    else:
        assert 95 <= left <= 100
        assert 95 <= int(redis.ttl(f"rq:results:{job_id}")) <= 100


@pytest.mark.parametrize("result_ttl", [0, -1, 100])
def test_the_life_of_a_result(rq: RealRq, our_burst: OurBurst, redis: redis_py.Redis, result_ttl: int) -> None:
    job_id = rq.enqueue(f"{JOBS}.add", 1, options=f"result_ttl={result_ttl}")
    our_burst()
    if result_ttl == 0:
        assert not list(redis.scan_iter(f"*{job_id}*"))
        assert rq.registry("Finished") == []
    elif result_ttl == -1:
        assert redis.zscore("rq:finished:default", job_id) == float("inf")
        assert [redis.ttl(f"rq:{kind}:{job_id}") for kind in ("job", "results")] == [-1, -1]
    else:
        assert all(95 <= int(redis.ttl(f"rq:{kind}:{job_id}")) <= 100 for kind in ("job", "results"))


def test_a_retry_at_once(rq: RealRq, our_burst: OurBurst, tmp_path: Path) -> None:
    job_id = rq.enqueue(f"{JOBS}.fail_times", str(tmp_path / "calls"), 2, options="retry=Retry(max=3)")
    our_burst()
    seen = rq.job(job_id)
    assert (seen["value"], seen["retries_left"]) == ("call 3", 1)
    assert seen["results"] == 1, "a retried attempt leaves no result entry"


def test_retries_that_run_out(rq: RealRq, our_burst: OurBurst, tmp_path: Path) -> None:
    job_id = rq.enqueue(f"{JOBS}.fail_times", str(tmp_path / "calls"), 9, options="retry=Retry(max=2)")
    our_burst()
    seen = rq.job(job_id)
    assert (seen["status"], seen["retries_left"], seen["results"]) == ("failed", 0, 1)
    assert "call 3" in seen["exc"]


def test_a_retry_after_an_interval_is_scheduled(rq: RealRq, our_burst: OurBurst, tmp_path: Path) -> None:
    job_id = rq.enqueue(f"{JOBS}.fail_times", str(tmp_path / "calls"), 1, options="retry=Retry(max=3, interval=100)")
    our_burst()
    assert rq.status(job_id) == "scheduled"
    assert rq.registry("Scheduled") == [job_id]
    due = rq.run(
        "from rq.registry import ScheduledJobRegistry as R\n"
        "result = R('default', connection=connection).get_scheduled_time(job_id).timestamp()",
        job_id=job_id,
    )
    now = rq.run("result = connection.time()[0]")
    assert 90 <= due - now <= 101


def test_a_returned_retry(rq: RealRq, our_burst: OurBurst) -> None:
    # copy.copy returns the Retry object that RQ's client pickled, so the job asks to be retried whenever it runs.
    job_id = rq.run("import copy\nresult = Queue(connection=connection).enqueue(copy.copy, Retry(max=2)).id")
    our_burst()
    kinds = rq.run(
        "job = Job.fetch(job_id, connection=connection)\n"
        "result = [str(job.get_status().value), job.number_of_retries, "
        "[int(fields[b'type']) for _, fields in connection.xrange('rq:results:' + job_id)]]",
        job_id=job_id,
    )
    # Our worker's environment has no rq, so the payload itself cannot be read there: a failure with a traceback.
    assert kinds[0] == "failed"


def test_a_timeout(rq: RealRq, our_burst: OurBurst) -> None:
    job_id = rq.enqueue(f"{JOBS}.nap", 60, options="job_timeout=1")
    our_burst()
    seen = rq.job(job_id)
    assert seen["status"] == "failed"
    assert "JobTimeoutException: Task exceeded maximum timeout value (1 seconds)" in seen["exc"]


def test_a_function_that_cannot_be_imported(rq: RealRq, our_burst: OurBurst) -> None:
    job_id = rq.enqueue("no.such.function")
    our_burst()
    seen = rq.job(job_id)
    assert seen["status"] == "failed"
    assert "no.such.function" in seen["exc"]


def test_the_wrong_serializer(rq: RealRq, our_burst: OurBurst) -> None:
    job_id = rq.enqueue(f"{JOBS}.add", 1, serializer="json")
    our_burst()
    assert rq.status(job_id) == "failed"


def test_a_result_that_cannot_be_stored(rq: RealRq, our_burst: OurBurst) -> None:
    job_id = rq.enqueue(f"{JOBS}.unpicklable")
    our_burst()
    seen = rq.job(job_id)
    assert (seen["status"], seen["value"]) == ("finished", "Unserializable return value")


@pytest.mark.parametrize("size", [1_000_000, 20_000_000])
def test_a_large_argument_and_result(rq: RealRq, our_burst: OurBurst, size: int) -> None:
    ids = rq.run(
        "import random\nblob = random.Random(1).randbytes(size)\nq = Queue(connection=connection)\n"
        "result = [q.enqueue('tests.support.jobs.length', blob).id, q.enqueue('tests.support.jobs.blob', size).id]",
        size=size,
    )
    our_burst()
    assert rq.run("result = Job.fetch(i, connection=connection).return_value()", i=ids[0]) == size
    assert rq.run("result = len(Job.fetch(i, connection=connection).return_value())", i=ids[1]) == size


def test_a_horse_that_is_killed(rq: RealRq, our_burst: OurBurst) -> None:
    job_id = rq.enqueue(f"{JOBS}.kill_self")
    our_burst()
    seen = rq.job(job_id)
    assert seen["status"] == "failed"
    assert "Work-horse terminated unexpectedly" in seen["exc"]
    assert f"signal {int(signal.SIGKILL)}" in seen["exc"]


def test_the_jobs_environment(rq: RealRq, our_burst: OurBurst) -> None:
    job_id = rq.enqueue(f"{JOBS}.environment", "RQ_JOB_ID", "RQ_WORKER_ID", "RQ_EXECUTION_ID")
    our_burst(options=("--name", "known"))
    value = rq.job(job_id)["value"]
    assert (value["RQ_JOB_ID"], value["RQ_WORKER_ID"]) == (job_id, "known")
    assert len(value["RQ_EXECUTION_ID"]) == 32


def test_callbacks(rq: RealRq, our_burst: OurBurst, redis: redis_py.Redis) -> None:
    both = f"on_success=Callback('{JOBS}.on_success'), on_failure=Callback('{JOBS}.on_failure')"
    good = rq.enqueue(f"{JOBS}.add", 1, options=both)
    bad = rq.enqueue(f"{JOBS}.fail", options=both)
    our_burst()
    told: Any = redis.lrange("test:callbacks", 0, -1)
    assert told == [f"success {good} 1".encode(), f"failure {bad} ValueError on purpose".encode()]


def test_a_success_callback_that_raises(rq: RealRq, our_burst: OurBurst, redis: redis_py.Redis) -> None:
    job_id = rq.enqueue(
        f"{JOBS}.add",
        1,
        options=f"on_success=Callback('{JOBS}.failing_callback'), on_failure=Callback('{JOBS}.on_failure')",
    )
    our_burst()
    seen = rq.job(job_id)
    assert seen["status"] == "failed"
    assert "RuntimeError: the callback failed" in seen["exc"]
    assert redis.lrange("test:callbacks", 0, -1) == [f"failure {job_id} RuntimeError the callback failed".encode()]


def test_dependents(rq: RealRq, our_burst: OurBurst, redis: redis_py.Redis) -> None:
    ids = rq.run(
        "q = Queue(connection=connection)\nother = Queue('other', connection=connection)\n"
        "a = q.enqueue('tests.support.jobs.add', 1)\n"
        "b = other.enqueue('tests.support.jobs.add', 2, depends_on=a)\n"
        "c = q.enqueue('tests.support.jobs.add', 3, depends_on=[a, b])\n"
        "d = q.enqueue('tests.support.jobs.fail', depends_on=c)\n"
        "e = q.enqueue('tests.support.jobs.add', 5, depends_on=Dependency(jobs=[d], allow_failure=True))\n"
        "f = q.enqueue('tests.support.jobs.add', 6, depends_on=d)\n"
        "result = [j.id for j in (a, b, c, d, e, f)]"
    )
    our_burst("default", "other")
    assert [rq.status(job_id) for job_id in ids] == [
        *("finished", "finished", "finished", "failed", "finished", "deferred")
    ]
    assert rq.registry("Deferred") == [ids[5]]
    assert not list(redis.scan_iter("rq:ready:*"))


def test_a_repeat(rq: RealRq, our_burst: OurBurst, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    job_id = rq.enqueue(f"{JOBS}.note", str(notes), "again", options="repeat=Repeat(times=2)")
    our_burst()
    assert notes.read_text().split() == ["again"] * 3
    seen = rq.job(job_id)
    assert (seen["status"], seen["repeats_left"], seen["results"]) == ("finished", 0, 3)


def test_a_repeat_with_an_interval_is_scheduled(rq: RealRq, our_burst: OurBurst) -> None:
    job_id = rq.enqueue(f"{JOBS}.add", 1, options="repeat=Repeat(times=2, interval=100)")
    our_burst()
    assert (rq.status(job_id), rq.registry("Scheduled")) == ("scheduled", [job_id])
    assert rq.job(job_id)["repeats_left"] == 1


def test_a_group(rq: RealRq, our_burst: OurBurst) -> None:
    ids = rq.run(
        "q = Queue(connection=connection)\n"
        "group = Group.create(connection=connection, name='pack')\n"
        "made = group.enqueue_many(q, [Queue.prepare_data('tests.support.jobs.add', (n, 0)) for n in range(3)])\n"
        "result = [j.id for j in made]"
    )
    our_burst()
    seen = rq.run(
        "group = Group.fetch('pack', connection=connection)\n"
        "result = sorted([j.id, j.return_value(), j.group_id] for j in group.get_jobs())"
    )
    assert seen == sorted([job_id, number, "pack"] for number, job_id in enumerate(ids))


def test_a_canceled_job_is_not_run(rq: RealRq, our_burst: OurBurst, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    dropped = rq.enqueue(f"{JOBS}.note", str(notes), "dropped")
    rq.enqueue(f"{JOBS}.note", str(notes), "kept")
    rq.run("cancel_job(job_id, connection=connection)", job_id=dropped)
    our_burst()
    assert notes.read_text().split() == ["kept"]
    assert rq.status(dropped) == "canceled"


def test_an_id_without_a_job_is_skipped(rq: RealRq, our_burst: OurBurst, redis: redis_py.Redis) -> None:
    redis.rpush("rq:queue:default", "ghost")
    job_id = rq.enqueue(f"{JOBS}.add", 1)
    our_burst()
    assert rq.status(job_id) == "finished"


def test_a_failed_job_of_ours_is_requeued_by_them(rq: RealRq, our_burst: OurBurst, tmp_path: Path) -> None:
    job_id = rq.enqueue(f"{JOBS}.fail_times", str(tmp_path / "calls"), 1)
    our_burst()
    assert rq.status(job_id) == "failed"
    done = rq.cli("requeue", "--queue", "default", job_id)
    assert done.returncode == 0, done.stderr
    assert rq.status(job_id) == "queued"
    our_burst()
    seen = rq.job(job_id)
    assert (seen["status"], seen["value"], seen["results"]) == ("finished", "call 2", 2)


def test_waiting_for_a_result_with_their_client(rq: RealRq, start_worker: StartWorker) -> None:
    start_worker("default")
    value = rq.run(
        "job = Queue(connection=connection).enqueue('tests.support.jobs.add', 1, 2)\n"
        "result = job.latest_result(timeout=20).return_value"
    )
    assert value == 3


def test_a_job_of_theirs_that_saves_itself(rq: RealRq, our_burst: OurBurst, tmp_path: Path) -> None:
    notes = str(tmp_path / "notes")
    job_id = rq.enqueue("tests.worker.jobs_live.save_and_wait", "save", notes, "", options="meta={'kept': 1}")
    log = our_burst(options=("--name", "saver"))
    seen = rq.job(job_id)
    assert (seen["status"], seen["value"]["status"], seen["worker"]) == ("finished", "started", "saver")
    assert seen["meta"] == {"kept": 1, "progress": 50}
    assert rq.registry("Finished") == [job_id]
    assert "is not written" not in log


def test_a_job_that_their_client_saves_while_it_runs(rq: RealRq, start_worker: StartWorker, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    start_worker("default")
    job_id = rq.run(
        "import time\n"
        "job = Queue(connection=connection).enqueue('tests.support.jobs.wait_for_file', gate)\n"
        "seen = Job.fetch(job.id, connection=connection)\n"
        "while seen.get_status() != 'started': time.sleep(0.01)\n"
        "job.meta['note'] = 1\n"
        "job.save()\n"
        "result = job.id",
        gate=str(gate),
    )
    assert rq.status(job_id) == "queued", "it writes what it knew"
    gate.touch()
    wait_until(lambda: rq.status(job_id) == "finished", 20, "the job to finish")
    assert rq.job(job_id)["value"] == str(gate)


def test_a_job_that_is_saved_and_pushed_by_hand(rq: RealRq, our_burst: OurBurst, redis: redis_py.Redis) -> None:
    made = rq.run(
        "made = [Job.create('tests.support.jobs.add', (n,), connection=connection, origin='default') for n in range(60)]\n"
        "for job in made: job.save()\n"
        "result = [job.id for job in made]"
    )
    redis.sadd("rq:queues", "rq:queue:default")
    redis.rpush("rq:queue:default", *made)
    our_burst()
    assert {rq.status(job_id) for job_id in made} == {"finished"}
    assert [rq.job(job_id)["value"] for job_id in made] == list(range(60))


def test_a_job_in_progress_as_their_client_sees_it(
    rq: RealRq, start_worker: StartWorker, redis: redis_py.Redis, tmp_path: Path
) -> None:
    worker = start_worker("default", options=["--name", "busy-one"])
    gate = tmp_path / "gate"
    job_id = rq.enqueue(f"{JOBS}.wait_for_file", str(gate))
    wait_until(lambda: rq.status(job_id) == "started", 20, "the job to start")
    seen = rq.run(
        "job = Job.fetch(job_id, connection=connection)\n"
        "worker = [w for w in Worker.all(connection=connection) if w.name == 'busy-one'][0]\n"
        "execution = job.get_executions()[0]\n"
        "result = [worker.get_state(), worker.get_current_job_id(), job.worker_name, execution.job_id,\n"
        "    execution.composite_key, worker.version, [q.name for q in worker.queues]]",
        job_id=job_id,
    )
    state, current, name, executed, composite, version, queues = seen
    assert (str(state).rpartition(".")[2].lower(), current, name) == ("busy", job_id, "busy-one")
    assert (executed, queues) == (job_id, ["default"])
    assert redis.zscore("rq:wip:default", composite) is not None
    assert version
    gate.touch()
    wait_until(lambda: rq.status(job_id) == "finished", 20, "the job to finish")
    assert worker.terminate() == 0
    left = rq.run("result = [w.name for w in Worker.all(connection=connection)]")
    assert left == []
