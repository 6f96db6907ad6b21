"""Many pools on one operator, against a real API server: start, steady state, reaction.

``python -m benchmarks.bench_operator`` (``make bench-operator``) needs a cluster: the one that is up (``make cluster-up``),
or KUBECONFIG. The operator runs as a process of this machine, Redis is a Valkey of its own on loopback; the pools stay at
zero, so that the cluster makes no pods. Everything is removed afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click
import psutil
from rich.console import Console
from rqk_operator.names import POOLS, POOLS_API

from benchmarks import report
from rqk import Queue
from tests.kube.access import obtain
from tests.kube.client import Client, wait_for
from tests.support.server import Server, free_port

ROOT = Path(__file__).resolve().parents[1]
AT_A_TIME = 24


def manifest(name: str, namespace: str, url: str, queues: int) -> dict[str, object]:
    return {
        "apiVersion": POOLS_API,
        "kind": "RQWorkerPool",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "queues": [f"{name}-{number}" for number in range(queues)],
            "redis": {"url": url},
            "scaling": {"targetDepthPerWorker": 10, "maxReplicas": 5},
            "worker": {"image": "localhost/none:1"},
        },
    }


async def make_pools(count: int, namespace: str, url: str, queues: int) -> None:
    from rqk_operator.kube import Kube, path_of  # the client reads KUBECONFIG when it is imported

    kube = await Kube.connect()
    gate = asyncio.Semaphore(AT_A_TIME)

    async def make(number: int) -> None:
        async with gate:
            body = manifest(f"pool-{number}", namespace, url, queues)
            await kube.create(path_of(POOLS_API, POOLS, namespace), body, "benchmark")

    try:
        await asyncio.gather(*(make(number) for number in range(count)))
    finally:
        await kube.close()


@dataclass
class Running:
    """The operator's process."""

    process: psutil.Process
    port: int
    started: float
    log: Path
    said_before: int
    """Bytes of the log that are of an earlier process."""

    def metrics(self) -> dict[str, float]:
        """All of them, by name with labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as page:
            lines = page.read().decode().splitlines()
        rows = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in rows}

    def has_served(self, count: int) -> bool:
        """Whether there was a round for so many pools: told by its log, since a scrape would take time that the start needs."""
        with self.log.open("rb") as file:
            file.seek(self.said_before)
            return f"first round over: {count} pools".encode() in file.read()

    def rounds(self) -> float:
        """Those that are over."""
        return self.metrics().get("rqk_operator_tick_seconds_count", 0.0)

    def requests(self) -> dict[str, float]:
        """By verb."""
        found: dict[str, float] = {}
        for name, value in self.metrics().items():
            if name.startswith("rqk_operator_api_requests_total{"):
                verb = name.split('verb="')[1].split('"')[0]
                found[verb] = found.get(verb, 0) + value
        return found


@contextlib.contextmanager
def operator(namespace: str, kubeconfig: Path, log: Path) -> Iterator[Running]:
    port = free_port()
    words = [
        "--namespace",
        namespace,
        "--lease-namespace",
        namespace,
        "--metrics-port",
        str(port),
        "--metrics-host",
        "127.0.0.1",
    ]
    env = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": f"{ROOT}:{ROOT / 'operator'}"}
    started = time.monotonic()
    with log.open("ab") as output:
        said = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "rqk_operator", *words], env=env, stdout=output, stderr=output
        )
    try:
        yield Running(psutil.Process(process.pid), port, started, log, said)
    finally:
        process.terminate()
        process.wait(60)


@dataclass
class Figures:
    """What one number of pools showed: by name, in the unit that UNITS says."""

    count: int
    found: dict[str, float] = field(default_factory=dict)

    def note(self, what: str, value: float) -> None:
        """Keep a figure and say it."""
        self.found[what] = value
        print(f"  {what}: {value:,.3g} {ROWS[what].unit}", flush=True)


@dataclass(frozen=True)
class Asked:
    """The unit of a figure, and the most that it may be."""

    unit: str
    most: float | None = None


ROWS = {
    "first start, to all Deployments made and all pools Ready": Asked("s"),
    "start with all of it there, to the end of the first round": Asked("s", 15),
    "steady, told of pushes: CPU of one core": Asked("%", 100),
    "steady, told of pushes: memory": Asked("MiB", 256),
    "steady, told of pushes: round, p50 at most": Asked("s"),
    "steady, told of pushes: round, p99 at most": Asked("s", 1),
    "steady, told of pushes: writes to the API server, but for the Lease": Asked("/s", 0),
    "steady, told of pushes: reads from the API server, but for the Lease": Asked("/s"),
    "steady, told of pushes: round trips to Redis a round": Asked("", 1),
    "enqueue to patched Deployment, p50 at most": Asked("s", 0.2),
    "enqueue to patched Deployment, p95 at most": Asked("s"),
    "steady, all queues polled: CPU of one core": Asked("%", 100),
    "steady, all queues polled: memory": Asked("MiB", 256),
    "steady, all queues polled: round, p50 at most": Asked("s"),
    "steady, all queues polled: round, p99 at most": Asked("s", 1),
    "steady, all queues polled: writes to the API server, but for the Lease": Asked("/s", 0),
    "steady, all queues polled: reads from the API server, but for the Lease": Asked("/s"),
    "steady, all queues polled: round trips to Redis a round": Asked("", 1),
}
WRITES = frozenset({"post", "put", "patch", "delete"})


def quantile(metrics: dict[str, float], before: dict[str, float], name: str, part: float) -> float:
    """An upper bound of a quantile, as the histogram's buckets have it."""
    rows = [(key, value - before.get(key, 0.0)) for key, value in metrics.items() if key.startswith(f"{name}_bucket{{")]
    total = max((value for _, value in rows), default=0.0)
    for key, value in rows:
        if total and value >= part * total:
            return float(key.split('le="')[1].split('"')[0])
    return float("nan")


