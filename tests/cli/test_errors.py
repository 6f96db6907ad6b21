"""Every mistake a user can make ends in a sentence about it and the right exit code; never in a traceback."""

from __future__ import annotations

import marshal
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import redis as redis_py
from redis.crc import key_slot

from rqk import Queue
from tests.cli.conftest import Command, Process
from tests.conftest import MakeServer, StartWorker
from tests.support.proxy import Proxy
from tests.support.server import free_port
from tests.support.tls import make_certificate
from tests.support.waiting import wait_until
from tests.support.workers import ROOT, user_environment

NOBODY = "redis://127.0.0.1:1"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("worker a,b", "give several queues as words: a b"),
        ("worker --lease 0", "'--lease': it must be at least 1 seconds, not 0"),
        ("worker --grace soon", "'--grace': 'soon' is not a duration; give seconds, or a number with s, m, h or d"),
        ("worker --grace nan", "'--grace': 'nan' is not a number of seconds"),
        ("worker --recycle-after 0", "'--recycle-after': 0 is not in the range x>=1"),
        ("worker --job-memory-limit lots", "'--job-memory-limit': 'lots' is not a size"),
        ("worker --metrics-port 70000", "'--metrics-port': '70000' is not a port"),
        ("worker --abandoned retry", "'fail', 'requeue'"),
        ("worker --dequeue-strategy lifo", "'default', 'round_robin', 'random'"),
        ("worker -v -q", "--verbose and --quiet contradict each other"),
        ("worker -c no.such.module", "--config no.such.module: No module named 'no'"),
        ("worker -w rq.SimpleWorker", "instead of SimpleWorker use --recycle-after N"),
        ("worker --exception-handler my.handler", "use on_failure callbacks"),
        ("worker --sentry-dsn https://key@sentry.io/1", "--sentry-dsn cannot be used here: jobs are not reported to"),
        ("worker --pid /no/such/directory/pid", "/no/such/directory/pid"),
        ("worker --no-such-option", "No such option"),
        ("worker -P /no/such/directory", "'/no/such/directory' does not exist"),
        ("worker --log-format %(nope)s", "'%(nope)s' cannot be used: Formatting field not found in record: 'nope'"),
        ("up --log-format plain -f x", "'plain' cannot be used"),
        ("exporter --log-format %(nope)s", "such as %(asctime)s, %(levelname)s and %(message)s, or json"),
        ("worker-pool 4", "rqk up -f pool.yaml"),
        ("dashboard", "rqk info --interval 1"),
        ("cron jobs.py", "rqk has no command 'cron'"),
        ("wroker", "No such command 'wroker'"),
        ("enqueue f()", "'f()' is not the dotted name of a function"),
        ("enqueue m.f :nope", "argument 1 is not JSON: 'nope'"),
        ("enqueue m.f %zz", "argument 1 is not a Python literal: 'zz' (only texts, numbers, lists,"),
        ("enqueue m.f -S json %{1,2}", "argument 1 ({1, 2}) cannot be serialized"),
        ("worker --max-jobs x", "'--max-jobs': 'x' is not a valid number"),
        ("enqueue m.f a=1 a=2", "the keyword argument 'a' is given twice"),
        ("enqueue m.f --job-id a:b", "a job id holds letters, digits, '-' and '_' only"),
        ("enqueue m.f --timeout 0", "use -1 for no limit"),
        ("enqueue m.f --schedule-at tomorrow", "is not a time such as 2026-11-24T09:30:00"),
        ("enqueue m.f --schedule-at 2030-01-01 --schedule-in 5", "contradict each other"),
        ("enqueue m.f --retry-interval 5", "--retry-interval needs --retry-max"),
        ("enqueue m.f --wait 1 --result-ttl 0", "--result-ttl 0 keeps none"),
        ("enqueue m.f -S no.such.serializer", "give 'json', 'pickle' or a dotted path"),
        ("enqueue m.f -S os.path", "serializer 'os.path' has no dumps()"),
        ("enqueue m.f -q a,b", "'a,b': a queue's name cannot hold a comma"),
        ("info --interval 0", "'--interval': it must be at least 0.05 seconds"),
        ("suspend --duration 0", "'--duration': it must be at least 1 seconds, not 0"),
        ("requeue some-id", "Missing option '-q' / '--queue'"),
        ("requeue -q q --all some-id", "give either --all or the ids of some jobs"),
        ("empty --all low", "give either --all or the names of some queues"),
        ("exporter --port http", "'--port': 'http' is not a port"),
        ("completion tcsh", "'bash', 'zsh', 'fish'"),
        ("up", "Missing option '-f' / '--file'"),
        ("up -f /no/such/file", "'/no/such/file': No such file or directory"),
    ],
)
def test_bad_words(words: str, told: str, rqk: Command) -> None:
    said = rqk(*words.split(), url=None)
    assert said.code == 2
    assert told in " ".join(said.err.split())
    assert "Traceback" not in said.err


