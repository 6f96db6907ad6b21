"""A release of the chart on the test cluster."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.chart.helm import CHART
from tests.cluster.images import OPERATOR, WORKER
from tests.kube.access import Access
from tests.kube.client import Client, wait_for
from tests.kube.errors import CommandFailed
from tests.kube.versions import VALKEY_IMAGE

CRD = "rqworkerpools.rqk.dev"


def image(tag: str) -> dict[str, str]:
    """An image's name as the chart's values have it."""
    registry, _, rest = tag.partition("/")
    repository, _, version = rest.partition(":")
    return {"registry": registry, "repository": repository, "tag": version, "pullPolicy": "Never"}


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Helm's way: mappings are merged, everything else is replaced."""
    result = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


BASE: dict[str, Any] = {
    "operator": {"image": image(OPERATOR)},
    "worker": {"image": image(WORKER)},
    "redis": {"image": image(VALKEY_IMAGE)},
}
# A pool of the chart's values, quick in growing and shrinking.
POOL: dict[str, Any] = {
    "spec": {
        "queues": ["default"],
        "scaling": {
            "maxReplicas": 3,
            "targetDepthPerWorker": 2,
            "scaleDown": {"stabilizationSeconds": 0, "toZeroAfterSeconds": 1},
        },
        "worker": {"graceSeconds": 20},
        "template": {"spec": {"containers": [{"name": "worker", "imagePullPolicy": "Never"}]}},
    }
}
DEVELOPMENT: dict[str, Any] = {"redis": {"enabled": True}}
# Run in the operator's pod, which has rqk in it and reaches the development Valkey.
_ENQUEUE = """
import sys
from rqk import Queue
from rqk.store.connect import connect
url, queue, number, seconds, name = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
q = Queue(queue, connection=connect(url))
q.enqueue_many([Queue.prepare_data("time.sleep", (seconds,), job_id=f"{name}-{n}", result_ttl=3600) for n in range(number)])
"""
_TALLY = """
import json, sys
from rqk import Job
from rqk.store.connect import connect
client = connect(sys.argv[1])
jobs = [Job.fetch(f"job-{n}", connection=client) for n in range(int(sys.argv[2]))]
print(json.dumps({"statuses": [str(getattr(j.get_status(), "value", j.get_status())) for j in jobs],
                  "runs": [len(j.results()) for j in jobs]}))
"""


class Release:
    """helm with one release's name, in one namespace."""

    def __init__(self, cluster: Access, client: Client, name: str = "rqk") -> None:
        self._cluster = cluster
        self.client = client
        self.name = name

    def helm(self, *words: str | Path, values: Mapping[str, Any] | None = None, timeout: float = 200) -> str:
        """stdout and stderr; raises CommandFailed with both."""
        given = ("--values=-",) if values is not None else ()
        argv = (
            *(self._cluster.helm_program, f"--namespace={self.client.namespace}"),
            *(f"--kubeconfig={self.client.kubeconfig}", *map(str, words), *given),
        )
        done = subprocess.run(
            argv,
            input=json.dumps(values) if values is not None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise CommandFailed(argv, done.returncode, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def install(self, values: Mapping[str, Any], *flags: str, chart: Path = CHART) -> str:
        """Install or upgrade, until everything is ready and all hooks have ended."""
        words: tuple[str | Path, ...] = ("upgrade", "--install", self.name, chart, "--wait", "--timeout=150s", *flags)
        return self.helm(*words, values=merged(BASE, values))

    def test(self) -> str:
        """`helm test` with its log."""
        return self.helm("test", self.name, "--logs", "--timeout=150s")

    def uninstall(self) -> None:
        """Without waiting for workers that end their jobs."""
        self.helm("uninstall", self.name, "--ignore-not-found", "--wait", "--timeout=90s")

    def told(self) -> str:
        """What its pods say, for a test that failed: they will be gone."""
        words = (
            "logs",
            f"--selector=app.kubernetes.io/instance={self.name}",
            "--tail=30",
            "--prefix",
            "--all-containers",
        )
        try:
            return self.client.kubectl("get", "pods") + self.client.kubectl(*words)
        except CommandFailed as error:
            return str(error)

    @property
    def redis_url(self) -> str:
        """Of the development Valkey."""
        return f"redis://{self.name}-redis.{self.client.namespace}:6379/0"

    def _python(self, program: str, *words: str) -> str:
        operator = f"deployment/{self.name}-operator"
        return self.client.exec(operator, "python3", "-c", program, *words)

    def enqueue(self, queue: str, number: int, seconds: float, name: str = "job") -> None:
        """Jobs job-0, job-1, ... that sleep; to sleep less than no time is an error."""
        self._python(_ENQUEUE, self.redis_url, queue, str(number), str(seconds), name)

    def tally(self, number: int) -> dict[str, Any]:
        """Status of each of the first ``number`` jobs, and how many results each has."""
        found: dict[str, Any] = json.loads(self._python(_TALLY, self.redis_url, str(number)).splitlines()[-1])
        return found

    def all_finished(self, number: int) -> bool:
        """Whether each job has run."""
        return set(self.tally(number)["statuses"]) == {"finished"}

    def wait_replicas(self, pool: str, number: int, timeout: float = 60) -> None:
        """Until the pool has so many worker pods that are ready."""

        def look() -> bool:
            status = (self.client.find("rqworkerpool", pool) or {}).get("status") or {}
            return (status.get("replicas"), status.get("readyReplicas") or 0) == (number, number)

        wait_for(look, timeout, f"{number} workers of {pool}")


def scoped(release: Release, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that touch nothing outside the release's namespace."""
    own = {"namespaces": [release.client.namespace], "crds": {"enabled": False}, "rbac": {"aggregate": False}}
    return merged(own, values)


def ensure_crd(cluster: Access) -> None:
    """The custom resource is there, whoever owns it; one that is on its way out is made anew."""

    def settled() -> bool:
        found = cluster.find("crd", CRD)
        return found is None or "deletionTimestamp" not in found["metadata"]

    wait_for(settled, 60, "the end of the old custom resource")
    if cluster.find("crd", CRD) is None:
        cluster.kubectl("apply", "--server-side", "-f", CHART / "files" / "crd.yaml")
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{CRD}")
