"""Many pools on one operator, against a real API server: start, steady state, reaction.

``python -m benchmarks.bench_operator --pools 1000 5000`` needs a cluster (`make cluster-up`, or KUBECONFIG). The
operator runs as a process of this machine, Redis is a Valkey of its own on loopback; the pools stay at zero, so that the
cluster makes no pods. Everything is removed afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from rqk_operator.names import POOLS, POOLS_API

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

    def metrics(self) -> dict[str, float]:
        """All of them, by name with labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as page:
            lines = page.read().decode().splitlines()
        rows = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in rows}

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
        process = subprocess.Popen(
            [sys.executable, "-m", "rqk_operator", *words], env=env, stdout=output, stderr=output
        )
    try:
        yield Running(psutil.Process(process.pid), port, started)
    finally:
        process.terminate()
        process.wait(60)


def quantile(metrics: dict[str, float], before: dict[str, float], name: str, part: float) -> str:
    """An upper bound of a quantile, as the histogram's buckets have it."""
    rows = [(key, value - before.get(key, 0.0)) for key, value in metrics.items() if key.startswith(f"{name}_bucket{{")]
    total = max((value for _, value in rows), default=0.0)
    for key, value in rows:
        if total and value >= part * total:
            return "<= " + key.split('le="')[1].split('"')[0] + " s"
    return "?"


def measure(client: Client, count: int, queues: int, seconds: float) -> None:
    namespace = f"bench-operator-{secrets.token_hex(3)}"
    client.kubectl("create", "namespace", namespace)
    log = Path(f"/tmp/{namespace}.log")
    os.environ["KUBECONFIG"] = str(client.kubeconfig)
    try:
        with Server() as server:
            begun = time.monotonic()
            asyncio.run(make_pools(count, namespace, server.url, queues))
            print(f"{count} pools, {queues} queues each: created in {time.monotonic() - begun:.0f} s", flush=True)
            with operator(namespace, client.kubeconfig, log) as running:
                ready(client.within(namespace), count)
                print(
                    f"  first start, {count} Deployments made and all pools Ready: {time.monotonic() - running.started:.1f} s",
                    flush=True,
                )
            with operator(namespace, client.kubeconfig, log) as running:
                wait_for(lambda: looked(running, count), 300, "the first round")
                print(
                    f"  start with all of it there, to the end of the first round: {time.monotonic() - running.started:.1f} s",
                    flush=True,
                )
                steady(running, server, seconds)
                react(running, server, count)
    finally:
        client.kubectl("delete", "namespace", namespace, "--wait=false")


def ready(client: Client, count: int) -> None:
    path = 'jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'

    def all_ready() -> bool:
        return client.kubectl("get", "rqwp", "-o", path, timeout=300).split().count("True") == count

    wait_for(all_ready, 1800, "all pools Ready", pause=2)


def looked(running: Running, count: int) -> bool:
    try:
        metrics = running.metrics()
    except OSError:
        return False
    return metrics.get("rqk_operator_pools", 0) == count and metrics.get("rqk_operator_tick_seconds_count", 0) > 0


def steady(running: Running, server: Server, seconds: float) -> None:
    time.sleep(10)  # let the start be over: this is a measurement, not a test
    cpu, api, before = running.process.cpu_times(), running.requests(), running.metrics()
    calls = commands(server)
    time.sleep(seconds)
    after, now, cpu_now = running.requests(), running.metrics(), running.process.cpu_times()
    used = cpu_now.user + cpu_now.system - cpu.user - cpu.system
    print(
        f"  steady, {seconds:.0f} s: {used / seconds * 100:.0f} % of a core, {running.process.memory_info().rss / 2**20:.0f} MiB"
    )
    ticks = [quantile(now, before, "rqk_operator_tick_seconds", part) for part in (0.5, 0.99)]
    print(f"    tick p50 {ticks[0]}, p99 {ticks[1]}")
    per_second = {verb: round((after[verb] - api.get(verb, 0)) / seconds, 2) for verb in after}
    print(f"    API requests/s by verb (the Lease is get and put): {per_second}")
    polls = now['rqk_operator_polls_total{outcome="ok"}'] - before['rqk_operator_polls_total{outcome="ok"}']
    print(
        f"    polls of Redis/s: {polls / seconds:.2f}, commands/s: {(commands(server) - calls) / seconds:.0f}",
        flush=True,
    )


def commands(server: Server) -> int:
    with server.client() as client:
        stats = client.info("commandstats")
    return sum(
        row["calls"]
        for name, row in stats.items()
        if not name.startswith(("cmdstat_info", "cmdstat_hello", "cmdstat_client"))
    )


def react(running: Running, server: Server, count: int) -> None:
    """One job into single pools at zero, one after the other."""
    with server.client() as client:
        for number in range(0, count, max(1, count // 20)):
            Queue(f"pool-{number}-0", connection=client).enqueue("time.sleep", 0)
            time.sleep(0.5)
    metrics = running.metrics()
    bounds = [quantile(metrics, {}, "rqk_operator_reaction_seconds", part) for part in (0.5, 0.95)]
    print(f"  enqueue to patched Deployment: p50 {bounds[0]}, p95 {bounds[1]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pools", type=int, nargs="+", default=[1000])
    parser.add_argument("--queues", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the steady state")
    words = parser.parse_args()
    cluster = obtain()
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", ROOT / "manifests/base/crd.yaml")
    cluster.kubectl("wait", "--for=condition=Established", "crd/rqworkerpools.rqk.dev", "--timeout=30s")
    for count in words.pools:
        measure(cluster, count, words.queues, words.seconds)


if __name__ == "__main__":
    main()