def measure(client: Client, count: int, queues: int, seconds: float) -> Figures:
    """All figures for one number of pools."""
    namespace = f"bench-operator-{secrets.token_hex(3)}"
    client.kubectl("create", "namespace", namespace)
    log = Path(tempfile.gettempdir()) / f"{namespace}.log"
    os.environ["KUBECONFIG"] = str(client.kubeconfig)
    figures = Figures(count)
    try:
        with Server() as server:
            print(f"{count} pools of {queues} queues", flush=True)
            asyncio.run(make_pools(count, namespace, server.url, queues))
            with operator(namespace, client.kubeconfig, log) as running:
                ready(client.within(namespace), count)
                figures.note(
                    "first start, to all Deployments made and all pools Ready", time.monotonic() - running.started
                )
            with server.client() as redis:
                redis.execute_command(
                    "ACL", "SETUSER", "default", "-client|tracking"
                )  # as with a proxy that cannot do it
                with operator(namespace, client.kubeconfig, log) as running:
                    wait_for(lambda: running.has_served(count), 300, "the first round")
                    steady(running, seconds, figures, "all queues polled")
                redis.execute_command("ACL", "SETUSER", "default", "+client|tracking")
            with operator(namespace, client.kubeconfig, log) as running:
                wait_for(lambda: running.has_served(count), 300, "the first round")
                figures.note(
                    "start with all of it there, to the end of the first round", time.monotonic() - running.started
                )
                steady(running, seconds, figures, "told of pushes")
                react(running, server, figures)
    finally:
        client.kubectl("delete", "namespace", namespace, "--wait=false")
    return figures


def ready(client: Client, count: int) -> None:
    path = 'jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'

    def all_ready() -> bool:
        return client.kubectl("get", "rqwp", "-o", path, timeout=300).split().count("True") == count

    wait_for(all_ready, 1800, "all pools Ready", pause=2)


def is_quiet(running: Running) -> bool:
    """Whether nothing is written for some rounds, but for the Lease: what changed with the start is reported by then."""
    before, rounds = running.requests(), running.rounds()
    time.sleep(10)  # the length of the observation
    after = running.requests()
    quiet = all(after[verb] == before.get(verb, 0) for verb in WRITES & after.keys() - {"put"})
    return quiet and running.rounds() >= rounds + 3


