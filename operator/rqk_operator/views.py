"""What the operator keeps of a pod and of a Deployment. Pure: from the API server's objects to small values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rqk_operator.names import AUTOSCALER, CONTAINER, COST_NOTE, MANIFEST_NOTE, OPERATOR, POOL_LABEL

Object = Mapping[str, Any]

# Whoever else writes a Deployment's spec may have changed what we say.
_OWN_MANAGERS = frozenset({OPERATOR, AUTOSCALER, "kube-controller-manager"})


@dataclass(frozen=True, slots=True)
class Ended:
    """How the worker's container ended last. ``at`` is epoch seconds, whole ones."""

    reason: str
    exit_code: int
    at: float


@dataclass(frozen=True, slots=True)
class PodView:
    """A worker's pod."""

    namespace: str
    name: str
    uid: str
    pool: str
    phase: str = "Pending"
    ready: bool = False
    deleting: bool = False
    assigned: bool = False  # to a node
    running: bool = False  # the worker's container
    waiting: str = ""  # why the container does not run, such as ImagePullBackOff
    ended: Ended | None = None
    cost: int = 0  # pod-deletion-cost
    created: float = 0.0  # epoch seconds
    template: str = ""  # hash of the template that it was made from: one for each ReplicaSet
    reason: str = ""  # of a failed pod, such as Evicted
    owned: bool = True  # by a ReplicaSet; not if somebody took it out by changing its labels

    @property
    def worker(self) -> str:
        """The name of the rqk worker in it."""
        return f"{self.name}.{self.uid}"

    @property
    def hostname(self) -> str:
        """What programs in it see as the host's name."""
        return self.name[:63].rstrip("-.")

    @property
    def active(self) -> bool:
        """Whether a ReplicaSet counts it."""
        return self.owned and not self.deleting and self.phase not in ("Succeeded", "Failed")

    @property
    def dead(self) -> bool:
        """Nothing runs in it, and nothing ever will."""
        return self.phase in ("Succeeded", "Failed")


def pod_view(item: Object) -> PodView:
    """From a Pod."""
    meta, spec, status = item["metadata"], item.get("spec", {}), item.get("status", {})
    labels, notes = meta.get("labels") or {}, meta.get("annotations") or {}
    state, ended = _container(status.get("containerStatuses") or ())
    ready = any(it["type"] == "Ready" and it["status"] == "True" for it in status.get("conditions") or ())
    return PodView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        pool=labels.get(POOL_LABEL, ""),
        phase=status.get("phase", "Pending"),
        ready=ready,
        deleting="deletionTimestamp" in meta,
        assigned=bool(spec.get("nodeName")),
        running="running" in state,
        waiting=state.get("waiting", {}).get("reason", ""),
        ended=ended,
        cost=_number(notes.get(COST_NOTE)),
        created=epoch(meta.get("creationTimestamp")),
        template=labels.get("pod-template-hash", ""),
        reason=status.get("reason", ""),
        owned=any(it.get("controller") and it["kind"] == "ReplicaSet" for it in meta.get("ownerReferences") or ()),
    )


def _container(statuses: Iterable[Object]) -> tuple[Mapping[str, Any], Ended | None]:
    found = next((it for it in statuses if it.get("name") == CONTAINER), None)
    if found is None:
        return {}, None
    state = found.get("state") or {}
    over = state.get("terminated") or (found.get("lastState") or {}).get("terminated")
    if not over:
        return state, None
    return state, Ended(over.get("reason", "Error"), int(over.get("exitCode", -1)), epoch(over.get("finishedAt")))


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """A pool's Deployment."""

    namespace: str
    name: str
    uid: str
    version: int  # resourceVersion
    pool: str
    owner: str  # uid of the controller, empty if there is none
    replicas: int
    ready: int = 0
    deleting: bool = False
    rolling: bool = False  # a new template is on its way to the pods
    manifest: str = ""
    owners: str = ""  # changes when somebody takes a field over
    foreign: bool = False  # somebody else has written its spec
    scaler_owns_replicas: bool = False
    failure: str = ""  # why pods cannot be made, in the controllers' words
    stuck: str = ""  # why a rollout does not get on


def deployment_view(item: Object) -> DeploymentView:
    """From a Deployment."""
    meta, spec, status = item["metadata"], item["spec"], item.get("status", {})
    conditions = {it["type"]: it for it in status.get("conditions") or ()}
    failing, progress = conditions.get("ReplicaFailure", {}), conditions.get("Progressing", {})
    managed = meta.get("managedFields") or ()
    replicas = int(spec.get("replicas", 1))
    behind = status.get("observedGeneration", 0) < meta.get("generation", 0)
    return DeploymentView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        version=int(meta["resourceVersion"]),
        pool=(meta.get("labels") or {}).get(POOL_LABEL, ""),
        owner=next((it["uid"] for it in meta.get("ownerReferences") or () if it.get("controller")), ""),
        replicas=replicas,
        ready=int(status.get("readyReplicas", 0)),
        deleting="deletionTimestamp" in meta,
        rolling=not behind and status.get("updatedReplicas", 0) < status.get("replicas", 0),
        manifest=(meta.get("annotations") or {}).get(MANIFEST_NOTE, ""),
        owners=_owners(managed),
        foreign=foreign_writers(managed),
        scaler_owns_replicas=any(_has_replicas(it) for it in managed if it.get("manager") != OPERATOR),
        failure=failing.get("message", "") if failing.get("status") == "True" else "",
        stuck=progress.get("message", "") if progress.get("reason") == "ProgressDeadlineExceeded" else "",
    )


def _owners(managed: Iterable[Object]) -> str:
    """Who holds which field, for comparing: what a hand edit changes and a change of status or size does not."""
    rows = [
        (it.get("manager"), it.get("operation"), it.get("fieldsV1"))
        for it in managed
        if not it.get("subresource") and it.get("manager") not in (AUTOSCALER, "kube-controller-manager")
    ]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def foreign_writers(managed: Iterable[Object]) -> bool:
    """Whether somebody else has written the spec of an object of ours."""
    return any(
        not it.get("subresource") and "f:spec" in (it.get("fieldsV1") or {})
        for it in managed
        if it.get("manager") not in _OWN_MANAGERS
    )


def _has_replicas(entry: Object) -> bool:
    return "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})


def epoch(text: str | None) -> float:
    """Kubernetes' time as epoch seconds; 0 if there is none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
