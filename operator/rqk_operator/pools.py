"""The pools that there are, with what is known about each. kopf fills it, the reflectors fill it, the loop reads it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rqk.autoscale.decide import Decision, History, Observation
from rqk.autoscale.manifest import check_for_cluster, parse_pool
from rqk.autoscale.model import PAUSED_ANNOTATION, Pool
from rqk.errors import BadPool
from rqk_operator.events import About
from rqk_operator.retire import Memory
from rqk_operator.sources import Access
from rqk_operator.status import Trouble
from rqk_operator.views import DeploymentView, PodView

log = logging.getLogger("rqk.operator")

Key = tuple[str, str]  # namespace, name
Version = tuple[str, int | None, str | None]  # uid, generation, the annotation that pauses


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
    lost_size: int = 0  # replicas of a Deployment that somebody deleted
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
    look_at: float = 0.0  # when to decide anew at the latest; 0: in the next round
    glance_at: float = 0.0  # when to see at the latest whether its queues still are at rest
    redis: Trouble | None = None
    redis_known: bool = False
    redis_since: float | None = None  # since when it does not answer
    # What was made of it
    wanted: str | None = None  # digest of the Deployment's manifest; None: to be made anew
    refused: str | None = None  # digest that the API server refused
    again_at: float = 0.0  # when to try that again
    deploy_at: float = 0.0  # when to write the Deployment again, after that failed; 0: it did not
    accepted_owners: str | None = None
    template: Trouble | None = None
    template_known: bool = False
    template_note: str = ""
    conflict: Trouble | None = None
    children_trouble: Trouble | None = None
    failing: Trouble | None = None
    stumbling: Trouble | None = None  # what was to be written was refused again and again
    failing_until: float = 0.0
    last_scale: datetime | None = None
    task: asyncio.Task[None] | None = None  # at work on it
    worked_at: float = float("-inf")  # when the last one was done
    not_before: float = 0.0  # after an error
    errors_in_a_row: int = 0
    # What was reported
    _status: Mapping[str, Any] | bytes = field(default_factory=dict)
    status_at: float = float("-inf")
    status_version: int = 0  # the pool's resourceVersion at that time

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as it was reported last."""
        return json.loads(self._status) if isinstance(self._status, bytes) else self._status

    @status.setter
    def status(self, status: Mapping[str, Any]) -> None:
        self._status = status

    def pack(self) -> None:
        """Take less memory while nothing happens: as text a status has a fifth of the size that it has as objects."""
        if not isinstance(self._status, bytes):
            self._status = json.dumps(self._status, separators=(",", ":")).encode()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.about.namespace, self.about.name

    @property
    def version(self) -> Version:
        """Changes with its spec, and when it is another pool of the same name."""
        return self.about.uid, self.generation, _notes(self).get(PAUSED_ANNOTATION)

    def take_over(self, now: float) -> None:
        """We lead from now on: what we saw when we last did, if ever, says nothing about what others did since."""
        self.memory = Memory()
        self.history = _resumed(self.status, self.history.service_seconds)
        self.observed = self.decision = self.shrinking = None
        # Its Secret may have changed, and the workers with it: not even a recent reading is recent enough.
        self.access, self.wanted, self.changed_at = None, None, now
        self.look_at = self.resolve_at = self.not_before = 0.0

    @property
    def own(self) -> DeploymentView | None:
        """The Deployment, unless it still belongs to a deleted pool of this name."""
        live = self.deployment
        return live if live is not None and live.owner in ("", self.about.uid) else None

    @property
    def size_now(self) -> int:
        """The Deployment's number of replicas; of one that was deleted, the last one."""
        return self.own.replicas if self.own is not None else self.lost_size


