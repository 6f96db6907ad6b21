"""``rqk worker``: options, variables and settings modules reach the worker."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import redis as redis_py

from rqk import Queue
from rqk.store.snapshot import snapshot
from tests.cli.conftest import Command, Process
from tests.cli.jobs import modules_of
from tests.conftest import StartWorker
from tests.support.jobs import add, environment
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.workers import ROOT, ProcessWithLog


@pytest.mark.parametrize("name", ["two words", "a:b:c", "ünïcödé ☃", "rq:queue:x", "[bold]q[/]", "%s {0}"])
def test_any_name_of_a_queue_works_from_end_to_end(
    name: str, rqk: Command, rqk_process: Process, redis_url: str
) -> None:
    said = rqk("enqueue", "tests.support.jobs.add", ":1", ":2", "--queue", name, "--job-id", "mine", "--json")
    assert json.loads(said.out)["queue"] == name
    assert f"{name:<12} |█ 1, " in rqk("info").out
    assert f"queue {name} 1, " in rqk("info", "--raw", name).out
    said = rqk_process("worker", name, "--burst", "--no-metrics", "--url", redis_url)
    assert said.code == 0, said.err
    assert f"*** Listening on {name}..." in said.out
    assert "Job OK, result = 3" in said.out
    assert f"queue {name} 0, 0 executing, 1 finished, 0 failed" in rqk("info", "--raw").out


def test_jobs_find_nothing_of_ours_imported_that_they_do_not_need(
    redis: redis_py.Redis, start_worker: StartWorker
) -> None:
    job = Queue(connection=redis).enqueue(modules_of, "prometheus_client", "pydantic", "rich", "yaml", "rqk")
    start_worker("default", options=["--metrics-port", "0"])
    wait_until(lambda: job.get_status() == "finished", what="the job to end")
    assert job.return_value() == ["rqk"]


def test_words_variables_and_their_order(start_worker: StartWorker, redis: redis_py.Redis) -> None:
    worker = start_worker(RQK_NAME="from-variable", RQK_QUEUES="a queue,low", RQK_MAX_JOBS="1")
    assert "*** Listening on a queue, low..." in worker.log
    assert [seen.name for seen in snapshot(redis, ()).workers] == ["from-variable"]
    Queue("low", redis).enqueue(add, 1)
    assert worker.wait() == 0
    worker = start_worker("high", options=["--name", "from-word"], RQK_NAME="from-variable", RQK_QUEUES="a,b")
    assert "*** Listening on high..." in worker.log
    assert [seen.name for seen in snapshot(redis, ()).workers] == ["from-word"]


@pytest.mark.parametrize("variable", ["RQK_URL", "RQ_REDIS_URL", "REDIS_URL"])
def test_the_url_from_a_variable(variable: str, rqk_process: Process, redis: redis_py.Redis, redis_url: str) -> None:
    Queue("high", redis).enqueue(add, 1)
    assert "high" in rqk_process("info", env={variable: redis_url}).out


def test_a_settings_module(start_worker: StartWorker, redis: redis_py.Redis, rqk: Command) -> None:
    worker = start_worker(options=["--config", "tests.cli.settings_module"])
    assert "*** Listening on from the module, low..." in worker.log
    assert [seen.name for seen in snapshot(redis, ()).workers] == ["named-by-module"]
    said = rqk("info", "-c", "tests.cli.settings_module", url=None)
    assert (said.code, "127.0.0.1:1" in said.err) == (1, True)


def test_a_settings_module_found_by_path(rqk: Command, redis: redis_py.Redis, tmp_path: Path, valkey: Server) -> None:
    (tmp_path / "own_settings.py").write_text(f"REDIS_HOST = '127.0.0.1'\nREDIS_PORT = {valkey.port}\n")
    Queue("high", redis).enqueue(add, 1)
    assert "high" in rqk("info", "-c", "own_settings", "--path", str(tmp_path), url=None).out


def test_logging_as_a_settings_module_says(
    rqk_process: Process, redis_url: str, redis: redis_py.Redis, tmp_path: Path
) -> None:
    file = tmp_path / "worker.log"
    handler = {"class": "logging.FileHandler", "filename": str(file)}
    config = {"version": 1, "handlers": {"file": handler}, "root": {"handlers": ["file"], "level": "INFO"}}
    (tmp_path / "logging_settings.py").write_text(f"DICT_CONFIG = {config!r}\n")
    words = ("--path", str(tmp_path), "-c", "logging_settings")
    said = rqk_process("worker", "--burst", "--no-metrics", "--url", redis_url, *words)
    assert (said.code, said.out, said.err) == (0, "", "")
    assert "*** Listening on default..." in file.read_text()


def test_modules_are_found_where_path_says(
    rqk_process: Process, redis: redis_py.Redis, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere.py").write_text("def answer():\n    return 42\n")
    job = Queue(connection=redis).enqueue("elsewhere.answer")
    words = ("worker", "-b", "--no-metrics", "-u", redis_url, "-P", str(tmp_path), "--preload", "elsewhere")
    said = rqk_process(*words)
    assert "preloaded elsewhere" in said.out
    assert job.return_value() == 42


def test_log_lines(rqk_process: Process, redis: redis_py.Redis, redis_url: str) -> None:
    def lines(*words: str) -> list[str]:
        Queue(connection=redis).enqueue(add, 1, description="secret call", job_id="mine")
        said = rqk_process("worker", "-b", "--no-metrics", "-u", redis_url, *words)
        assert said.code == 0, said.err
        return said.out.splitlines()

    assert any(
        "Job OK" in line for line in lines("--log-format", "%(levelname)s|%(message)s") if line.startswith("INFO|")
    )
    told = [json.loads(line) for line in lines("--log-format", "json")]
    assert any(line["message"].startswith("*** Listening") and line["level"] == "info" for line in told)
    assert lines("-q") == []
    assert lines("--logging_level", "warning") == []
    assert "secret call" in "\n".join(lines())
    assert "secret call" not in "\n".join(lines("--disable-job-desc-logging"))


def test_a_file_gets_the_process_id(start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker(options=["--pid", str(tmp_path / "pid")])
    pid = int((tmp_path / "pid").read_text())
    assert pid == worker.pid
    assert f"started with PID {pid}," in worker.log


def test_options_of_rq_without_effect_are_named(rqk_process: Process, redis: redis_py.Redis, redis_url: str) -> None:
    words = "worker --burst --no-metrics --worker-ttl 420 --maintenance-interval 600 --job-monitoring-interval 30"
    said = rqk_process(*words.split(), "--url", redis_url)
    assert said.code == 0
    assert [line.split()[0] for line in said.err.splitlines()] == [
        *("--worker-ttl", "--maintenance-interval", "--job-monitoring-interval")
    ]


def test_a_burst_does_not_wait_for_the_end_of_a_suspension(
    rqk_process: Process, redis: redis_py.Redis, redis_url: str
) -> None:
    queue = Queue(connection=redis)
    queue.enqueue("builtins.len", "abc")
    redis.set("rq:suspended", 1)
    said = rqk_process("worker", "--burst", "--no-metrics", "--url", redis_url)
    assert (said.code, queue.count) == (0, 1)
    assert "a burst does not wait for that: it leaves, and jobs stay" in said.out


def test_a_suspended_worker_waits_instead_of_leaving(
    rqk: Command, redis: redis_py.Redis, start_worker: StartWorker
) -> None:
    assert "Suspending workers." in rqk("suspend").out
    worker = start_worker("default")
    job = Queue(connection=redis).enqueue(add, 1, 2)
    wait_until(lambda: snapshot(redis, ()).workers[0].state == "suspended", what="the worker to be suspended")
    assert job.get_status() == "queued"
    worker.wait_for_log('RQ is currently suspended, to resume job execution run "rqk resume"')
    assert worker.alive
    assert rqk("resume").out == "Resuming workers.\n"
    wait_until(lambda: job.get_status() == "finished", what="the job to run")


def test_jobs_run_with_the_options_given(redis: redis_py.Redis, start_worker: StartWorker) -> None:
    start_worker("default", options=["--name", "me", "--results-ttl", "77", "--recycle-after", "3"])
    job = Queue(connection=redis).enqueue(environment, "RQ_WORKER_ID")
    wait_until(lambda: job.get_status() == "finished", what="the job to end")
    assert job.return_value() == {"RQ_WORKER_ID": "me"}
    assert 60 < redis.ttl(job.key) <= 77


def test_the_metrics_port_kubernetes_sets_for_a_service_is_understood(
    tmp_path: Path, redis: redis_py.Redis, redis_url: str
) -> None:
    # A Service named rqk-metrics makes Kubernetes set this for every container of the namespace.
    env = {"RQK_METRICS_PORT": "tcp://10.0.0.7:0"}
    worker = ProcessWithLog(
        [sys.executable, "-m", "rqk", "worker", "-u", redis_url], tmp_path / "log", env=env, cwd=ROOT
    )
    try:
        worker.wait_for_log("metrics on http://0.0.0.0:")
    finally:
        worker.close()
