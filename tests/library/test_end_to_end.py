"""From the producer's call to the result in its hands, through a real worker."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import redis as redis_py

from rqk import Callback, Job, Queue, Repeat, Result, Retry
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.waiting import wait_until
from tests.support.workers import ROOT

pytestmark = pytest.mark.usefixtures("settled")
Client = redis_py.Redis
Burst = Callable[..., str]
MIB = 1 << 20


@pytest.fixture
def burst(start_worker: StartWorker) -> Burst:
    """Run a worker until its queues are empty; returns what it said."""

    def run(*queues: str, options: tuple[str, ...] = ()) -> str:
        worker = start_worker(*(queues or ("default",)), options=["--burst", *options], ready=False)
        assert worker.wait() == 0, worker.log
        return worker.log

    return run


def test_as_the_readme_shows_it(redis: Client, burst: Burst) -> None:
    """The first lines of README.md, with a function of ours in the place of count_words_at_url."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(from redis import Redis.*?)```", readme, re.DOTALL)
    assert example is not None
    names = {"count_words_at_url": len, "Redis": lambda: redis}
    code = example[1].replace("from redis import Redis\n", "")
    exec(code, names)
    job = names["job"]
    assert isinstance(job, Job)
    assert job.return_value() is None
    log = burst()
    assert job.return_value() == len("https://example.org")
    assert "Job OK, result = 19" in log


def test_kinds_of_functions_and_results(redis: Client, burst: Burst) -> None:
    queue = Queue(connection=redis)
    cases = [
        (queue.enqueue(jobs.add, 1, right=2), 3),
        (queue.enqueue("tests.support.jobs.add", 1), 1),
        (queue.enqueue(jobs.later, "then"), "then"),
        (queue.enqueue(jobs.Counter(5).up, 1), 6),
        (queue.enqueue(jobs.Counter.of_class, 1), 11),
        (queue.enqueue(jobs.Counter(5), 1), 105),
        (queue.enqueue(len, "four"), 4),
        (queue.enqueue(jobs.describe, None, b"\xff", a={1, 2}), {"args": [None, b"\xff"], "kwargs": {"a": {1, 2}}}),
        (queue.enqueue(jobs.nap, 0), 0),
    ]
    odd = queue.enqueue(jobs.unpicklable)
    burst()
    assert [job.return_value() for job, _ in cases] == [wanted for _, wanted in cases]
    assert {job.get_status() for job, _ in cases} == {"finished"}
    assert (odd.get_status(), odd.return_value()) == ("finished", "Unserializable return value")


def test_failures_say_why(redis: Client, burst: Burst) -> None:
    queue = Queue(connection=redis)
    plain = queue.enqueue(jobs.fail, "no luck")
    nowhere = queue.enqueue("no.such.module.function")
    nothing = queue.enqueue("tests.support.jobs.no_such_function")
    unnamed = queue.enqueue(lambda: 1)  # accepted, as RQ does; it cannot be found again
    burst()
    assert (plain.exc_info or "").rstrip().endswith("ValueError: no luck")
    assert "tests/support/jobs.py" in (plain.exc_info or "")
    assert "rqk/worker" not in (plain.exc_info or ""), "a traceback begins with the user's code"
    for job, words in ((nowhere, "no.such.module.function"), (nothing, "no_such_function"), (unnamed, "<lambda>")):
        assert job.get_status() == "failed"
        assert words in (job.exc_info or "")
    assert queue.failed_job_registry.count == 4


def test_retries_and_repeats(redis: Client, burst: Burst, tmp_path: Path) -> None:
    queue = Queue(connection=redis)
    third_time = queue.enqueue(jobs.fail_times, str(tmp_path / "third"), 2, retry=Retry(3))
    never = queue.enqueue(jobs.fail_times, str(tmp_path / "never"), 99, retry=Retry(1))
    thrice = queue.enqueue(jobs.note, str(tmp_path / "thrice"), "again", repeat=Repeat(2))
    burst()
    assert (third_time.return_value(), third_time.get_status()) == ("call 3", "finished")
    assert ("call 2" in (never.exc_info or ""), never.get_status()) == (True, "failed")
    assert (tmp_path / "thrice").read_text().split() == ["again"] * 3
    assert [result.type for result in thrice.results()] == [Result.Type.SUCCESSFUL] * 3


