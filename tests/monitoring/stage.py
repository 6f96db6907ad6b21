"""One run in which every scenario of the dashboards and alerts happens, while a real Prometheus looks on.

Real are: Valkey, the workers with all their processes, `rqk exporter`, the real rq-exporter, Prometheus and its rules.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from charts.monitoring.alerts import ALERTS
from charts.monitoring.scenario import Scenario
from rqk import Queue, Retry
from rqk.core.commands import STOP_JOB, Command
from rqk.store.workers import send
from tests.monitoring import jobs as shop
from tests.monitoring.operator_story import OperatorStory
from tests.monitoring.prometheus import Prometheus, Series
from tests.support import jobs
from tests.support.realrq import EXPORTER
from tests.support.server import Server, free_port
from tests.support.venvs import venv_python
from tests.support.waiting import wait_until
from tests.support.workers import ROOT, ProcessWithLog, WorkerProcess, user_environment

RULES = ROOT / "charts/rqk/rules/rqk.rules.yaml"
LEASE_SECONDS = 6
SETTLE_SECONDS = 2.5  # two scrapes: what happened is in Prometheus, and a rate can be taken of it


@dataclass
class Played:
    """What the run leaves to the tests."""

    prometheus: Prometheus
    start: float
    spans: dict[Scenario, tuple[float, float]] = field(default_factory=dict)
    """When each scenario began and ended, seconds since 1970."""
    calm: dict[str, list[Series]] = field(default_factory=dict)
    """What each alert's expression gave while all was well."""
    lit: dict[str, list[Series]] = field(default_factory=dict)
    """What it gave in its scenario."""
    fired: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The alerts, texts filled in, that Prometheus itself had raised then, for those that wait for nothing."""


class Stage:
    """The servers and processes, and a method for each scenario."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self.server = stack.enter_context(Server(persistent=True))
        self.client = stack.enter_context(self.server.client())
        self._ports = [free_port() for _ in range(3)]
        self.workers = [self._worker(number) for number in range(3)]
        exporter, theirs = free_port(), free_port()
        self._process(
            [
                sys.executable,
                "-m",
                "rqk",
                "exporter",
                "-u",
                self.server.url,
                "--host",
                "127.0.0.1",
                "--port",
                str(exporter),
            ],
            "exporter.log",
        )
        rq_exporter = venv_python("rq-exporter", *EXPORTER).parent / "rq-exporter"
        self._process(
            [str(rq_exporter), "--host", "127.0.0.1", "--port", str(theirs), "--redis-url", self.server.url],
            "rq-exporter.log",
        )
        self.operators = stack.enter_context(OperatorStory())
        self.prometheus = stack.enter_context(Prometheus(self._scrapes(exporter, theirs), [RULES]))
        self.played = Played(self.prometheus, time.time())
        self._returns = 0.0  # of workers to Redis, before it went away
        for worker in self.workers:
            worker.wait_ready()
        self.until("sum(up)", 7)

    def _worker(self, number: int) -> WorkerProcess:
        options = ["--name", f"w{number}", "--metrics-host", "127.0.0.1", "--metrics-port", str(self._ports[number])]
        options += ["--lease", str(LEASE_SECONDS), "--janitor", "1", "--grace", "1", "--kill-after", "1"]
        options += ["--job-memory-limit", "400Mi"]
        log = self._directory / f"worker-{number}.log"
        worker = WorkerProcess(self.server.url, log, "default", "emails", options=options)
        self._stack.callback(worker.close)
        return worker

    def _process(self, command: list[str], log: str) -> None:
        self._stack.callback(ProcessWithLog(command, self._directory / log).close)

    def _scrapes(self, exporter: int, theirs: int) -> list[dict[str, Any]]:
        """As the chart's monitors ask for: workers get namespace, pool and pod, the operator keeps its own labels."""
        workers = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "jobs", "pool": "mail", "pod": f"mail-{number}"}}
            for number, port in enumerate(self._ports)
        ]
        operators = [f"127.0.0.1:{page.port}" for page in (self.operators.leader, self.operators.standby)]
        return [
            {"job_name": "rqk-workers", "static_configs": workers},
            _scrape("rqk-exporter", [f"127.0.0.1:{exporter}"], namespace="jobs"),
            _scrape("rq-exporter", [f"127.0.0.1:{theirs}"]),
            {**_scrape("rqk-operator", operators, namespace="rqk-system"), "honor_labels": True},
        ]

    # --- what the scenarios use

    def queue(self, name: str = "default") -> Queue:
        """A queue of the stage's Redis."""
        return Queue(name, connection=self.client)

    def until(self, expr: str, least: float, timeout: float = 40.0) -> None:
        """Wait until Prometheus says so."""

        def reached() -> bool:
            found = self.prometheus.query(expr)
            return bool(found) and max(series.values[0][1] for series in found) >= least

        wait_until(reached, timeout, f"{expr} to be {least:g}", every=0.25)

    def settle(self) -> None:
        """Wait until Prometheus has scraped everything twice more."""
        now = time.time()
        wait_until(lambda: time.time() - now > SETTLE_SECONDS, 10, "two scrapes", every=0.1)

    @contextlib.contextmanager
    def scene(self, *scenarios: Scenario, ahead: float = 0.0) -> Iterator[None]:
        """Note when the scenarios begin and end, and what their alerts say at the end, ``ahead`` seconds from then."""
        start = time.time()
        yield
        self.settle()
        end = time.time()
        for scenario in scenarios:
            self.played.spans[scenario] = (start, end)
        for alert in ALERTS:
            if alert.scenario in scenarios:
                self.played.lit[alert.name] = self.prometheus.query(alert.expr, end + ahead)
                if alert.holds == "0m":
                    rule = next(rule for rule in self.prometheus.rules() if rule["name"] == alert.name)
                    self.played.fired[alert.name] = rule["alerts"]

    def _outcome(self, *outcomes: str) -> None:
        for outcome in outcomes:
            self.until(f'sum(rqk_jobs_total{{outcome="{outcome}"}})', 1)

    # --- the scenarios

    def calm(self) -> None:
        """All is well: jobs come and finish."""
        for number in range(12):
            self.queue(("default", "emails")[number % 2]).enqueue(shop.send_mail, "welcome")
        self.until('sum(rqk_jobs_total{outcome="finished"})', 12)
        self.until("max(rqk_queue_seen_timestamp_seconds)", 1)
        self.settle()
        self.played.calm = {alert.name: self.prometheus.query(alert.expr) for alert in ALERTS}

    def work(self) -> None:
        """Every ordinary outcome, and a stream of good jobs around it."""
        default, emails = self.queue(), self.queue("emails")
        gate = str(self._directory / "never")
        default.enqueue_in(timedelta(hours=1), shop.send_mail, "later")
        busy = self._directory / "busy"
        for _ in self.workers:  # until somebody has seen that others wait
            default.enqueue(jobs.wait_for_file, str(busy))
        default.enqueue(jobs.nap, 30, job_timeout=1)
        for _ in range(10):
            emails.enqueue(jobs.fail)
        emails.enqueue(jobs.fail, retry=Retry(max=1))
        for number in range(80):
            (default, emails)[number % 2].enqueue(shop.send_mail, ("welcome", "receipt")[number % 3 == 0])
        for _ in range(10):
            default.enqueue(shop.resize_picture, 0.5, 60)
        held = emails.enqueue(jobs.wait_for_file, gate, at_front=True)
        emails.enqueue(jobs.add, 1, depends_on=held)
        self.until('max(rqk_queue_oldest_wait_seconds{queue="default"})', 1)
        busy.touch()
        name = wait_until(lambda: self._runner(held.id), 20, "the held job to run")
        self.until('max(rq_workers{state="busy"})', 1)
        send(self.client, name, Command(STOP_JOB, held.id))
        self._outcome("finished", "failed", "retried", "timeout", "stopped")
        self._put_back()

    def _put_back(self) -> None:
        """A worker is told to go, and gives back what it runs when its grace period ends."""
        gate = self._directory / "put-back"
        held = self.queue().enqueue(jobs.wait_for_file, str(gate))
        name = wait_until(lambda: self._runner(held.id), 20, "the job to run")
        number = int(name.removeprefix("w"))
        self.workers[number].signal(signal.SIGTERM)
        # It leaves at once after that: no scrape sees its last outcome.
        assert self.workers[number].wait() == 0
        gate.touch()
        self.workers[number] = self._worker(number).wait_ready()

    def _runner(self, job_id: str) -> str:
        """The worker that runs the job; empty if none does."""
        found = self.client.hget(f"rq:job:{job_id}", "worker_name")
        started = self.client.hget(f"rq:job:{job_id}", "status") == b"started"
        return found.decode() if found and started else ""

    def crash(self) -> None:
        """One job's process kills itself."""
        self.queue().enqueue(jobs.kill_self)
        self._outcome("crashed")

    def user_metrics(self) -> None:
        """Jobs count, one of them under a name that is ours."""
        for _ in range(6):
            self.queue().enqueue(shop.send_mail, "welcome")
        self.queue().enqueue(shop.count_under_our_name)
        self.until("sum(rqk_user_metrics_dropped_total)", 1)
        self.until("sum(shop_mails_sent_total)", 1)

    def worker_killed(self) -> None:
        """One worker dies in the middle of a job; elsewhere a zygote dies."""
        gate = self._directory / "killed"
        held = self.queue().enqueue(jobs.wait_for_file, str(gate))
        name = wait_until(lambda: self._runner(held.id), 20, "the job to run")
        number = int(name.removeprefix("w"))
        self.workers[number].close()
        other = self.workers[(number + 1) % 3]
        zygote = wait_until(lambda: other.zygote, 10, "a zygote")
        assert zygote is not None
        zygote.kill()
        self.until("sum(rqk_janitor_jobs_total)", 1)
        self.workers[number] = self._worker(number).wait_ready()
        self.until("sum(rqk_zygote_restarts_total)", 1)

    def no_worker(self) -> None:
        """Jobs come to a queue that nobody serves."""
        for _ in range(5):
            self.queue("orphan").enqueue(jobs.add, 1)
        self.until('rqk_queue_depth{queue="orphan", state="queued"}', 5)

    def late_schedule(self) -> None:
        """A scheduled job that is two minutes late, in a queue without a scheduler."""
        self.queue("nightly").enqueue_at(datetime.now(UTC) - timedelta(minutes=2), jobs.add, 1)
        self.until("max(rqk_scheduler_lag_seconds)", 60)

    def suspended(self) -> None:
        """`rqk suspend`; `resume` comes after the scene."""
        self._rqk("suspend")
        self.until("max(rqk_suspended)", 1)

    def resume(self) -> None:
        """Go on."""
        self._rqk("resume")

    def _rqk(self, command: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "rqk", command, "--url", self.server.url],
            env=user_environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def redis_full(self) -> None:
        """The server's limit comes down to just above what it uses."""
        used: int = self.client.info("memory")["used_memory"]
        self.client.config_set("maxmemory", used + (used >> 4))
        self.until('max(rqk_redis_memory_bytes{class="max"})', 1)

    def redis_roomy(self) -> None:
        """No limit any more."""
        self.client.config_set("maxmemory", 0)

    def redis_away(self) -> None:
        """The server is gone."""
        self._returns = self.prometheus.value("sum(rqk_redis_reconnects_total)") or 0.0
        self.server.kill()
        self.until("1 - max(rqk_exporter_redis_up)", 1)

    def redis_back(self) -> None:
        """The server is there again, and the workers have found it."""
        self.server.start()
        self.until("sum(rqk_redis_reconnects_total)", self._returns + 2)
        self.until("min(rqk_exporter_redis_up)", 1)

    def scaled(self, start: float, end: float) -> None:
        """The pool grew and shrank beside the other scenes; its alert was lit somewhere in between."""
        self.played.spans[Scenario.SCALING] = (start, end)
        for alert in ALERTS:
            if alert.scenario is Scenario.SCALING:
                self.played.lit[alert.name] = self.prometheus.query_range(alert.expr, start, end)

    def no_leader(self) -> None:
        """The leader stops being it."""
        self.operators.leader.resign()
        self.until("1 - max(rqk_operator_leader)", 1)


