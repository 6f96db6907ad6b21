"""Whole workers and Redis itself die and come back; each job is accounted for."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis as redis_py

from rqk import Job, Queue, Retry
from rqk.core import keys
from rqk.store import queues, workers
from tests.conftest import MakeProxy, StartWorker
from tests.support import jobs
from tests.support.processes import is_running
from tests.support.proxy import Proxy
from tests.support.server import Server
from tests.support.waiting import holds_for, wait_until
from tests.worker.live import FEVERISH, ended, order_of, running, waits

pytestmark = pytest.mark.usefixtures("settled")
Client = redis_py.Redis


# A horse dies that has no job yet
def test_a_job_is_not_lost_on_a_horse_that_died_while_it_waited(redis: Client, start_worker: StartWorker) -> None:
    worker = start_worker("default")
    wait_until(lambda: worker.horses, what="a waiting horse")
    zygote = worker.zygote
    assert zygote is not None
    zygote.suspend()  # so that the worker does not hear of it
    for horse in worker.horses:
        horse.kill()
    wait_until(lambda: not worker.horses, what="its end")
    job = Queue(connection=redis).enqueue(jobs.add, 1, 2)
    wait_until(lambda: job.get_status() == "started", what="the job to be taken")
    zygote.resume()
    assert ended(job) == "finished"
    assert job.return_value() == 3


# A result that Redis does not take
@pytest.mark.parametrize("before", [0, 40], ids=["alone", "in its stride"])
def test_a_result_too_long_for_the_server_keeps_nobody_waiting(
    redis: Client, start_worker: StartWorker, before: int
) -> None:
    redis.config_set("proto-max-bulk-len", 2_000_000)
    try:
        queue = Queue(connection=redis)
        quick = [queue.enqueue(jobs.add, 1, 2) for _ in range(before)]
        long = queue.enqueue("os.urandom", 3_000_000)
        behind = queue.enqueue(jobs.add, 1, 2)
        worker = start_worker("default", options=["--preload", "tests.support.jobs"], ready=False)
        assert ended(long, 30) == "finished"
        assert long.return_value() is None
        assert ended(behind) == "finished"
        assert {job.return_value() for job in [*quick, behind]} == {3}
        assert "its return value was not stored, since Redis hangs up on it" in worker.log
    finally:
        redis.config_set("proto-max-bulk-len", 512 * 1024 * 1024)


# A worker dies
def test_the_job_of_a_dead_worker_fails(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    start_worker("default", options=[*FEVERISH, "--name", "other"])
    worker = start_worker("default", "own", options=[*FEVERISH, "--name", "dead"])
    held = running(redis, tmp_path, "own")
    below = worker.descendants()
    worker.kill()
    wait_until(lambda: not any(is_running(process.pid) for process in below), 5, "its processes to end")
    assert ended(held.job, 8) == "failed", "found by a worker that does not even serve its queue"
    assert "Moved to FailedJobRegistry, due to AbandonedJobError, at " in (held.job.exc_info or "")
    assert held.runs == 1
    assert Job.fetch(held.job.id, redis).worker_name == "dead"
    wait_until(lambda: workers.names(redis) == ["other"], 10, "the dead worker's name to go")


def test_the_job_of_a_dead_worker_is_run_by_another(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    options = [*FEVERISH, "--abandoned", "requeue"]
    worker = start_worker("default", options=options)
    held = running(redis, tmp_path)
    waiting = Queue(connection=redis).enqueue(jobs.note, str(held.notes), "next")
    queues.suspend(redis)  # which does not keep workers from looking after the dead
    worker.kill()
    start_worker("default", options=options)
    in_order = [held.job.id.encode(), waiting.id.encode()]
    wait_until(lambda: redis.lrange(keys.queue("default"), 0, -1) == in_order, 10, "the job at the head of its queue")
    held.open()
    queues.resume(redis)
    assert (ended(held.job), ended(waiting)) == ("finished", "finished")
    assert order_of(held.notes) == ["run", "run", "next"]


def test_a_retry_of_an_abandoned_job(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker("default", options=FEVERISH)
    held = running(redis, tmp_path, retry=Retry(1))
    worker.kill()
    held.open()
    start_worker("default", options=FEVERISH)
    assert ended(held.job, 10) == "finished"
    assert (held.runs, Job.fetch(held.job.id, redis).retries_left) == (2, 0)


def test_a_poison_job_is_given_up(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    """It takes every worker down that runs it, by killing the supervisor."""
    notes = tmp_path / "notes"
    job = Queue(connection=redis).enqueue("tests.worker.jobs_live.kill_supervisor", str(notes))
    options = [*FEVERISH, "--abandoned", "requeue", "--max-deliveries", "2"]
    for number in (1, 2):
        worker = start_worker("default", options=options, ready=False)
        assert worker.wait(15) == -signal.SIGKILL
        assert len(order_of(notes)) == number
    last = start_worker("default", options=options)
    assert ended(job, 10) == "failed"
    assert "2 workers died while they ran this job (the limit is 2)." in (job.exc_info or "")
    assert len(order_of(notes)) == 2
    assert last.alive


@pytest.mark.parametrize(("policy", "becomes"), [("fail", "failed"), ("requeue", "finished")])
def test_the_same_worker_started_again_takes_over_at_once(
    redis: Client, start_worker: StartWorker, tmp_path: Path, policy: str, becomes: str
) -> None:
    """As a container that restarts in its pod: nobody waits for the lease of half a minute."""
    options = ["--name", "w", "--lease", "30", "--abandoned", policy]
    first = start_worker("default", options=options)
    held = running(redis, tmp_path)
    first.kill()
    held.open()
    second = start_worker("default", options=options)
    assert ended(held.job, 5) == becomes
    assert f"taking the name w over from process {first.pid}, which is gone" in second.log
    if policy == "fail":
        assert "was started again" in (held.job.exc_info or "")


def test_an_id_that_a_dead_worker_had_popped_is_run(redis: Client, start_worker: StartWorker) -> None:
    queue = Queue(connection=redis)
    job = queue.enqueue(jobs.add, 1)
    redis.lmove(keys.queue("default"), keys.intermediate("default"), "LEFT", "RIGHT")
    start_worker("default", options=[*FEVERISH, "--stuck", "1"])
    assert ended(job, 10) == "finished"


def test_a_worker_killed_while_it_waits_loses_nothing(redis: Client, start_worker: StartWorker) -> None:
    """Its blocking pops may still be served by the server after its death."""
    options = [*FEVERISH, "--stuck", "1"]
    worker = start_worker("a", "b", options=options)
    waits(redis, worker, 2)
    worker.signal(signal.SIGSTOP)
    made = [Queue(name, redis).enqueue(jobs.add, 1) for name in ("a", "b")]
    assert all(redis.llen(keys.intermediate(name)) == 1 for name in ("a", "b"))
    worker.kill()
    start_worker("a", "b", options=options)
    assert [ended(job, 10) for job in made] == ["finished", "finished"]


# Redis goes away
@pytest.mark.parametrize("go", [Server.restart, Server.kill], ids=["restart", "crash"])
def test_redis_restarts(
    server: Server, start_worker: StartWorker, tmp_path: Path, go: Callable[[Server], None]
) -> None:
    with server.client() as client:
        worker = start_worker("default", "other", url=server.url)
        held = running(client, tmp_path)
        go(server)
        held.open()
        if server.process is None:
            worker.wait_for_log("the running job goes on")
            server.start()
        assert ended(held.job) == "finished"
        assert held.runs == 1
        waits(client, worker, 2)
        go(server)
        if server.process is None:
            server.start()
        after = Queue("other", client).enqueue(jobs.add, 1)
        assert ended(after) == "finished"
        wait_until(lambda: "Redis answers again" in worker.log, 5)
        assert worker.terminate() == 0


def test_redis_is_read_only_for_a_while(server: Server, start_worker: StartWorker, tmp_path: Path) -> None:
    with server.client() as client:
        worker = start_worker("default", url=server.url)
        held = running(client, tmp_path)
        server.read_only()
        held.open()
        worker.wait_for_log("asking again")
        server.writable()
        assert ended(held.job) == "finished"
        assert held.runs == 1


class Loading:
    """In front of a server: answers every command with LOADING, as one does that reads its data."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            try:
                while client.recv(1 << 16):
                    client.sendall(b"-LOADING Redis is loading the dataset in memory\r\n" * 4)
            except OSError:
                return

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def test_redis_is_loading(
    redis: Client, valkey: Server, make_proxy: MakeProxy, start_worker: StartWorker, tmp_path: Path
) -> None:
    loading = Loading()
    try:
        proxy = make_proxy(valkey.port)
        worker = start_worker("default", url=proxy.url)
        held = running(redis, tmp_path)
        proxy._target = ("127.0.0.1", loading.port)
        proxy.cut()
        held.open()
        worker.wait_for_log("asking again", times=2)
        assert worker.alive
        proxy._target = ("127.0.0.1", valkey.port)
        proxy.cut()
        assert ended(held.job) == "finished"
        assert held.runs == 1
    finally:
        loading.close()