def test_callbacks_given_as_text(redis: Client, burst: Burst) -> None:
    queue = Queue(connection=redis)
    home = "tests.support.jobs"
    done = queue.enqueue(jobs.add, 1, 2, on_success=f"{home}.on_success")
    failed = queue.enqueue(jobs.fail, "no luck", on_failure=Callback(f"{home}.on_failure", timeout="5s"))
    spoilt = queue.enqueue(jobs.add, 1, on_success=f"{home}.failing_callback")
    missing = queue.enqueue(jobs.add, 1, on_success=f"{home}.no_such_callback")
    burst()
    assert redis.lrange("test:callbacks", 0, -1) == [
        f"success {done.id} 3".encode(),
        f"failure {failed.id} ValueError no luck".encode(),
    ]
    assert [job.get_status() for job in (done, failed, spoilt, missing)] == ["finished", "failed", "failed", "failed"]
    assert "the callback failed" in (spoilt.exc_info or "")
    assert "no_such_callback" in (missing.exc_info or "")


def test_dependencies(redis: Client, burst: Burst, tmp_path: Path) -> None:
    queue, notes = Queue(connection=redis), str(tmp_path / "notes")
    last = queue.enqueue(
        jobs.note, notes, "last", depends_on=[queue.enqueue(jobs.note, notes, word) for word in ("first", "second")]
    )
    stranded = queue.enqueue(jobs.note, notes, "never", depends_on=queue.enqueue(jobs.fail))
    burst()
    assert Path(notes).read_text().split() == ["first", "second", "last"]
    assert (last.get_status(), stranded.get_status()) == ("finished", "deferred")


def test_a_scheduled_job_runs_when_it_is_due(redis: Client, start_worker: StartWorker) -> None:
    queue = Queue(connection=redis)
    start_worker("default")
    soon = queue.enqueue_in(timedelta(seconds=1), jobs.add, 1)
    later = queue.enqueue_in(timedelta(hours=1), jobs.add, 1)
    assert soon.get_status() == "scheduled"
    result = soon.latest_result(timeout=15)
    assert result is not None
    assert result.return_value == 1
    assert result.execution_started_at is not None
    assert soon.created_at is not None
    assert 0.0 < (result.execution_started_at - soon.created_at).total_seconds() < 8.0
    assert later.get_status() == "scheduled"


@pytest.mark.parametrize("name", ["two words", "a:b, no".replace(",", ";")])
def test_any_name_of_a_queue(redis: Client, burst: Burst, name: str) -> None:
    queue = Queue(name, redis)
    job = queue.enqueue(jobs.add, 1)
    assert f"*** Listening on {name}..." in burst(name)
    assert job.return_value() == 1
    assert queue.finished_job_registry.get_job_ids() == [job.id]


def test_json_from_end_to_end(redis: Client, burst: Burst) -> None:
    queue = Queue(connection=redis, serializer="json")
    job = queue.enqueue(jobs.describe, 1, a="ü")
    pickled = Queue(connection=redis).enqueue(jobs.add, 1)
    burst(options=("--serializer", "json"))
    assert job.return_value() == {"args": [1], "kwargs": {"a": "ü"}}
    assert pickled.get_status() == "failed"
    assert "producer and worker must use the same serializer" in (pickled.exc_info or "")


@pytest.mark.timeout(180)
def test_a_job_of_fifty_megabytes(redis: Client, burst: Burst) -> None:
    """In and out: random bytes, which no compression makes small."""
    queue = Queue(connection=redis)
    size = 50 * MIB
    with open("/dev/urandom", "rb") as source:
        data = source.read(size)
    job = queue.enqueue(jobs.describe, data)
    assert int(redis.hstrlen(job.key, "data")) > size
    small = queue.enqueue(jobs.length, b"x")
    burst()
    assert (job.get_status(), small.return_value()) == ("finished", 1)
    value = job.return_value()
    assert value["args"][0] == data


def test_results_of_many_attempts(redis: Client, burst: Burst) -> None:
    job = Queue(connection=redis).enqueue(jobs.nap, 0, repeat=Repeat(30), result_ttl=-1)
    burst(options=("--recycle-after", "50"))
    assert 10 <= len(job.results()) <= 31
    assert len({result.execution_id for result in job.results()}) == len(job.results())


def test_waiting_for_a_result(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    start_worker("default")
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    job = Queue(connection=redis).enqueue(jobs.note_and_wait, str(notes), "begun", str(gate))
    wait_until(notes.exists, 20, "the job to begin")
    assert job.latest_result(timeout=0.1) is None
    gate.touch()
    result = job.latest_result(timeout=20)
    assert result is not None
    assert result.return_value == "begun"
