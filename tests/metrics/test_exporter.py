"""The exporter beside the real rq-exporter, on one Redis, over HTTP."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from rqk.core import keys
from rqk.errors import BadUrl
from rqk.metrics import catalogue
from rqk.metrics.endpoint import EndpointError
from rqk.metrics.exporter import registry, serve
from rqk.metrics.settings import BadSetting, ExporterSettings, exporter_settings
from tests.metrics.reading import samples
from tests.support.realrq import EXPORTER, RealRq
from tests.support.server import Server, free_port
from tests.support.venvs import venv_python
from tests.support.waiting import wait_until
from tests.support.workers import ProcessWithLog, user_environment

ROOT = Path(__file__).resolve().parents[2]


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
        assert response.status == 200
        return str(response.read().decode())


@contextmanager
def ours(url: str, **options: Any) -> Iterator[int]:
    """Our exporter in a thread of this process; yields its port."""
    stop, opened, ports = threading.Event(), threading.Event(), []

    def ready(port: int) -> None:
        ports.append(port)
        opened.set()

    with redis_py.Redis.from_url(url) as client:
        thread = threading.Thread(
            target=serve, args=(client, "127.0.0.1", 0), kwargs={"stop": stop, "ready": ready, **options}
        )
        thread.start()
        try:
            assert opened.wait(10)
            yield ports[0]
        finally:
            stop.set()
            thread.join()


@contextmanager
def theirs(url: str, log: Path) -> Iterator[int]:
    """The real rq-exporter; yields its port."""
    port = free_port()
    command = str(venv_python("rq-exporter", *EXPORTER).parent / "rq-exporter")
    process = ProcessWithLog([command, "--host", "127.0.0.1", "--port", str(port), "--redis-url", url], log)

    def answers() -> bool:
        try:
            return bool(fetch(port))
        except OSError:
            assert process.alive, process.log
            return False

    try:
        wait_until(answers, 30, "rq-exporter to answer")
        yield port
    finally:
        process.close()


def families(text: str) -> dict[str, tuple[str, str, list[str]]]:
    """Each family of rq-exporter's on a page: help, type, and its samples without values, sorted."""
    found: dict[str, tuple[str, str, list[str]]] = {}
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    for name, kind in re.findall(r"^# TYPE (rq_\S+) (\S+)$", text, re.MULTILINE):
        lines = re.findall(rf"^({re.escape(name)}(?:_count|_sum)?(?:{{.*}})?) \S+$", text, re.MULTILINE)
        found[name] = (helps[name], kind, sorted(lines))
    return found


@pytest.fixture
def busy_redis(redis_url: str, tmp_path: Path) -> Iterator[str]:
    """Two queues with jobs in most states, one worker that waits, one that was there; all made by the real RQ."""
    with RealRq("2.12.0", redis_url) as rq:
        for number in (4, 9, -1):
            rq.enqueue("math.sqrt", number)
        rq.burst("high", "default")
        for queue in ("default", "high", "high"):
            rq.enqueue("math.sqrt", 16, queue=queue)
        rq.run(
            "from datetime import timedelta\n"
            "queue = Queue('default', connection=connection)\n"
            "first = queue.enqueue('math.sqrt', 1)\n"
            "queue.enqueue('math.sqrt', 1, depends_on=first)\n"
            "queue.enqueue_in(timedelta(hours=1), 'math.sqrt', 1)\n"
            "queue.enqueue_in(timedelta(seconds=-30), 'math.sqrt', 1)\n"
            "result = None"
        )
        with_worker = rq.worker(tmp_path / "worker.log", "idle", "high2", options=["--name", "w 1"])
        try:
            rq.enqueue("math.sqrt", 16, queue="idle")
            rq.enqueue("math.sqrt", -16, queue="idle")
            with redis_py.Redis.from_url(redis_url) as client:
                wait_until(lambda: client.hget(keys.worker("w 1"), "failed_job_count") == b"1", 20, "the worker's jobs")
                wait_until(lambda: client.hget(keys.worker("w 1"), "state") == b"idle", 20, "an idle worker")
            yield redis_url
        finally:
            with_worker.close()