def test_one_queue_is_not_several(rqk: Command) -> None:
    said = rqk("enqueue", "m.f", "-q", "a,b")
    assert "give several queues" not in said.err


def test_a_queue_without_a_name(rqk: Command) -> None:
    for words in (("worker", ""), ("info", ""), ("enqueue", "m.f", "-q", "")):
        said = rqk(*words)
        assert said.code == 2
        assert "a queue's name cannot be empty" in said.err


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.com", "a Redis URL starts with redis://, rediss://, unix:// or redis+sentinel://"),
        ("redis://host:port", "redis://host:port: "),
        ("redis://host:6379/jobs", "the database must be a number, not 'jobs'"),
        ("redis+sentinel://host", "give redis+sentinel://host:port[,host:port]/master[/db]"),
        ("localhost", "a Redis URL starts with"),
    ],
)
@pytest.mark.parametrize("command", ["worker", "info", "suspend", "enqueue m.f", "exporter"])
def test_a_bad_url(command: str, url: str, told: str, rqk: Command) -> None:
    said = rqk(*command.split(), url=url)
    assert said.code == 2
    assert told in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "command", ["info", "info --json", "info --raw", "suspend", "resume", "empty -a", "requeue -a -q q", "enqueue m.f"]
)
def test_a_redis_that_is_not_there(command: str, rqk: Command) -> None:
    said = rqk(*command.split(), url=NOBODY)
    assert said.code == 1
    assert "no usable answer from Redis at 127.0.0.1:1" in said.err
    assert "--url, RQ_REDIS_URL or REDIS_URL" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("url", [NOBODY, "redis://nowhere.invalid:1"])
def test_a_worker_whose_redis_is_not_there(url: str, rqk_process: Process) -> None:
    said = rqk_process("worker", "--url", url)
    assert said.code == 1
    assert f"no usable answer from Redis at {url.removeprefix('redis://')}" in said.err
    assert "Traceback" not in said.err


def test_sentinels_that_are_not_there_or_none(rqk: Command, redis_url: str) -> None:
    said = rqk("info", url=f"redis+sentinel://{NOBODY.removeprefix('redis://')}/main")
    assert said.code == 1
    assert "Redis master 'main' (by Sentinel): its sentinels do not answer (ConnectionError)" in said.err
    assert len(said.err) < 400
    said = rqk("info", url=f"redis+sentinel://{redis_url.removeprefix('redis://').removesuffix('/0')}/main")
    assert said.code == 1
    assert "the server at the sentinel's address is no Sentinel" in said.err
    assert "too old" not in said.err


def test_a_server_that_does_not_speak_tls(rqk_process: Process) -> None:
    said = rqk_process("info", "--url", f"rediss://{NOBODY.removeprefix('redis://')}")
    assert said.code == 1
    assert "no usable answer from Redis at 127.0.0.1:1 (TLS)" in said.err
    assert "rediss:// if it speaks TLS" in said.err


def test_a_password_is_wrong_and_is_not_told(rqk: Command, make_server: MakeServer) -> None:
    server = make_server(requirepass="right")
    said = rqk("info", url=f"redis://:secret@127.0.0.1:{server.port}/0")
    assert said.code == 1
    assert "refused the connection" in said.err
    assert "redis://user:password@host" in said.err
    assert "secret" not in said.err


