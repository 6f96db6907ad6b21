"""After the same calls, rqk leaves in Redis what RQ 3.0 left: same keys, types, times to live, fields and values.

A difference is either a bug of ours or listed here with its reason.
"""

from __future__ import annotations

import math
import operator
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_py

from rqk import Callback, Dependency, Job, Queue, Repeat, Retry
from rqk.errors import DuplicateJobError
from tests.conftest import StartWorker
from tests.support.compare import differences
from tests.support.golden import dump, load
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess


class Stage:
    """What a scenario plays on."""

    def __init__(self, redis: redis_py.Redis, start_worker: StartWorker) -> None:
        self.redis = redis
        self.queue = Queue(connection=redis)
        self._start_worker = start_worker

    def work(self, *options: str, queues: tuple[str, ...] = ("default",)) -> None:
        """Run worker-1 until its queues are empty."""
        worker = self._start_worker(*queues, options=["--burst", "--name", "worker-1", *options], ready=False)
        assert worker.wait(60) == 0, worker.log

    def worker(self, *queues: str) -> WorkerProcess:
        """Start worker-1 and leave it running."""
        return self._start_worker(*queues, options=["--name", "worker-1"])

    def state(self, wanted: bytes) -> None:
        """Wait until worker-1 says it is in this state."""
        wait_until(lambda: self.redis.hget("rq:worker:worker-1", "state") == wanted, 20, f"state {wanted!r}")

    def command(self, text: str) -> None:
        """Send worker-1 a command; it must hear it."""
        wait_until(lambda: self.redis.publish("rq:pubsub:worker-1", text), 10, "the worker to subscribe")


def enqueued(stage: Stage) -> None:
    stage.queue.enqueue(operator.add, 1, 2, job_id="job-1")


def enqueued_json(stage: Stage) -> None:
    queue = Queue(connection=stage.redis, serializer="json")
    queue.enqueue(operator.add, 1, 2, job_id="job-1", meta={"a": [1, None]})


def unique(stage: Stage) -> None:
    stage.queue.enqueue(operator.add, 1, 2, job_id="job-1", unique=True, ttl=3600)
    with pytest.raises(DuplicateJobError):
        stage.queue.enqueue(operator.add, 7, 8, job_id="job-1", unique=True)


def scheduled(stage: Stage) -> None:
    stage.queue.enqueue_in(timedelta(hours=1), operator.add, 1, 2, job_id="job-1", at_front=True)


def deferred(stage: Stage) -> None:
    stage.queue.enqueue(operator.add, 1, 2, job_id="parent-1")
    stage.queue.enqueue(math.sqrt, -1, job_id="parent-2")
    stage.queue.enqueue(operator.add, 3, 4, job_id="child-1", depends_on="parent-1")
    both = Dependency(["parent-1", "parent-2"], allow_failure=True, enqueue_at_front=True)
    Queue("other", connection=stage.redis).enqueue(operator.add, 5, 6, job_id="child-2", depends_on=both, ttl=3600)


def canceled(stage: Stage) -> None:
    first = stage.queue.enqueue(operator.add, 1, 2, job_id="job-1")
    stage.queue.enqueue(operator.add, 3, 4, job_id="child-1", depends_on="job-1")
    first.cancel()
    stage.queue.enqueue_in(timedelta(hours=1), operator.add, 1, 2, job_id="job-2").cancel()


def finished(stage: Stage) -> None:
    stage.queue.enqueue(operator.add, 1, 2, job_id="job-1", meta={"a": 1})
    stage.queue.enqueue(time.sleep, 0, job_id="job-2")
    stage.queue.enqueue(operator.add, 1, 2, job_id="job-3", result_ttl=-1)
    stage.queue.enqueue(operator.add, 1, 2, job_id="job-4", result_ttl=0)
    stage.work()


def finished_json(stage: Stage) -> None:
    Queue(connection=stage.redis, serializer="json").enqueue(operator.add, 1, 2, job_id="job-1")
    stage.work("--serializer", "json")


def failed(stage: Stage) -> None:
    lives: list[tuple[str, dict[str, int]]] = [
        ("job-1", {}),
        ("job-2", {"failure_ttl": 300}),
        ("job-3", {"failure_ttl": -1}),
        ("job-4", {"failure_ttl": 0}),
    ]
    for job_id, life in lives:
        stage.queue.enqueue(math.sqrt, -1, job_id=job_id, **life)
    stage.queue.enqueue("no.such.function", job_id="job-5")
    stage.work()


def requeued(stage: Stage) -> None:
    stage.queue.enqueue(math.sqrt, -1, job_id="job-1")
    stage.work()
    Job.fetch("job-1", connection=stage.redis).requeue()


def retry_pending(stage: Stage) -> None:
    stage.queue.enqueue(math.sqrt, -1, job_id="job-1", retry=Retry(max=3, interval=[60, 120, 180]))
    stage.queue.enqueue(math.sqrt, -1, job_id="job-2", retry=Retry(max=2))
    stage.work("--max-jobs", "2")


def repeat_pending(stage: Stage) -> None:
    stage.queue.enqueue(operator.add, 1, 2, job_id="job-1", repeat=Repeat(times=3, interval=[60, 120, 180]))
    stage.queue.enqueue(operator.add, 1, 2, job_id="job-2", repeat=Repeat(times=1))
    stage.work("--max-jobs", "2")


def dependents_released(stage: Stage) -> None:
    stage.queue.enqueue(operator.add, 1, 2, job_id="parent-1")
    stage.queue.enqueue(operator.add, 3, 4, job_id="child-1", depends_on="parent-1")
    stage.work("--max-jobs", "1")


