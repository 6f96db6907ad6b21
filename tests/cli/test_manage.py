"""``rqk suspend``, ``resume``, ``empty`` and ``requeue``: what rq does, in its words."""

from __future__ import annotations

import pytest
import redis as redis_py

from rqk import Queue
from tests.cli.conftest import Command
from tests.conftest import StartWorker
from tests.support.jobs import add, fail
from tests.support.realrq import RealRq
from tests.support.waiting import wait_until


def test_suspend_for_a_while(rqk: Command, redis: redis_py.Redis) -> None:
    said = rqk("suspend", "--duration", "10m")
    assert (said.code, 590 < redis.ttl("rq:suspended") <= 600) == (0, True)
    assert said.out.splitlines() == [
        "Suspending workers for 600 seconds. No new jobs will be started during that time, but then will",
        "        automatically resume",
    ]
    assert rqk("resume").code == 0
    assert not redis.exists("rq:suspended")


def test_empty(rqk: Command, redis: redis_py.Redis) -> None:
    for name in ("high", "high", "two words", "low"):
        Queue(name, redis).enqueue(add, 1)
    assert rqk("empty").out == "Nothing to do\n"
    assert rqk("empty", "high", "nope").out == "2 jobs removed from high queue\n0 jobs removed from nope queue\n"
    assert rqk("empty", "--all").out.splitlines() == [
        "0 jobs removed from high queue",
        "1 jobs removed from low queue",
        "1 jobs removed from two words queue",
    ]
    assert not redis.keys("rq:job:*")


def test_requeue(rqk: Command, redis: redis_py.Redis, start_worker: StartWorker) -> None:
    queue = Queue(connection=redis)
    jobs = [queue.enqueue(fail) for _ in range(3)]
    worker = start_worker("default")
    wait_until(lambda: queue.failed_job_registry.count == 3, what="the jobs to fail")
    worker.terminate()
    assert rqk("requeue", "--queue", "default").out == "Nothing to do\n"
    said = rqk("requeue", "--queue", "default", jobs[0].id)
    assert (said.code, said.out) == (0, "Requeueing 1 jobs from failed queue\n")
    said = rqk("requeue", "--queue", "default", jobs[0].id, "unknown", jobs[1].id)
    assert said.code == 1
    assert "Unable to requeue 2 jobs from failed job registry" in said.err
    said = rqk("requeue", "--queue", "default", "--all")
    assert (said.code, said.out) == (0, "Requeueing 1 jobs from failed queue\n")
    assert set(queue.job_ids) == {job.id for job in jobs}
    assert rqk("requeue", "--queue", "default", "--all").out == "Nothing to do\n"


@pytest.mark.timeout(300)
def test_the_words_are_those_of_rq(rqk: Command, redis: redis_py.Redis, redis_url: str) -> None:
    commands = ["suspend", "suspend --duration 60", "resume", "empty", "empty low nope", "requeue --queue low"]
    with RealRq("3.0.0", redis_url) as rq:
        for command in commands:
            Queue("low", redis).enqueue(add, 1)
            theirs = rq.cli(*command.split()).stdout.rstrip()
            redis.flushall()
            Queue("low", redis).enqueue(add, 1)
            assert rqk(*command.split()).out.rstrip() == theirs
            redis.flushall()