def test_names_labels_values_and_texts_are_those_of_the_real_one(busy_redis: str, tmp_path: Path) -> None:
    with ours(busy_redis) as our_port, theirs(busy_redis, tmp_path / "exporter.log") as their_port:
        fetch(our_port)
        mine, real = fetch(our_port), fetch(their_port)
    wanted = families(real)
    assert set(wanted) == {
        "rq_request_processing_seconds",
        "rq_request_processing_seconds_created",
        "rq_workers",
        "rq_workers_success_total",
        "rq_workers_failed_total",
        "rq_workers_working_time_total",
        "rq_jobs",
    }
    assert {name: family for name, family in families(mine).items() if not name.startswith("rqk_")} == wanted
    values = {name: value for name, value in samples(mine).items() if name.startswith(("rq_jobs", "rq_workers"))}
    real_values = {name: value for name, value in samples(real).items() if name.startswith(("rq_jobs", "rq_workers"))}
    assert values == real_values
    assert values["rq_workers{name=w 1,queues=idle,high2,state=idle}"] == 1
    assert values["rq_workers_failed_total{name=w 1,queues=idle,high2}"] == 1
    # In the order of the page, which dashboards do not mind but people who compare pages do.
    assert [name for name in families(mine) if name in wanted] == list(wanted)


def test_what_rq_exporter_does_not_tell(busy_redis: str) -> None:
    with ours(busy_redis) as port:
        found = samples(fetch(port))
    assert found["rqk_exporter_redis_up"] == 1
    assert found["rqk_exporter_unreadable_queues"] == 0
    assert found["rqk_suspended"] == 0
    depth = {state: found[f"rqk_queue_depth{{queue=default,state={state}}}"] for state in catalogue.ALL_STATES}
    assert depth == dict.fromkeys(catalogue.ALL_STATES, 0) | {
        "queued": 2,
        "finished": 2,
        "failed": 1,
        "deferred": 1,
        "scheduled": 2,
    }
    assert 0 < found["rqk_queue_oldest_job_age_seconds{queue=high}"] < 60
    assert found["rqk_queue_oldest_job_age_seconds{queue=idle}"] == 0
    assert 29 < found["rqk_scheduler_lag_seconds{queue=default}"] < 90
    assert found["rqk_scheduler_due_jobs{queue=default}"] == 1
    assert found["rqk_queue_workers{queue=idle,state=idle}"] == 1
    assert found["rqk_queue_workers{queue=default,state=none}"] == 0
    assert found["rqk_redis_memory_bytes{class=used}"] > 100_000


def test_the_page_holds_what_the_catalogue_says_and_nothing_else(busy_redis: str) -> None:
    with redis_py.Redis.from_url(busy_redis, decode_responses=True) as client:
        for django in (False, True):
            found = {metric.name: metric for metric in registry(client, django_names=django).collect()}
            declared = catalogue.EXPORTER_FAMILIES + (catalogue.DJANGO_FAMILIES if django else ())
            names = {
                family.name.removesuffix("_total") if family.kind is catalogue.Kind.COUNTER else family.name: family
                for family in declared
            }
            assert {name for name in found if not name.startswith(("process_", "python_"))} == set(names)
            for name, family in names.items():
                assert (found[name].type, found[name].documentation) == (family.kind.value, family.help)
                assert all(set(sample.labels) == set(family.labels) for sample in found[name].samples)


def test_django_rqs_names_on_request(busy_redis: str) -> None:
    with ours(busy_redis, django_names=True) as port:
        fetch(port)
        found = samples(fetch(port))
    assert found["rq_job_successful_total{name=w 1,queues=idle,high2}"] == 1
    assert found["rq_job_failed_total{name=w 1,queues=idle,high2}"] == 1
    assert found["rq_working_seconds_total{name=w 1,queues=idle,high2}"] > 0
    assert found["rq_request_processing_seconds_total_count"] == 1