def started(stage: Stage) -> None:
    stage.queue.enqueue(time.sleep, 2, job_id="job-1", meta={"a": 1})
    stage.worker("default")
    wait_until(lambda: stage.redis.hget("rq:job:job-1", "status") == b"started", 20, "the job to start")


def started_two_queues(stage: Stage) -> None:
    stage.queue.enqueue(time.sleep, 2, job_id="job-1", job_timeout=-1)
    stage.worker("high", "default")
    wait_until(lambda: stage.redis.hget("rq:job:job-1", "status") == b"started", 20, "the job to start")


def stopped(stage: Stage) -> None:
    stage.queue.enqueue(time.sleep, 30, job_id="job-1")
    stage.worker("default")
    stage.state(b"busy")
    stage.command('{"command": "stop-job", "job_id": "job-1"}')
    wait_until(lambda: stage.redis.hget("rq:job:job-1", "status") == b"stopped", 20, "the job to stop")
    stage.state(b"idle")


def horse_killed(stage: Stage) -> None:
    stage.queue.enqueue(time.sleep, 30, job_id="job-1")
    stage.worker("default")
    stage.state(b"busy")

    def failed() -> bool:
        # A command that comes before the horse has the job kills nobody, with RQ as with us.
        stage.command('{"command": "kill-horse"}')
        return bool(stage.redis.hget("rq:job:job-1", "status") == b"failed")

    wait_until(failed, 20, "the job to fail", every=0.2)
    stage.state(b"idle")


def worker_idle(stage: Stage) -> None:
    stage.worker("default")
    stage.state(b"idle")


def worker_dead(stage: Stage) -> None:
    stage.work()


def worker_suspended(stage: Stage) -> None:
    stage.redis.set("rq:suspended", 1, ex=300)
    stage.worker("default")
    stage.state(b"suspended")


def enqueued_options(stage: Stage) -> None:
    stage.queue.enqueue(operator.add, 1, 2, job_id="job-1")
    stage.queue.enqueue("math.sqrt", 4, job_id="job-2", at_front=True)
    golden: Any = load("3.0.0", "enqueued_options").keys["rq:job:job-3"].value
    stage.queue.enqueue(
        sorted,
        args=([3, 1, 2],),
        kwargs={"reverse": True},
        job_id="job-3",
        job_timeout="1h",
        ttl=3600,
        result_ttl=100,
        failure_ttl=300,
        description="custom text",
        meta={"user": "u1", "n": 1},
        retry=Retry(max=3, interval=[10, 20, 30], enqueue_at_front=True),
        repeat=Repeat(times=2, interval=[60, 120]),
        on_success=Callback("builtins.print", timeout=10),
        on_failure=Callback(print),
        on_stopped=Callback("builtins.print", "2m"),
    )
    # Webhooks have an issue of their own.
    stage.redis.hset("rq:job:job-3", "webhooks", golden[b"webhooks"])


LEASE = {
    r"rq:scheduler-lock:\w+$": "every worker of ours moves due jobs, RQ's only if asked to",
    r"rq:worker:worker-1: lives (5\d|60) s instead of (90|480) s": "twice our lease: a dead worker is unlisted sooner",
    r"rq:(wip:default|executions:job-1): score of .* is -?\d+\S* instead of": "a lease of 30 s, renewed every 10 s",
}
KNOWN: dict[str, dict[str, str]] = {
    "failed": {
        r"rq:failed:default: .*": "RQ leaves the id of a job with failure_ttl 0, which is deleted, until the next clean-up",
        r"rq:results:job-5: .*cannot import no.such.function: No module named 'no'": "our text says more",
    },
    "requeued": {
        r"field exc_info is 'no such field' instead of 'compressed text'": "RQ writes an empty one, readers take both",
        r"rq:job:job-1: lives None s instead of 31536000 s": "a job that waits must not expire by the limit of its former end",
        r"field worker_name is b'' instead of b'worker-1'": "a stale name would send stop commands to the wrong worker",
    },
    "repeat_pending": {
        r"field result is 'no such field' instead of 3": "a legacy field; readers take the results stream first",
    },
    "horse_killed": {
        r"rq:results:job-1: .*waitpid returned 9 \(signal 9\); SIGKILL, from outside": "our text says more",
        r"field (worker_name|last_heartbeat) is .* instead of (b''|'nothing')": "RQ blanks them with a stale save",
    },
    "stopped": {
        r"field total_working_time is 'something'": "the time until the stop was worked",
        r"field (worker_name|last_heartbeat) is .* instead of (b''|'nothing')": "RQ blanks them with a stale save",
    },
}
"""Scenario → a difference, as a regular expression → why it is right."""


@pytest.mark.parametrize(
    "play",
    [
        *(enqueued, enqueued_options, enqueued_json, unique, scheduled, deferred, canceled),
        *(finished, finished_json, failed, requeued, retry_pending, repeat_pending, dependents_released),
        *(started, started_two_queues, stopped, horse_killed, worker_idle, worker_dead, worker_suspended),
    ],
    ids=lambda play: play.__name__,
)
def test_we_leave_what_rq_left(play: Callable[[Stage], None], redis: redis_py.Redis, start_worker: StartWorker) -> None:
    play(Stage(redis, start_worker))
    found = dump(redis)
    seconds, microseconds = redis.time()
    golden = load("3.0.0", play.__name__)
    told = differences(golden, found, seconds + microseconds / 1e6)
    known = KNOWN.get(play.__name__, {})
    unexpected = [line for line in told if not any(re.search(pattern, line) for pattern in {**known, **LEASE})]
    assert not unexpected, "\n".join(unexpected)
    gone = [pattern for pattern in known if not any(re.search(pattern, line) for line in told)]
    assert not gone, f"a known difference is gone; take it off the list: {gone}"