def test_a_server_that_is_full(rqk: Command, make_server: MakeServer) -> None:
    server = make_server(maxmemory="1", maxmemory_policy="noeviction")
    said = rqk("enqueue", "m.f", url=server.url)
    assert said.code == 1
    assert "is full: it uses more memory than its maxmemory" in said.err
    assert "Is it running" not in said.err


def test_a_replica_that_takes_no_writes(rqk: Command, make_server: MakeServer) -> None:
    primary = make_server()
    server = make_server(replicaof=f"127.0.0.1 {primary.port}")
    said = rqk("enqueue", "m.f", url=server.url)
    assert said.code == 1
    assert "This is a replica: give the address of the primary" in said.err
    assert "Is it running" not in said.err


def test_a_server_that_cannot_save_its_data(rqk: Command, make_server: MakeServer) -> None:
    server = make_server(save="1 1")
    with server.client() as client:
        (server.directory / "dump.rdb").mkdir()  # a save cannot put its file in the place of a folder
        client.set("something", "to save")
        wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 20, "a save to fail")
    said = rqk("enqueue", "m.f", url=server.url)
    assert said.code == 1
    assert "It cannot save its data" in said.err
    assert "Is it running" not in said.err


def test_a_server_that_has_no_room_for_another_client(rqk: Command, make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client:
        client.config_set("maxclients", len(client.client_list()))
        said = rqk("info", url=server.url)
    assert said.code == 1
    assert "its maxclients be raised" in said.err


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with the openssl command")
def test_a_certificate_that_nobody_vouches_for(rqk: Command, make_server: MakeServer, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Proxy("127.0.0.1", make_server().port, tls=context) as proxy:
        said = rqk("info", url=proxy.url)
    assert said.code == 1
    assert "ssl_ca_certs=/path/ca.crt in the URL, or RQK_REDIS_CA_FILE" in said.err
    assert "Is it running" not in said.err


def test_a_certificate_file_that_is_not_there(rqk_process: Process) -> None:
    said = rqk_process("info", "--url", "rediss://h", env={"RQK_REDIS_CA_FILE": "/no/ca.crt"})
    assert said.code == 2
    assert "RQK_REDIS_CA_FILE: [Errno 2] No such file or directory: '/no/ca.crt'" in said.err


def test_a_node_of_a_cluster(rqk: Command, make_server: MakeServer) -> None:
    server = make_server(cluster_enabled="yes", cluster_require_full_coverage="no", cluster_port=str(free_port()))
    said = rqk("enqueue", "m.f", url=server.url)
    assert said.code == 1
    assert "A cluster of several nodes cannot be used" in said.err
    assert "Is it running" not in said.err
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTS", key_slot(b"rq:queues"))
        wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", 20, "the cluster")
    said = rqk("enqueue", "m.f", url=server.url)
    assert said.code == 1
    assert "A cluster of several nodes cannot be used" in said.err


def test_a_queue_whose_key_is_something_else(rqk: Command, redis: redis_py.Redis) -> None:
    redis.set("rq:queue:odd", "text")
    for words in (("enqueue", "m.f", "-q", "odd"), ("empty", "odd")):
        said = rqk(*words)
        assert said.code == 1
        assert "rq:queue:odd of queue 'odd' is a string and should be a list" in said.err


def test_a_name_that_is_taken(start_worker: StartWorker, rqk_process: Process, redis_url: str) -> None:
    start_worker("default", options=["--name", "mine"])
    said = rqk_process("worker", "--name", "mine", "--no-metrics", "--url", redis_url)
    assert said.code == 2
    assert "There exists an active worker named 'mine' already" in said.err
    assert "Traceback" not in said.err


def test_a_module_that_cannot_be_preloaded_is_a_warning(start_worker: StartWorker, redis: redis_py.Redis) -> None:
    worker = start_worker("default", options=["--preload", "no.such.module"])
    worker.wait_for_log("preload no.such.module: ModuleNotFoundError: No module named 'no'")
    assert worker.alive


def test_a_burst_without_jobs_tells_of_the_preload_too(start_worker: StartWorker) -> None:
    worker = start_worker("default", options=["--preload", "no.such.module", "--burst"], ready=False)
    assert worker.wait() == 0
    assert "preload no.such.module: ModuleNotFoundError: No module named 'no'" in worker.log
    assert "Traceback" not in worker.log, "it tells nothing that the sentence does not"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "no.such.thing",
            "'no.such.thing' cannot be imported: No module named 'no'; give 'json', 'pickle' or a dotted",
        ),
        ("json.no_such", "'json.no_such' cannot be imported: module 'json' has no attribute 'no_such'; give 'json',"),
        (
            "tests.worker.jobs_preload_broken.X",
            "'tests.worker.jobs_preload_broken.X' cannot be imported: SystemExit: this",
        ),
        ("os.path", "'os.path' has no dumps()"),
    ],
)
def test_a_serializer_that_cannot_be_used_is_told_once_and_first(
    rqk_process: Process, redis: redis_py.Redis, redis_url: str, path: str, told: str
) -> None:
    job = Queue(connection=redis).enqueue("builtins.len", "abc")
    said = rqk_process("worker", "--serializer", path, "--no-metrics", "--url", redis_url)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"Error: serializer {told}")
    assert said.err.count("\n") == 1
    assert redis.lrange("rq:queue:default", 0, -1) == [job.id.encode()]


