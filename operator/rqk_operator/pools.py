"""The pools that there are, with what is known about each. kopf fills it, the reflectors fill it, the loop reads it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rqk.autoscale.decide import Decision, History, Observation
from rqk.autoscale.manifest import check_for_cluster, parse_pool
from rqk.autoscale.model import Pool
from rqk.errors import BadPool
from rqk_operator.events import About
from rqk_operator.retire import Memory
from rqk_operator.sources import Access
from rqk_operator.status import Trouble
from rqk_operator.views import DeploymentView, PodView

log = logging.getLogger("rqk.operator")

Key = tuple[str, str]  # namespace, name


@dataclass(slots=True)
class PoolState:
    """One pool. Times are of the monotonic clock, unless they say otherwise."""

    about: About
    pool: Pool | None  # None: its fields cannot be understood, see `invalid`
    generation: int | None
    invalid: Trouble | None = None
    told_at: float = float("-inf")  # when its watch last spoke of it
    changed_at: float = 0.0  # by its user; 0 if it never was since we know it
    gone: bool = False  # deleted; kept until its pods are gone, for the jobs in them
    # What there is
    pods: dict[str, PodView] = field(default_factory=dict)
    deployment: DeploymentView | None = None
    # Where its Redis is
    access: Access | None = None
    salt: str = ""
    access_trouble: Trouble | None = None
    resolve_at: float = 0.0
    resolve_wait: float = 0.0
    resolving: bool = False
    # What was seen and decided
    history: History = field(default_factory=History)
    observed: Observation | None = None
    decision: Decision | None = None
    shrinking: Decision | None = None  # the one that asked for fewer; workers leave some rounds later
    memory: Memory = field(default_factory=Memory)  # what the last round saw of its pods
    look_at: float = 0.0
    redis: Trouble | None = None
    redis_known: bool = False
    redis_since: float | None = None  # since when it does not answer
    # What was made of it
    wanted: str | None = None  # digest of the Deployment's manifest; None: to be made anew
    refused: str | None = None  # digest that the API server refused
    again_at: float = 0.0  # when to try that again
    accepted_owners: str | None = None
    template: Trouble | None = None
    template_known: bool = False
    template_note: str = ""
    conflict: Trouble | None = None
    children_trouble: Trouble | None = None
    failing: Trouble | None = None
    failing_until: float = 0.0
    last_scale: datetime | None = None
    task: asyncio.Task[None] | None = None  # at work on it
    not_before: float = 0.0  # after an error
    errors_in_a_row: int = 0
    # What was reported
    status: Mapping[str, Any] = field(default_factory=dict)
    status_at: float = float("-inf")

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.about.namespace, self.about.name


class Pools:
    """All of them, by namespace and name. ``changed`` is called with a pool that is new or has another spec."""

    def __init__(
        self, changed: Callable[[PoolState], None], left: Callable[[PoolState], None], clock: Callable[[], float]
    ) -> None:
        self._changed, self._left, self._clock = changed, left, clock
        self._all: dict[Key, PoolState] = {}
        self._departed: dict[str, PoolState] = {}  # by uid
        # What came before its pool did.
        self._pods: dict[Key, dict[str, PodView]] = {}
        self._deployments: dict[Key, DeploymentView] = {}

    def __iter__(self) -> Iterator[PoolState]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def get(self, key: Key) -> PoolState | None:
        """The pool of this name."""
        return self._all.get(key)

    def remember(self, body: Mapping[str, Any]) -> None:
        """A pool as the API server has it now. Most calls are echoes of our own status writes and change nothing."""
        meta = body["metadata"]
        about = About(meta["namespace"], meta["name"], meta["uid"])
        key = (about.namespace, about.name)
        known = self._all.get(key)
        if known is not None and known.about.uid != about.uid:
            self.forget(key)
            known = None
        if "deletionTimestamp" in meta:
            self.forget(key)
            return
        notes = meta.get("annotations") or {}
        if known is not None:
            known.told_at = self._clock()
        if known is not None and known.generation == meta.get("generation") and _notes(known) == notes:
            return
        pool, trouble = _parsed(body)
        if known is None:
            known = PoolState(about, pool, meta.get("generation"), told_at=self._clock())
            self._resume(known, body.get("status") or {})
            self._all[key] = known
        else:
            known.changed_at = self._clock()
        known.pool, known.invalid, known.generation = pool, trouble, meta.get("generation")
        self._changed(known)

    def forget(self, key: Key) -> None:
        """The pool is deleted; Kubernetes removes what was made for it."""
        state = self._all.pop(key, None)
        if state is None:
            return
        state.gone = True
        if state.pods:
            self._departed[state.about.uid] = state
        self._left(state)

    def pod(self, pod: PodView) -> tuple[PoolState | None, PodView | None]:
        """Keep a pod; returns its pool and what was known of the pod before."""
        state = self._owner(pod)
        if state is None:
            self._pods.setdefault((pod.namespace, pod.pool), {})[pod.uid] = pod
            return None, None
        before = state.pods.get(pod.uid)
        state.pods[pod.uid] = pod
        return state, before

    def pod_gone(self, namespace: str, uid: str) -> tuple[PoolState | None, PodView | None]:
        """Drop a pod; returns its pool and what was known of it."""
        for state in (*self._candidates(namespace), *self._departed.values()):
            if uid in state.pods:
                pod = state.pods.pop(uid)
                if state.gone and not state.pods:
                    self._departed.pop(state.about.uid, None)
                return state, pod
        for early in self._pods.values():
            early.pop(uid, None)
        return None, None

    def deployment(self, view: DeploymentView) -> PoolState | None:
        """Keep a Deployment, unless a newer state of it is known."""
        key = (view.namespace, view.pool)
        state = self._all.get(key)
        if state is None or view.name != state.about.name:
            self._deployments[key] = view
            return None
        known = state.deployment
        if known is None or known.uid != view.uid or known.version <= view.version:
            state.deployment = view
        return state

    def deployment_gone(self, namespace: str, name: str, uid: str) -> PoolState | None:
        """Drop a Deployment."""
        self._deployments.pop((namespace, name), None)
        state = self._all.get((namespace, name))
        if state is None or state.deployment is None or state.deployment.uid != uid:
            return None
        state.deployment = None
        return state

    def _owner(self, pod: PodView) -> PoolState | None:
        state = self._all.get((pod.namespace, pod.pool))
        if state is not None:
            return state
        return next((it for it in self._departed.values() if pod.uid in it.pods), None)

    def _candidates(self, namespace: str) -> Iterator[PoolState]:
        return (state for state in self._all.values() if state.about.namespace == namespace)

    def _resume(self, state: PoolState, status: Mapping[str, Any]) -> None:
        """A pool that is new to us: with what came earlier, and what was reported about it before we started."""
        state.pods = self._pods.pop(state.key, {})
        state.deployment = self._deployments.pop(state.key, None)
        state.status = status
        inputs = (status.get("lastDecision") or {}).get("inputs") or {}
        try:
            seconds = float(inputs["jobSeconds"])
        except (KeyError, ValueError):
            return
        state.history = History.resumed(service_seconds=seconds)


def _notes(state: PoolState) -> Mapping[str, str]:
    return (state.pool.metadata.annotations or {}) if state.pool is not None else {}


def _parsed(body: Mapping[str, Any]) -> tuple[Pool | None, Trouble | None]:
    # The status is our own writing and not read back; without it, an older one cannot make a pool unreadable.
    plain = {name: body[name] for name in ("apiVersion", "kind", "spec") if name in body}
    meta = body["metadata"]
    kept = {name: meta[name] for name in ("name", "namespace", "uid", "generation", "annotations") if name in meta}
    name = f"{meta['namespace']}/{meta['name']}"
    try:
        pool = parse_pool({**plain, "metadata": kept}, name, strict=False)
        check_for_cluster(pool, name)
    except BadPool as error:
        log.warning("pool %s cannot be understood: %s", name, error)
        return None, Trouble("InvalidSpec", str(error))
    return pool, None
