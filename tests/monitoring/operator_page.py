"""An operator's /metrics without a cluster: its real instruments and endpoint, told what to show by a test."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rqk_operator.events import About
from rqk_operator.metrics import OperatorMetrics
from rqk_operator.pools import PoolState
from rqk_operator.status import Trouble
from rqk_operator.views import PodView

from rqk.autoscale.decide import Decision, Observation
from rqk.autoscale.manifest import parse_pool
from rqk.autoscale.model import Pool
from rqk.metrics.endpoint import Endpoint, Health


class OperatorPage:
    """One operator. As in the real one, only a leader shows its pools."""

    def __init__(self, *, leads: bool) -> None:
        self.leads = leads
        self.pools: dict[tuple[str, str], PoolState] = {}
        self.metrics = OperatorMetrics(lambda: list(self.pools.values()) if self.leads else ())
        self.metrics.leads(leads)
        self._endpoint = Endpoint("127.0.0.1", 0, self.metrics.registry, lambda: Health(True, True, "leads"))
        self.port = 0

    def __enter__(self) -> Self:
        self.port = self._endpoint.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._endpoint.stop()

    def resign(self) -> None:
        """Stop leading."""
        self.leads = False
        self.metrics.leads(False)

    def round(self, seconds: float) -> None:
        """A round ended after so many seconds, with one look at Redis and one status written."""
        self.metrics.polled(True)
        self.metrics.requested("PATCH", 200)
        self.metrics.ticked(seconds, time.time())

    def show(self, pool: Pool, seen: Observation, decision: Decision, *, actual: int, ready: int) -> None:
        """What the operator saw and decided about a pool."""
        namespace, name = pool.metadata.namespace or "", pool.name
        state = self.pools.setdefault((namespace, name), PoolState(About(namespace, name, name), pool, 1))
        state.observed, state.decision = seen, decision
        state.redis_known = True
        state.redis_since = None if seen.readable else time.monotonic()
        state.redis = None if seen.readable else Trouble("Unreachable", "no answer")
        pods = [PodView(namespace, f"{name}-{n}", f"uid-{n}", name, "Running", ready=n < ready) for n in range(actual)]
        state.pods = {pod.uid: pod for pod in pods}
        self.metrics.decided(namespace, name, decision.reason.value)


def pool_of(namespace: str, name: str, queue: str, *, most: int, wait: int, depth: int) -> Pool:
    """A pool that shrinks fast, so that a test sees the whole of it."""
    return parse_pool(
        {
            "apiVersion": "rqk.dev/v1beta1",
            "kind": "RQWorkerPool",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "queues": [queue],
                "redis": {"url": "redis://valkey.jobs.svc/0"},
                "scaling": {
                    "maxReplicas": most,
                    "targetWaitSeconds": wait,
                    "targetDepthPerWorker": depth,
                    "scaleDown": {"stabilizationSeconds": 5, "toZeroAfterSeconds": 5},
                },
                "worker": {"image": "registry.example/shop:1"},
            },
        }
    )
