"""`helm test`: does this installation run a job through a pool at zero, and does the pool go back to zero?

A pool at zero is made on a Redis in this pod; a job is enqueued; a worker must come, run it, and go.
Each step is told with the time it took. Exit code 0 only if all of it was seen.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import urllib3
from kubernetes import client, config

from rqk import Queue
from rqk.store.connect import connect

GROUP, VERSION, PLURAL = "rqk.dev", "v1beta1", "rqworkerpools"
QUEUE = "helm-test"
PAUSE_S = 0.5


class Failed(Exception):
    """What was not seen in time."""


def manifest(words: argparse.Namespace, redis: str) -> dict[str, Any]:
    """A pool that follows at once."""
    container = {"name": "worker", "imagePullPolicy": words.pull_policy}
    secrets = [{"name": name} for name in words.pull_secret]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "RQWorkerPool",
        "metadata": {"name": words.pool},
        "spec": {
            "queues": [QUEUE],
            "redis": {"url": redis},
            "scaling": {
                "maxReplicas": 1,
                "targetDepthPerWorker": 1,
                "scaleDown": {"stabilizationSeconds": 0, "toZeroAfterSeconds": 1},
            },
            "worker": {"image": words.image, "graceSeconds": 5, "resources": {"limits": {"memory": "256Mi"}}},
            "template": {"spec": {"containers": [container], "imagePullSecrets": secrets}},
        },
    }


class Steps:
    """Waits for one thing after the other, all within one time limit."""

    def __init__(self, api: client.CustomObjectsApi, namespace: str, pool: str, timeout: float) -> None:
        self._api = api
        self._where = (GROUP, VERSION, namespace, PLURAL, pool)
        self._end = time.monotonic() + timeout
        self._mark = time.monotonic()

    def wait(self, what: str, seen: Callable[[], object]) -> None:
        """Raise Failed, with what the operator says of the pool, if it is not seen before the end."""
        while not seen():
            if time.monotonic() > self._end:
                raise Failed(f"not seen in time: {what}\n{self.explain()}")
            time.sleep(PAUSE_S)
        now = time.monotonic()
        print(f"  {what}  ({now - self._mark:.1f} s)", flush=True)
        self._mark = now

    def status(self) -> dict[str, Any]:
        """What the operator reported last; empty before it has."""
        pool: Any = self._api.get_namespaced_custom_object(*self._where)
        return dict(pool.get("status") or {})

    def explain(self) -> str:
        """The same for people."""
        status = self.status()
        if not status:
            return "The operator has reported nothing about the pool: is it up, and does it serve this namespace?"
        lines = [f"  desired {status.get('desiredReplicas')}, ready {status.get('readyReplicas')}"]
        lines += [f"  {status.get('lastDecision', {}).get('message', '')}"]
        lines += [
            f"  {it['type']}={it['status']} {it['reason']}: {it.get('message', '')}"
            for it in status.get("conditions", [])
        ]
        return "\n".join(lines)


def run(words: argparse.Namespace) -> None:
    """All steps, and whatever they end in, the pool deleted. Raises Failed or ApiException."""
    namespace, address = words.namespace, os.environ["POD_IP"]
    host = f"[{address}]" if ":" in address else address
    redis = f"redis://{host}:6379/0"
    config.load_incluster_config()  # type: ignore[no-untyped-call]
    api = client.CustomObjectsApi()
    steps = Steps(api, namespace, words.pool, words.timeout)

    def condition(kind: str) -> bool:
        return any(it["type"] == kind and it["status"] == "True" for it in steps.status().get("conditions", []))

    api.create_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, manifest(words, redis))
    try:
        steps.wait("the operator reads the pool's Redis", lambda: condition("RedisReachable"))
        steps.wait("the pool is at zero", lambda: not steps.status().get("replicas"))
        queue = Queue(QUEUE, connection=connect(redis))
        job = queue.enqueue("platform.node")
        steps.wait("a worker comes", lambda: steps.status().get("replicas"))
        steps.wait("the job has run", lambda: job.get_status(refresh=True) in ("finished", "failed", "stopped"))
        ran_on = job.return_value()
        if not str(ran_on).startswith(words.pool):
            raise Failed(
                f"the job should have told the name of a pod of {words.pool}; it says {ran_on!r}: {job.exc_info}"
            )
        steps.wait("the pool is back at zero", lambda: not steps.status().get("replicas"))
        print(f"ok: the job ran in pod {ran_on}", flush=True)
    finally:
        api.delete_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, words.pool)


def main() -> int:
    """Run it and tell; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pool", required=True)
    parser.add_argument("--namespace", required=True, help="where the pool is made")
    parser.add_argument("--image", required=True)
    parser.add_argument("--pull-policy", default="IfNotPresent")
    parser.add_argument("--pull-secret", action="append", default=[])
    parser.add_argument("--timeout", type=float, default=240)
    try:
        run(parser.parse_args())
    except Failed as error:
        print(f"failed: {error}", file=sys.stderr, flush=True)
        return 1
    except client.ApiException as error:
        print(f"failed: the API server says {error.status} {error.reason}: {error.body}", file=sys.stderr, flush=True)
        return 1
    except urllib3.exceptions.HTTPError as error:
        print(f"failed: the API server does not answer: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