def test_a_serializer_of_ones_own(rqk_process: Process, redis: redis_py.Redis, redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "own_format.py").write_text("from marshal import dumps, loads\n")
    job = Queue(connection=redis, serializer=marshal).enqueue("builtins.len", "abc")
    words = ("--burst", "--no-metrics", "--path", str(tmp_path), "--serializer", "own_format")
    said = rqk_process("worker", *words, "--url", redis_url)
    assert (said.code, job.return_value()) == (0, 3)


def test_variables_are_checked_like_options(rqk_process: Process, redis_url: str) -> None:
    said = rqk_process("worker", "--url", redis_url, env={"RQK_RECYCLE_AFTER": "many"})
    assert said.code == 2
    assert "'many' is not a valid number" in said.err
    assert "Invalid value for 'RQK_RECYCLE_AFTER'" in said.err
    said = rqk_process("info", env={"REDIS_PORT": "x"})
    assert (said.code, "REDIS_PORT must be a number" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("QUEUES = 5", "QUEUES in the settings module must be a list of names, not 5"),
        ("NAME = 5", "NAME in the settings module must be a text, not 5"),
        ("DICT_CONFIG = {'version': 2}", "DICT_CONFIG in the settings module cannot be used: Unsupported version: 2"),
    ],
)
def test_settings_of_another_kind(text: str, told: str, rqk_process: Process, tmp_path: Path) -> None:
    (tmp_path / "odd_settings.py").write_text(text)
    said = rqk_process("worker", "--path", str(tmp_path), "--config", "odd_settings", "--url", NOBODY)
    assert (said.code, said.out) == (2, "")
    assert told in " ".join(said.err.split())


def test_a_setting_for_sentry_is_told_to_do_nothing(rqk_process: Process, tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "sentry_settings.py").write_text("SENTRY_DSN = 'https://key@sentry.io/1'\n")
    words = ("--path", str(tmp_path), "--config", "sentry_settings", "--no-metrics", "--burst", "--url", redis_url)
    said = rqk_process("worker", *words)
    assert said.code == 0
    assert "SENTRY_DSN in the settings module has no effect here" in said.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_takes_no_output(redis_url: str) -> None:
    with Path("/dev/full").open("w", encoding="ascii") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rqk", "info", "--url", redis_url],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=user_environment(),
            cwd=ROOT,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "Error: the output cannot be written: No space left on device.\n")


def test_whoever_reads_us_may_leave(redis_url: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "rqk", "info", "--url", redis_url],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env=user_environment(),
        cwd=ROOT,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_nothing_is_left_of_refused_workers(rqk_process: Process, redis: redis_py.Redis, redis_url: str) -> None:
    rqk_process("worker", "a,b", "--url", redis_url)
    rqk_process("worker", "--lease", "0", "--url", redis_url)
    wait_until(lambda: not redis.keys("rq:worker*"), what="no worker to be registered")
