"""``rqk enqueue``: what it stores and what it says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import redis as redis_py

from rqk import Job, Queue
from tests.cli.conftest import Command
from tests.conftest import StartWorker


def test_a_job(rqk: Command, redis: redis_py.Redis) -> None:
    said = rqk("enqueue", "some.module.f", "text", ":1", "key=value")
    assert said.code == 0
    job = Queue(connection=redis).jobs[0]
    assert said.out == f"Enqueued some.module.f('text', 1, key='value') with job-id '{job.id}'.\n"
    assert (job.func_name, job.args, job.kwargs) == ("some.module.f", ["text", 1], {"key": "value"})


def test_every_option(rqk: Command, redis: redis_py.Redis) -> None:
    first = Queue("q", redis).enqueue("m.f").id
    words = "--queue q --timeout 1h --result-ttl 90 --ttl 5m --failure-ttl 1d --description words --job-id mine"
    retry = "--retry-max 2 --retry-interval 1 --retry-interval 5"
    said = rqk("enqueue", "m.f", *words.split(), *retry.split(), "--depends-on", first, "--quiet")
    assert (said.code, said.out) == (0, "")
    job = Job.fetch("mine", redis)
    assert (job.origin, job.timeout, job.result_ttl, job.ttl, job.failure_ttl) == ("q", 3600, 90, 300, 86400)
    assert (job.description, job.retries_left, list(job.retry_intervals)) == ("words", 2, [1, 5])
    assert (job.get_status(), list(job.dependency_ids)) == ("deferred", [first])


def test_at_the_front(rqk: Command, redis: redis_py.Redis) -> None:
    for words in (("--job-id", "second"), ("--job-id", "first", "--at-front")):
        assert rqk("enqueue", "m.f", *words).code == 0
    assert Queue(connection=redis).job_ids == ["first", "second"]


def test_later(rqk: Command, redis: redis_py.Redis) -> None:
    assert rqk("enqueue", "m.f", "--job-id", "at", "--schedule-at", "2031-02-03T04:05:06Z").code == 0
    assert rqk("enqueue", "m.f", "--job-id", "in", "--schedule-in", "2d").code == 0
    registry = Queue(connection=redis).scheduled_job_registry
    assert registry.get_scheduled_time("at") == datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    away = (registry.get_scheduled_time("in") - datetime.now(UTC)).total_seconds()
    assert 2 * 86400 - 60 < away <= 2 * 86400


def test_with_another_serializer(rqk: Command, redis: redis_py.Redis) -> None:
    assert rqk("enqueue", "m.f", ":[1]", "-S", "json", "--job-id", "mine").code == 0
    assert Job.fetch("mine", redis, serializer="json").args == [[1]]
    said = rqk("enqueue", "m.f", "%{1}", "-S", "json")
    assert said.code == 2
    assert "argument 1 ({1}) cannot be serialized" in said.err


def test_json(rqk: Command, redis: redis_py.Redis) -> None:
    told = json.loads(rqk("enqueue", "m.f", "--queue", "a queue: 1", "--json").out)
    assert told == {"id": told["id"], "queue": "a queue: 1", "call": "m.f()", "status": "queued"}
    assert Queue("a queue: 1", redis).job_ids == [told["id"]]


def test_waiting_for_the_result(rqk: Command, start_worker: StartWorker) -> None:
    start_worker("default")
    said = rqk("enqueue", "tests.support.jobs.add", ":1", ":2", "--wait", "20")
    assert (said.code, said.out.splitlines()[-1]) == (0, "3")
    said = rqk("enqueue", "tests.cli.jobs.point", ":7", "--wait", "20")
    assert (said.code, said.out.splitlines()[-1]) == (0, "Point(7)")
    said = rqk("enqueue", "tests.cli.jobs.point", ":7", "--wait", "20", "--json")
    told = json.loads(said.out)
    assert (said.code, told["status"], told["result"], told["error"]) == (0, "finished", "Point(7)", None)


def test_waiting_for_a_failure(rqk: Command, start_worker: StartWorker) -> None:
    start_worker("default")
    said = rqk("enqueue", "tests.support.jobs.fail", "my words", "--wait", "20")
    assert said.code == 1
    assert "has failed" in said.err
    assert "ValueError: my words" in said.err
    told = json.loads(rqk("enqueue", "tests.support.jobs.fail", "--wait", "20", "--json").out)
    assert (told["status"], told["result"]) == ("failed", None)
    assert "ValueError: on purpose" in told["error"]


def test_waiting_through_retries(
    rqk: Command, start_worker: StartWorker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    start_worker("default")
    notes = tmp_path_factory.mktemp("notes") / "tries"
    said = rqk("enqueue", "tests.support.jobs.fail_times", str(notes), ":1", "--retry-max", "2", "--wait", "20")
    assert said.code == 0, said.err


def test_waiting_in_vain(rqk: Command) -> None:
    said = rqk("enqueue", "m.f", "--wait", "0.2")
    assert said.code == 3
    assert "has not ended yet; it is queued" in said.err


def test_waiting_for_a_job_that_somebody_deletes(
    rqk: Command, redis: redis_py.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rqk.clock.monotonic", lambda: redis.delete("rq:job:mine") * 0.0)
    said = rqk("enqueue", "m.f", "--job-id", "mine", "--wait", "20")
    assert said.code == 1
    assert "Job mine is gone" in said.err
