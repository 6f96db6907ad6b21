"""The command line of a local worker."""

from __future__ import annotations

import sys
from typing import Any

from rqk.autoscale.manifest import parse_pool
from rqk.autoscale.model import Pool
from rqk.local.command import worker_command


def pool(**worker: Any) -> Pool:
    spec = {"queues": ["high", "-odd", "with space"], "scaling": {"targetDepthPerWorker": 1}, "worker": worker}
    return parse_pool(
        {"apiVersion": "rqk.dev/v1beta1", "kind": "RQWorkerPool", "metadata": {"name": "p"}, "spec": spec}
    )


def test_the_defaults() -> None:
    assert worker_command(pool(), "p.1.abc", "redis://x", 3) == [
        sys.executable, "-m", "rqk", "worker", "--url", "redis://x", "--name", "p.1.abc",
        "--recycle-after", "1", "--abandoned", "fail", "--grace", "300",
        "--metrics-host", "127.0.0.1", "--metrics-port", "9730",
        "--", "high", "-odd", "with space",
    ]  # fmt: skip


def test_all_settings() -> None:
    command = worker_command(
        pool(
            preload=["a.b", "c"],
            recycleAfter=50,
            abandoned="Requeue",
            graceSeconds=9,
            jobMemoryLimit="512Mi",
            withScheduler=False,
        ),
        "n",
        "redis://x",
        0,
        metrics=False,
    )
    assert command[8:-4] == [
        "--preload", "a.b", "--preload", "c", "--recycle-after", "50", "--abandoned", "requeue", "--grace", "9",
        "--job-memory-limit", "512Mi", "--no-scheduler", "--no-metrics",
    ]  # fmt: skip


def test_a_command_of_the_users_own_is_left_alone() -> None:
    assert worker_command(pool(command=["rq", "worker", "high"]), "n", "redis://x", 0) == ["rq", "worker", "high"]


def test_ports_stay_ports() -> None:
    command = worker_command(pool(metricsPort=65530), "n", "redis://x", 99)
    assert command[command.index("--metrics-port") + 1] == "65535"