def test_a_cut_connection_delays_an_outcome_and_loses_none(
    redis: Client, proxy: Proxy, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker("default", url=proxy.url)
    held = running(redis, tmp_path)
    proxy.refuse()
    held.open()
    worker.wait_for_log("asking again", times=2)
    assert held.job.get_status() == "started"
    proxy.accept()
    assert ended(held.job) == "finished"
    assert (held.runs, held.job.return_value(), len(held.job.results())) == (1, "run", 1)


@pytest.mark.parametrize("waiting", [0, 3])
def test_a_lost_answer_repeats_nothing(
    redis: Client, proxy: Proxy, start_worker: StartWorker, tmp_path: Path, waiting: int
) -> None:
    """The server wrote the outcome (and claimed the next job), and the answer never came."""
    worker = start_worker("default", url=proxy.url, options=["--name", "w"])
    held = running(redis, tmp_path)
    others = [Queue(connection=redis).enqueue(jobs.note, str(held.notes), f"n{number}") for number in range(waiting)]

    cuts: list[bytes] = []
    lock = threading.Lock()

    def cut_once(piece: bytes) -> None:
        with lock:
            if not cuts and held.job.get_status() == "finished":
                cuts.append(piece)
                proxy.cut()

    proxy.after = cut_once
    held.open()
    worker.wait_for_log("Redis answers again")
    assert [ended(job) for job in (held.job, *others)] == ["finished"] * (1 + waiting)
    assert order_of(held.notes) == ["run", *(f"n{number}" for number in range(waiting))]
    assert len(held.job.results()) == 1


def test_others_get_time_to_renew_after_an_outage(server: Server, start_worker: StartWorker, tmp_path: Path) -> None:
    """Redis was away for longer than a lease: nobody may be called dead for that."""
    with server.client() as client:
        started = [start_worker("default", url=server.url, options=[*FEVERISH, "--name", name]) for name in "ab"]
        held = running(client, tmp_path)
        server.stop()
        for worker in started:
            worker.wait_for_log("asking again", times=4)
        server.start()
        for worker in started:
            worker.wait_for_log("Redis answers again")
        holds_for(lambda: held.job.get_status() == "started", 1.5, "the running job to be left alone")
        held.open()
        assert ended(held.job) == "finished"
        assert held.runs == 1


def test_a_full_redis_disturbs_no_worker(server: Server, start_worker: StartWorker, tmp_path: Path) -> None:
    with server.client() as client:
        worker = start_worker("default", url=server.url, options=FEVERISH)
        held = running(client, tmp_path)
        behind = Queue(connection=client).enqueue(jobs.add, 1)
        client.config_set("maxmemory", "1")
        lease = client.zrange(keys.started("default"), 0, 0, withscores=True)[0]
        wait_until(lambda: client.zscore(keys.started("default"), lease[0]) >= lease[1] + 3, 10, "a renewed lease")
        held.open()
        assert (ended(held.job), ended(behind)) == ("finished", "finished")
        worker.wait_for_log("Job OK, result = 1 ")
        at_work, _, _ = worker.log.partition("Job OK, result = 1 ")
        assert "asking again" not in at_work  # once it has nothing to do it is: to wait for a job counts as a write


def test_a_worker_that_redis_forgot_registers_again(redis: Client, start_worker: StartWorker) -> None:
    worker = start_worker("default", options=["--lease", "1", "--name", "w"])
    waits(redis, worker)
    redis.flushall()
    wait_until(lambda: workers.names(redis) == ["w"], 10, "the worker to register again")
    assert ended(Queue(connection=redis).enqueue(jobs.add, 1)) == "finished"


def test_a_horse_that_died_in_its_sleep_costs_no_job(redis: Client, start_worker: StartWorker) -> None:
    """The job comes in the very moment in which the waiting horse is found dead."""
    worker = start_worker("default")
    waits(redis, worker)
    horse = worker.horses[0]
    worker.signal(signal.SIGSTOP)
    horse.kill()
    job = Queue(connection=redis).enqueue(jobs.add, 1)
    wait_until(lambda: not is_running(horse.pid), 5)
    worker.signal(signal.SIGCONT)
    assert ended(job) == "finished"


def test_a_frozen_worker_does_not_write_late(redis: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    options = [*FEVERISH, "--abandoned", "requeue"]
    frozen = start_worker("default", options=[*options, "--name", "frozen"])
    held = running(redis, tmp_path)
    below = frozen.descendants()
    for process in below:
        process.suspend()
    frozen.signal(signal.SIGSTOP)
    start_worker("default", options=[*options, "--name", "fresh"])
    wait_until(lambda: held.runs == 2, 10, "the other worker to take it over")
    for process in below:
        process.resume()
    frozen.signal(signal.SIGCONT)
    frozen.wait_for_log(
        "its lease was lost (another worker has judged it, or it was canceled before it began); this outcome (requeued) is not written"
    )
    held.open()
    assert ended(held.job) == "finished"
    held.job.refresh()
    assert (held.job.worker_name, len(held.job.results())) == ("fresh", 1)