def steady(running: Running, seconds: float, figures: Figures, how: str) -> None:
    """Nothing happens to any pool."""
    wait_for(lambda: is_quiet(running), 300, "the start to be over")
    api, before = running.requests(), running.metrics()
    cpu = (
        running.process.cpu_times()
    )  # scrapes of thousands of pools, which take a second each, are not the steady state
    time.sleep(seconds)
    cpu_now = running.process.cpu_times()
    after, now = running.requests(), running.metrics()
    used = cpu_now.user + cpu_now.system - cpu.user - cpu.system
    figures.note(f"steady, {how}: CPU of one core", used / seconds * 100)
    figures.note(f"steady, {how}: memory", running.process.memory_info().rss / 2**20)
    for part in (50, 99):
        figures.note(
            f"steady, {how}: round, p{part} at most", quantile(now, before, "rqk_operator_tick_seconds", part / 100)
        )
    made = {verb: after[verb] - api.get(verb, 0) for verb in after}
    lease = {
        "get": made.get("get", 0.0),
        "put": made.get("put", 0.0),
    }  # it is what a steady operator asks for and writes
    writes = sum(number for verb, number in made.items() if verb in WRITES) - lease["put"]
    reads = sum(number for verb, number in made.items() if verb not in WRITES) - lease["get"]
    figures.note(f"steady, {how}: writes to the API server, but for the Lease", writes / seconds)
    figures.note(f"steady, {how}: reads from the API server, but for the Lease", reads / seconds)
    name = 'rqk_operator_polls_total{outcome="ok"}'
    rounds = now["rqk_operator_tick_seconds_count"] - before["rqk_operator_tick_seconds_count"]
    trips = (now.get(name, 0) - before.get(name, 0)) / max(rounds, 1)
    figures.note(f"steady, {how}: round trips to Redis a round", round(trips, 1))  # of the last round one may be over


def react(running: Running, server: Server, figures: Figures) -> None:
    """One job into single pools at zero, one after the other."""
    with server.client() as client:
        for number in range(0, figures.count, max(1, figures.count // 20)):
            Queue(f"pool-{number}-0", connection=client).enqueue("time.sleep", 0)
            time.sleep(0.5)
    metrics = running.metrics()
    for part in (50, 95):
        figures.note(
            f"enqueue to patched Deployment, p{part} at most",
            quantile(metrics, {}, "rqk_operator_reaction_seconds", part / 100),
        )


def table(all_figures: list[Figures], title: str) -> str:
    """For docs/benchmarks.md."""
    heads = [f"{figures.count:,} pools" for figures in all_figures]
    lines = [f"{title}\n", f"| | {' | '.join(heads)} | target | |", "|---|" + "---:|" * (len(heads) + 1) + "---|"]
    for what, asked in ROWS.items():
        values = [figures.found[what] for figures in all_figures]
        cells = [f"{value:,.3g} {asked.unit}".strip() for value in values]
        target = "" if asked.most is None else f"≤ {asked.most:g} {asked.unit}".strip()
        lines.append(f"| {what} | {' | '.join(cells)} | {target} | {verdict(asked, values)} |")
    return "\n".join(lines)


def verdict(asked: Asked, values: list[float]) -> str:
    """Whether a target is met by all."""
    return "" if asked.most is None else "met" if all(value <= asked.most for value in values) else "MISSED"


@click.command()
@click.option("--pools", type=click.IntRange(1), multiple=True, default=(1000, 5000), show_default=True)
@click.option("--queues", type=click.IntRange(1), default=3, show_default=True, help="Of each pool.")
@click.option("--seconds", type=click.FloatRange(1), default=60.0, show_default=True, help="Of the steady state.")
@click.option("--check", is_flag=True, help="Exit with 1 if a target is missed.")
@click.option("--write", "write_document", is_flag=True, help="Put the table into docs/benchmarks.md.")
def main(pools: tuple[int, ...], queues: int, seconds: float, check: bool, write_document: bool) -> None:
    """Measure one operator with many pools."""
    cluster = obtain()
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", ROOT / "manifests/base/crd.yaml")
    cluster.kubectl("wait", "--for=condition=Established", "crd/rqworkerpools.rqk.dev", "--timeout=30s")
    found = [measure(cluster, count, queues, seconds) for count in pools]
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    title = f"One operator and a Kubernetes on {report.machine()}; {when}; {queues} queues a pool."
    text = table(found, title)
    Console().print(text, markup=False, soft_wrap=True)
    if write_document:
        report.write(report.DOCUMENT, text, report.OPERATOR)
    missed = "MISSED" in text
    sys.exit(1 if check and missed else 0)


if __name__ == "__main__":
    main()
