"""The pages of a whole worker: metrics, health, readiness, and what jobs themselves count."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import redis as redis_py
from prometheus_client.parser import text_string_to_metric_families

from rqk import Queue
from rqk.store import workers
from tests.conftest import StartWorker
from tests.support import jobs
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess
from tests.worker import jobs_live
from tests.worker.live import ended, get, running, waits

pytestmark = pytest.mark.usefixtures("settled")
Client = redis_py.Redis
OPTIONS = ("--metrics-host", "127.0.0.1", "--metrics-port", "0", "--name", "w")


def base(worker: WorkerProcess) -> str:
    """Where a worker serves its pages, as its log says."""
    worker.wait_for_log("metrics on http://")
    found = re.search(r"metrics on (http://[\d.:]+)/metrics", worker.log)
    assert found is not None
    return found[1]


def value(url: str, name: str, **labels: str) -> float:
    """The sum of a sample over all labels that are not named."""
    text = get(f"{url}/metrics")[1]
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


def test_what_a_worker_counts(redis: Client, start_worker: StartWorker) -> None:
    url = base(start_worker("default", "low", options=OPTIONS))
    queue = Queue(connection=redis)
    made = [queue.enqueue(jobs.add, 1), queue.enqueue(jobs.fail), queue.enqueue(jobs.leave, 3)]
    made += [Queue("low", redis).enqueue(jobs.add, 1)]
    for job in made:
        ended(job)
    status, page = get(f"{url}/metrics")
    assert status == 200
    for name in ("rqk_jobs_total", "rqk_job_duration_seconds", "rqk_job_wait_seconds", "rqk_worker_state"):
        assert f"# TYPE {name.removesuffix('_total')}" in page or f"# TYPE {name}" in page, name

    def ends(**labels: str) -> float:
        return value(url, "rqk_jobs_total", **labels)

    wait_until(lambda: ends() == 4, 5, "all ends to be counted")
    assert ends(queue="default", outcome="finished") == ends(queue="low", outcome="finished") == 1
    assert ends(outcome="failed") == ends(outcome="crashed") == 1


def test_what_jobs_count(redis: Client, start_worker: StartWorker) -> None:
    """Each runs in a fork of its own, and their counters add up in the worker."""
    url = base(start_worker("default", options=OPTIONS))
    for number in (1, 2, 4):
        job = Queue(connection=redis).enqueue(jobs_live.count, number)
        assert ended(job) == "finished", job.exc_info
    wait_until(lambda: value(url, "live_done_total", kind="plain") == 7, 5, "the jobs' own counter")
    assert value(url, "live_size_count") == 3
    assert value(url, "live_size_bucket", le="1.0") == 1


def test_health_and_readiness(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker("default", options=OPTIONS)
    url = base(worker)
    wait_until(lambda: get(f"{url}/readyz")[0] == 200, 10, "the worker to be ready")
    assert get(f"{url}/healthz")[0] == 200
    assert get(f"{url}/nowhere")[0] == 404
    waits(redis, worker)
    assert workers.retire(redis, "w") == "retiring"
    wait_until(lambda: get(f"{url}/readyz")[0] == 503, 5, "a retiring worker to be unready")
    assert "retiring: takes no more jobs" in get(f"{url}/readyz")[1]
    assert get(f"{url}/healthz")[0] == 200
    workers.unretire(redis, "w")
    wait_until(lambda: get(f"{url}/readyz")[0] == 200, 5)
    held = running(redis, tmp_path)
    assert get(f"{url}/readyz")[0] == 200
    worker.process.terminate()
    wait_until(lambda: "stopping: takes no more jobs" in get(f"{url}/readyz")[1], 5, "a stopping worker to be unready")
    assert get(f"{url}/healthz")[0] == 200
    held.open()
    assert worker.wait() == 0
    assert get(f"{url}/healthz") == (0, "")


def test_health_does_not_depend_on_redis(redis: Client, proxy: Proxy, start_worker: StartWorker) -> None:
    worker = start_worker("default", url=proxy.url, options=OPTIONS)
    url = base(worker)
    proxy.refuse()
    worker.wait_for_log("asking again", times=2)
    assert get(f"{url}/healthz")[0] == 200
    proxy.accept()
    worker.wait_for_log("Redis answers again")
    assert get(f"{url}/readyz")[0] == 200
    assert value(url, "rqk_redis_reconnects_total") >= 1


def test_readiness_waits_for_the_preload(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "slow_module.py").write_text(
        f"import os, time\nwhile not os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\n"
    )
    worker = start_worker("default", options=[*OPTIONS, "--preload", "slow_module", "--path", str(tmp_path)])
    url = base(worker)
    assert get(f"{url}/readyz")[0] == 503
    assert "modules are being imported" in get(f"{url}/readyz")[1]
    job = Queue(connection=redis).enqueue(jobs.add, 1)
    gate.touch()
    assert ended(job) == "finished"
    assert get(f"{url}/readyz")[0] == 200


def test_a_port_that_is_taken(redis: Client, start_worker: StartWorker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = start_worker("default", options=["--metrics-host", "127.0.0.1", "--metrics-port", str(port)])
        url = base(worker)
        assert f"(port {port} is taken)" in worker.log
        assert not url.endswith(f":{port}")
        assert get(f"{url}/metrics")[0] == 200


def test_the_pages_outlive_the_zygote(redis: Client, start_worker: StartWorker) -> None:
    worker = start_worker("default", options=OPTIONS)
    url = base(worker)
    zygote = worker.zygote
    assert zygote is not None
    zygote.kill()
    wait_until(lambda: value(url, "rqk_zygote_restarts_total") == 1, 10, "the restart to be counted")
    assert ended(Queue(connection=redis).enqueue(jobs.add, 1)) == "finished"
    assert get(f"{url}/metrics")[0] == 200


def test_without_metrics_nobody_listens(redis: Client, start_worker: StartWorker) -> None:
    worker = start_worker("default", options=["--no-metrics"])
    waits(redis, worker)
    assert "metrics on" not in worker.log
    table = Path(f"/proc/{worker.pid}/net/tcp").read_text().splitlines()[1:]
    listening = {line.split()[9] for line in table if line.split()[3] == "0A"}
    mine = {
        link.readlink().name.removeprefix("socket:[").rstrip("]")
        for link in Path(f"/proc/{worker.pid}/fd").iterdir()
        if link.is_symlink() and str(link.readlink()).startswith("socket:")
    }
    assert not listening & mine
