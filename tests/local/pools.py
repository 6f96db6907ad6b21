"""Pools for these tests: quick to shrink, with workers that a script starts."""

from __future__ import annotations

import sys
from typing import Any

from rqk.autoscale.manifest import parse_pool
from rqk.autoscale.model import Pool

SCRIPT = [sys.executable, "-m", "tests.local.worker_script"]


def pool(
    *,
    name: str = "words",
    queues: tuple[str, ...] = ("default",),
    url: str | None = None,
    command: list[str] | None = None,
    stable: int = 0,
    zero: int = 0,
    depth: int = 1,
    most: int = 2,
    least: int = 0,
    **scaling: Any,
) -> Pool:
    """A pool of this sort."""
    down = {"stabilizationSeconds": stable, "toZeroAfterSeconds": zero}
    spec: dict[str, Any] = {
        "queues": list(queues),
        "scaling": {
            "targetDepthPerWorker": depth, "maxReplicas": most, "minReplicas": least, "scaleDown": down, **scaling,
        },
        "worker": {"command": command or [*SCRIPT, *queues], "graceSeconds": 20},
    }  # fmt: skip
    if url is not None:
        spec["redis"] = {"url": url}
    head = {"apiVersion": "rqk.dev/v1beta1", "kind": "RQWorkerPool", "metadata": {"name": name}}
    return parse_pool({**head, "spec": spec})
