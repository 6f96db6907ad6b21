"""The command line of one local worker."""

from __future__ import annotations

import sys
from pathlib import Path

from rqk.autoscale.model import Pool

LOOPBACK = "127.0.0.1"
_MOST_PORT = 65_535


def worker_command(pool: Pool, name: str, url: str, slot: int, *, metrics: bool = True) -> list[str]:
    """What to run for a worker of this pool.

    ``slot`` counts the workers of all pools from 0, so that each has a metrics port of its own; a worker whose port
    is taken finds another by itself.
    """
    worker = pool.spec.worker
    if worker.command is not None:
        return list(worker.command)
    command = [sys.executable, "-m", "rqk", "worker", "--url", url, "--name", name]
    for module in worker.preload:
        command += ["--preload", module]
    command += ["--recycle-after", str(worker.recycle_after), "--abandoned", worker.abandoned.value.lower()]
    command += ["--grace", str(worker.grace_seconds)]
    if worker.job_memory_limit is not None:
        command += ["--job-memory-limit", worker.job_memory_limit]
    if not worker.with_scheduler:
        command += ["--no-scheduler"]
    if metrics:
        port = min(worker.metrics_port + slot, _MOST_PORT)
        command += ["--metrics-host", LOOPBACK, "--metrics-port", str(port)]
    else:
        command += ["--no-metrics"]
    return [*command, "--", *pool.spec.queues]


def tied(command: list[str], parent: int, *, signal_name: str) -> list[str]:
    """The command, tied to the life of ``parent``: it gets TERM or KILL when that process goes."""
    keeper = Path(__file__).with_name("tied.py")
    return [sys.executable, "-S", "-E", str(keeper), signal_name, str(parent), *command]