class Pools:
    """All of them, by namespace and name. ``changed`` is called with a pool that is new or has another spec."""

    def __init__(
        self, changed: Callable[[PoolState], None], left: Callable[[PoolState], None], clock: Callable[[], float]
    ) -> None:
        self._changed, self._left, self._clock = changed, left, clock
        self._all: dict[Key, PoolState] = {}
        self._departed: dict[str, PoolState] = {}  # those whose pods are still there, by the pods' uids
        self._homes: dict[str, Key] = {}  # of each pod, by its uid
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

    def version(self, key: Key) -> Version | None:
        """What is known of the pool of this name; None if nothing is."""
        state = self._all.get(key)
        return state.version if state is not None else None

    def remember(self, body: Mapping[str, Any], *, heard: bool = True) -> None:
        """A pool as the API server has it now. Most calls are echoes of our own status writes and change nothing.

        ``heard``: its watch speaks of it, and would say so if it went.
        """
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
            if heard:
                known.told_at = self._clock()
            self._adopt(known, body)
        if known is not None and known.generation == meta.get("generation") and _notes(known) == notes:
            return
        pool, trouble = _parsed(body)
        if known is None:
            known = PoolState(about, pool, meta.get("generation"))
            if heard:
                known.told_at = self._clock()
            self._resume(known)
            self._adopt(known, body)
            self._all[key] = known
        else:
            known.changed_at = self._clock()
        known.pool, known.invalid, known.generation = pool, trouble, meta.get("generation")
        self._changed(known)

    def deleted(self, body: Mapping[str, Any]) -> None:
        """A pool as it was when it was deleted; another one of its name stays."""
        meta = body["metadata"]
        known = self._all.get((meta["namespace"], meta["name"]))
        if known is not None and known.about.uid == meta["uid"]:
            self.forget(known.key)

    def forget(self, key: Key) -> None:
        """The pool is deleted; Kubernetes removes what was made for it."""
        state = self._all.pop(key, None)
        if state is None:
            return
        state.gone = True
        self._departed |= dict.fromkeys(state.pods, state)
        self._left(state)

    def pod(self, pod: PodView) -> tuple[PoolState | None, PodView | None]:
        """Keep a pod; returns its pool and what was known of the pod before.

        One that was made for a pool that is deleted stays that pool's; a new pool of the same name knows it as well,
        since it may take over the Deployment (``kubectl delete --cascade=orphan``).
        """
        key = (pod.namespace, pod.pool)
        if self._homes.get(pod.uid, key) != key:
            self._move_out(pod.uid)  # somebody changed its label
        self._homes[pod.uid] = key
        state, departed = self._all.get(key), self._departed.get(pod.uid)
        if state is None and departed is None:
            self._pods.setdefault(key, {})[pod.uid] = pod
            return None, None
        before = None
        for one in (state, departed):
            if one is not None:
                before = one.pods.get(pod.uid, before)
                one.pods[pod.uid] = pod
        if state is not None and (before is None or (before.active, before.ready) != (pod.active, pod.ready)):
            state.look_at = 0.0
        return departed or state, before

    def pod_gone(self, uid: str) -> tuple[PoolState | None, PodView | None]:
        """Drop a pod; returns its pool and what was known of it."""
        state, pod = self._move_out(uid)
        departed = self._departed.pop(uid, None)
        if departed is not None:
            pod, departed.look_at = departed.pods.pop(uid, pod), 0.0
        return departed or state, pod

    def deployment(self, view: DeploymentView) -> PoolState | None:
        """Keep a Deployment, unless a newer state of it is known."""
        if view.name != view.pool:
            return None  # no pool's: somebody gave it the label
        key = (view.namespace, view.pool)
        state = self._all.get(key)
        if state is None:
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
        state.lost_size = state.size_now
        state.deployment = None
        return state

    def _move_out(self, uid: str) -> tuple[PoolState | None, PodView | None]:
        """Take a pod out of the pool that it was in by its label; returns that pool and what was known of it."""
        key = self._homes.pop(uid, None)
        if key is None:
            return None, None
        state, pod = self._all.get(key), None
        if state is not None:
            pod, state.look_at = state.pods.pop(uid, None), 0.0
        early = self._pods.get(key)
        if early is not None:
            early.pop(uid, None)
            if not early:
                del self._pods[key]
        return state, pod

    def _resume(self, state: PoolState) -> None:
        """A pool that is new to us: with what came earlier."""
        left = {uid: it.pods[uid] for uid, it in self._departed.items() if self._homes.get(uid) == state.key}
        state.pods = left | self._pods.pop(state.key, {})
        state.deployment = self._deployments.pop(state.key, None)

    @staticmethod
    def _adopt(state: PoolState, body: Mapping[str, Any]) -> None:
        """What was reported about it by whoever led before us; echoes of what we wrote ourselves are older than that."""
        version = int(body["metadata"].get("resourceVersion") or 0)
        if version <= state.status_version:
            return
        state.status, state.status_version = body.get("status") or {}, version
        if state.decision is None:  # we have not led yet
            state.history = _resumed(state.status, state.history.service_seconds)
        state.pack()


def version_of(meta: Mapping[str, Any]) -> Version:
    """From the metadata of a pool."""
    return meta["uid"], meta.get("generation"), (meta.get("annotations") or {}).get(PAUSED_ANNOTATION)


def missed(known: Mapping[Key, Version], there: Mapping[Key, Version]) -> tuple[Key, ...]:
    """Those of which we do not know what the API server knows."""
    return tuple(sorted(key for key in known.keys() | there.keys() if known.get(key) != there.get(key)))


def _resumed(status: Mapping[str, Any], known: float | None) -> History:
    """What whoever led before has reported of how long jobs take; else what is known ourselves."""
    inputs = (status.get("lastDecision") or {}).get("inputs") or {}
    with contextlib.suppress(KeyError, ValueError):
        known = float(inputs["jobSeconds"])
    return History.resumed(service_seconds=known)


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