def test_a_look_changes_nothing(busy_redis: str) -> None:
    with redis_py.Redis.from_url(busy_redis) as client:

        def everything() -> dict[bytes, bytes]:
            return {key: client.dump(key) for key in client.scan_iter() if not key.startswith(keys.worker("").encode())}

        before = everything()
        with ours(busy_redis) as port:
            fetch(port)
        assert everything() == before


def test_a_queue_that_cannot_be_read_hides_no_other(redis: redis_py.Redis, redis_url: str) -> None:
    redis.sadd(keys.QUEUES, keys.queue("good"), keys.queue("bad"))
    redis.set(keys.queue("bad"), "no list")
    redis.rpush(keys.queue("good"), "1")
    with ours(redis_url) as port:
        found = samples(fetch(port))
    assert found["rq_jobs{queue=good,status=queued}"] == 1
    assert not [name for name in found if "queue=bad" in name and "state=none" not in name]
    assert found["rqk_exporter_unreadable_queues"] == 1


def test_redis_may_go_and_come_back(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with server.client() as client:
        client.sadd(keys.QUEUES, keys.queue("q"))
    with ours(server.url) as port:
        assert samples(fetch(port))["rq_jobs{queue=q,status=queued}"] == 0
        server.stop()
        for _ in range(2):
            away = samples(fetch(port))
            assert away["rqk_exporter_redis_up"] == 0
            assert "rq_jobs{queue=q,status=queued}" not in away
        assert away["rq_request_processing_seconds_count"] == 2
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as probe:
            assert probe.status == 200
        server.start()
        assert samples(fetch(port))["rq_jobs{queue=q,status=queued}"] == 0
    assert caplog.text.count("rqk_exporter_redis_up 0") == 1


def test_a_silent_redis_does_not_delay_the_probe(server: Server) -> None:
    with ours(f"{server.url}?socket_timeout=2") as port:
        server.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
        try:
            scrape = threading.Thread(target=fetch, args=(port,))
            scrape.start()
            for _ in range(3):
                start = time.monotonic()
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as probe:
                    assert probe.status == 200
                assert time.monotonic() - start < 1
            scrape.join()
        finally:
            server.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]


def test_a_user_who_may_not_ask_for_info_sees_the_queues(server: Server) -> None:
    with server.client() as client:
        client.sadd(keys.QUEUES, keys.queue("q"))
        client.execute_command("ACL", "SETUSER", "eyes", "on", ">pass", "~*", "+@all", "-info")
    with ours(server.url.replace("redis://", "redis://eyes:pass@")) as port:
        found = samples(fetch(port))
    assert found["rqk_exporter_redis_up"] == 1
    assert found["rq_jobs{queue=q,status=queued}"] == 0
    assert not [name for name in found if name.startswith("rqk_redis_memory")]


def test_it_ends_on_sigterm_and_refuses_a_taken_port(redis_url: str, tmp_path: Path) -> None:
    code = (
        "import sys; from rqk.metrics.exporter import serve; from rqk.store.connect import connect;"
        "serve(connect(sys.argv[1]), '127.0.0.1', int(sys.argv[2]), ready=lambda port: print('port', port))"
    )
    process = ProcessWithLog([sys.executable, "-c", code, redis_url, "0"], tmp_path / "log")
    try:
        process.wait_for_log("port ")
        port = int(process.log.split("port ")[1].split()[0])
        assert samples(fetch(port))["rqk_exporter_redis_up"] == 1
        with redis_py.Redis.from_url(redis_url) as client, pytest.raises(EndpointError, match="Address already in use"):
            serve(client, "127.0.0.1", port, stop=threading.Event())
        os.kill(process.pid, signal.SIGTERM)
        assert process.process.wait(10) == 0
    finally:
        process.close()