def _scrape(job: str, targets: list[str], **labels: str) -> dict[str, Any]:
    return {"job_name": job, "static_configs": [{"targets": targets, "labels": labels}]}


@contextlib.contextmanager
def play(directory: Path) -> Iterator[Played]:
    """Play everything; what it leaves can be asked until the block ends."""
    with contextlib.ExitStack() as stack:
        stage = Stage(directory, stack)
        stage.calm()
        stage.operators.bursts.set()
        grown = time.time()
        with stage.scene(Scenario.WORK):
            stage.work()
        with stage.scene(Scenario.CRASH):
            stage.crash()
        with stage.scene(Scenario.USER_METRICS):
            stage.user_metrics()
        with stage.scene(Scenario.NO_WORKER):
            stage.no_worker()
        with stage.scene(Scenario.LATE_SCHEDULE):
            stage.late_schedule()
        with stage.scene(Scenario.REDIS_FULL):
            stage.redis_full()
        stage.redis_roomy()
        with stage.scene(Scenario.SUSPENDED):
            stage.suspended()
        stage.resume()
        with stage.scene(Scenario.WORKER_KILLED):
            stage.worker_killed()
        stage.operators.trouble.set()
        with stage.scene(
            *(Scenario.LATE, Scenario.NO_PODS, Scenario.STUCK_RETIRING, Scenario.BLIND, Scenario.OPERATOR_ERRORS)
        ):
            stage.until('sum(increase(rqk_operator_errors_total{kind="kubernetes"}[1m]))', 6)
        stage.operators.trouble.clear()
        wait_until(lambda: stage.operators.back_at_zero, 60, "the pool to be back at zero", every=0.1)
        away = time.time()
        stage.settle()  # there must be a look at Redis before it goes
        # Heartbeats are a minute old a minute from now: Prometheus is asked for that moment.
        with stage.scene(Scenario.REDIS_AWAY, ahead=65):
            stage.redis_away()
        stage.redis_back()
        stage.settle()
        stage.played.spans[Scenario.REDIS_AWAY] = (away, time.time())
        stage.operators.stand_still.set()
        with stage.scene(Scenario.STUCK_OPERATOR, ahead=35):
            pass
        stage.operators.stand_still.clear()
        with stage.scene(Scenario.NO_LEADER):
            stage.no_leader()
        stage.scaled(grown, away)
        yield stage.played