def test_as_a_wsgi_application(redis_url: str) -> None:
    code = (
        "from rqk.metrics.exporter import create_app; app = create_app();"
        "print(b''.join(app({'REQUEST_METHOD': 'GET', 'PATH_INFO': '/metrics'}, lambda *a: None)).decode())"
    )
    environment = user_environment({"RQ_REDIS_URL": redis_url})
    page = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True, env=environment)
    assert samples(page)["rqk_exporter_redis_up"] == 1


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "redis://localhost:6379/0"),
        ({"REDIS_URL": "redis://there/1"}, "redis://there/1"),
        ({"RQ_REDIS_URL": "redis://there/2", "RQ_REDIS_HOST": "x", "RQ_SENTINEL_HOST": "y"}, "redis://there/2"),
        ({"RQ_REDIS_HOST": "h", "RQ_REDIS_PORT": "7", "RQ_REDIS_DB": "3"}, "redis://h:7/3"),
        ({"RQ_REDIS_PASS": "a/b@c"}, "redis://:a%2Fb%40c@localhost:6379/0"),
        ({"RQ_REDIS_HOST": "h", "RQ_REDIS_PORT": "tcp://10.0.0.7:6380"}, "redis://h:6380/0"),
        ({"RQ_SENTINEL_HOST": "a, b"}, "redis+sentinel://a:26379,b:26379/master/0"),
        (
            {"RQ_SENTINEL_HOST": "a", "RQ_SENTINEL_PORT": "1", "RQ_SENTINEL_MASTER": "m", "RQ_REDIS_PASS": "p", "RQ_REDIS_DB": "2"},
            "redis+sentinel://:p@a:1/m/2",
        ),
    ],
)  # fmt: skip
def test_rq_exporters_variables_name_the_redis(environment: dict[str, str], url: str) -> None:
    assert exporter_settings(environment).redis_url == url


def test_a_given_url_wins_and_a_password_can_be_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    environment = {"RQ_REDIS_HOST": "h", "RQ_REDIS_PASS": "other", "RQ_REDIS_PASS_FILE": str(secret)}
    assert exporter_settings(environment).redis_url == "redis://:s3cret@h:6379/0"
    assert exporter_settings(environment, "redis://mine").redis_url == "redis://mine"


def test_the_other_variables() -> None:
    assert exporter_settings({}) == ExporterSettings(redis_url="redis://localhost:6379/0", origin="the default")
    found = exporter_settings(
        {
            "RQ_EXPORTER_HOST": "::1",
            "RQ_EXPORTER_PORT": "1234",
            "RQ_EXPORTER_LOG_LEVEL": "debug",
            "RQ_EXPORTER_LOG_FORMAT": "%(message)s",
            "RQ_EXPORTER_LOG_DATEFMT": "%H",
            "RQ_WORKER_CLASS": "my.Worker",
            "RQK_EXPORTER_DJANGO_NAMES": "yes",
        }
    )
    assert (found.host, found.port, found.log_level, found.log_format) == ("::1", 1234, "DEBUG", "%(message)s")
    assert (found.log_date_format, found.ignored, found.django_names) == ("%H", ("RQ_WORKER_CLASS",), True)


@pytest.mark.parametrize(
    ("environment", "error"),
    [
        ({"RQ_EXPORTER_PORT": "many"}, "RQ_EXPORTER_PORT must be a number from 0 to 65535, not 'many'"),
        ({"RQ_EXPORTER_PORT": "70000"}, "RQ_EXPORTER_PORT must be"),
        ({"RQ_REDIS_DB": "-1"}, "RQ_REDIS_DB must be"),
        ({"RQ_REDIS_PASS_FILE": "/no/such/file"}, "RQ_REDIS_PASS_FILE: .*No such file"),
    ],
)
def test_bad_variables_are_named(environment: dict[str, str], error: str) -> None:
    with pytest.raises((BadSetting, BadUrl), match=error):
        exporter_settings(environment)
