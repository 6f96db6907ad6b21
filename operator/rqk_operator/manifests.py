"""From a pool to the manifests of its children. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from rqk.autoscale.model import KIND, Abandoned, NetworkPolicy, Pool, Worker
from rqk.errors import BadPool
from rqk_operator.merging import merged
from rqk_operator.names import CONTAINER, MANIFEST_NOTE, POOL_LABEL, POOLS_API, REDIS_NOTE
from rqk_operator.sources import Mounts, literal, mounts

Manifest = dict[str, Any]

# Of the grace period, the worker keeps this much back for writing and saying goodbye.
FAREWELL_S = 5
_WAIT_FOR_REDIS_S = 60
_REDIS_PORT = 6379
_START_S = 600  # for Redis to come up and modules to be imported

_TEMPLATE_DEFAULTS: Manifest = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,  # a Service named redis would set REDIS_PORT and the like
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
}
_CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


# The pool under the name that dashboards and alerts use.
_POOL_RELABELING = {"sourceLabels": ["__meta_kubernetes_pod_label_rqk_dev_pool"], "targetLabel": "pool"}


def labels(pool: Pool) -> dict[str, str]:
    """On everything made for the pool."""
    return {
        "app.kubernetes.io/name": "rqk-worker",
        "app.kubernetes.io/instance": pool.name,
        "app.kubernetes.io/managed-by": "rqk-operator",
        POOL_LABEL: pool.name,
    }


def selector(pool: Pool) -> str:
    """Finds the pool's pods."""
    return f"{POOL_LABEL}={pool.name}"


def deployment(pool: Pool, redis_fingerprint: str) -> Manifest:
    """The Deployment, without a number of replicas: that is another manager's.

    ``redis_fingerprint`` changes when the content of the Secrets does, and then the workers are rolled over.
    Raises BadPool for what only shows here: no image, or a template that cannot be merged.
    """
    worker = pool.spec.worker
    if worker.image is None:
        raise BadPool("spec.worker.image: needed on Kubernetes: an image with your code and rqk in it")
    given = pool.spec.template or {}
    _check_template(given, worker)
    under = merged(_template_defaults(worker), given)
    template = merged(under, _template(pool, worker.image, redis_fingerprint))
    manifest: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(pool),
        "spec": {
            "selector": {"matchLabels": {POOL_LABEL: pool.name}},
            # Never fewer workers than decided on while a new template is rolled out.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "progressDeadlineSeconds": _START_S + 300,
            "revisionHistoryLimit": 3,
            "template": template,
        },
    }
    manifest["metadata"]["annotations"] = {MANIFEST_NOTE: digest(manifest)}
    return manifest


def optional_children(pool: Pool) -> list[Manifest]:
    """PodDisruptionBudget, PodMonitor and NetworkPolicy, as far as the pool asks for them."""
    spec = pool.spec
    found: list[Manifest] = []
    pods = {"matchLabels": {POOL_LABEL: pool.name}}
    if spec.pod_disruption_budget is not None:
        budget = {"maxUnavailable": spec.pod_disruption_budget.max_unavailable, "selector": pods}
        found.append(_child(pool, "policy/v1", "PodDisruptionBudget", budget))
    if spec.pod_monitor is not None:
        endpoint = {
            "port": "metrics",
            "path": "/metrics",
            "interval": spec.pod_monitor.interval,
            "filterRunning": False,  # workers that are on their way out still count
            "relabelings": [_POOL_RELABELING],
        }
        body = {"selector": pods, "podMetricsEndpoints": [endpoint], "podTargetLabels": [POOL_LABEL]}
        monitor = _child(pool, "monitoring.coreos.com/v1", "PodMonitor", body)
        monitor["metadata"]["labels"] = {**spec.pod_monitor.labels, **monitor["metadata"]["labels"]}
        found.append(monitor)
    if spec.network_policy is not None:
        found.append(
            _child(pool, "networking.k8s.io/v1", "NetworkPolicy", _network_policy(pool, spec.network_policy, pods))
        )
    return found


def digest(manifest: Mapping[str, Any]) -> str:
    """The same for the same manifest."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]


def _metadata(pool: Pool) -> Manifest:
    owner = {
        "apiVersion": POOLS_API,
        "kind": KIND,
        "name": pool.name,
        "uid": pool.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {"name": pool.name, "namespace": pool.metadata.namespace, "labels": labels(pool), "ownerReferences": [owner]}


def _child(pool: Pool, api: str, kind: str, spec: Manifest) -> Manifest:
    return {"apiVersion": api, "kind": kind, "metadata": _metadata(pool), "spec": spec}


def _check_template(template: Mapping[str, Any], worker: Worker) -> None:
    """Shapes that merging relies on; everything else is for the API server to judge."""
    unknown = sorted(set(template) - {"metadata", "spec"})
    if unknown:
        raise BadPool(f"spec.template.{unknown[0]}: a template has metadata and spec only")
    spec = template.get("spec", {})
    for name, part in (("metadata", template.get("metadata", {})), ("spec", spec)):
        if not isinstance(part, Mapping):
            raise BadPool(f"spec.template.{name}: must be an object")
    for name in ("containers", "initContainers", "volumes"):
        items = spec.get(name, [])
        if not isinstance(items, list) or not all(isinstance(it, Mapping) and it.get("name") for it in items):
            raise BadPool(f"spec.template.spec.{name}: must be a list of objects, each with a name")
    if worker.command is None and any(it["name"] == CONTAINER and it.get("args") for it in spec.get("containers", [])):
        # They would be taken for names of queues.
        raise BadPool(f"spec.template.spec.containers[{CONTAINER}].args: only together with spec.worker.command")


def _template_defaults(worker: Worker) -> Manifest:
    """What the pool's own template may change."""
    scratch = {"name": "tmp", "mountPath": "/tmp"}
    container: Manifest = {"name": CONTAINER, "securityContext": _CONTAINER_SECURITY, "volumeMounts": [scratch]}
    if worker.command is None:
        container |= _probes()
    volume = {"name": "tmp", "emptyDir": {}}
    return {"spec": {**_TEMPLATE_DEFAULTS, "containers": [container], "volumes": [volume]}}


def _probes() -> Manifest:
    """Cheap ones, that ask the process only: a Redis that hiccups must not restart the workers."""
    health = {"httpGet": {"path": "/healthz", "port": "metrics"}}
    ready = {"httpGet": {"path": "/readyz", "port": "metrics"}}
    return {
        "startupProbe": {**health, "periodSeconds": 1, "failureThreshold": _START_S, "timeoutSeconds": 5},
        "livenessProbe": {**health, "periodSeconds": 20, "failureThreshold": 6, "timeoutSeconds": 10},
        # One answer is enough: a worker that retires says so here, and its pod may then be removed.
        "readinessProbe": {**ready, "periodSeconds": 2, "failureThreshold": 1, "timeoutSeconds": 5},
    }


def _template(pool: Pool, image: str, redis_fingerprint: str) -> Manifest:
    """What the operator sets, whatever the pool's template says."""
    worker = pool.spec.worker
    found = mounts(pool.spec.redis) if pool.spec.redis is not None else Mounts((), (), ())
    notes = {REDIS_NOTE: redis_fingerprint}
    if worker.command is None and pool.spec.pod_monitor is None:
        notes |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(worker.metrics_port),
            "prometheus.io/path": "/metrics",
        }
    return {
        "metadata": {"labels": labels(pool), "annotations": notes},
        "spec": {
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": worker.grace_seconds,
            "containers": [_container(pool, image, found)],
            **({"volumes": list(found.volumes)} if found.volumes else {}),
        },
    }


def _container(pool: Pool, image: str, found: Mounts) -> Manifest:
    worker = pool.spec.worker
    variables = [variable.model_dump(mode="json", by_alias=True, exclude_none=True) for variable in worker.env]
    container: Manifest = {
        "name": CONTAINER,
        "image": image,
        "env": merged(variables, [*_identity(), *found.env]),
    }
    if found.mounts:
        container["volumeMounts"] = list(found.mounts)
    if worker.command is not None:
        container["command"] = list(worker.command)
    else:
        container["command"] = worker_command(pool)
        container["ports"] = [{"name": "metrics", "containerPort": worker.metrics_port, "protocol": "TCP"}]
    if worker.env_from:
        container["envFrom"] = list(worker.env_from)
    if worker.resources:
        container["resources"] = worker.resources
    return container


def _identity() -> list[Manifest]:
    fields = {"RQK_POD_NAME": "metadata.name", "RQK_POD_UID": "metadata.uid", "RQK_POD_NAMESPACE": "metadata.namespace"}
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]


def worker_command(pool: Pool) -> list[str]:
    """The program itself and no shell: signals must reach the worker."""
    worker = pool.spec.worker
    command = ["rqk", "worker"]
    for module in worker.preload:
        command += ["--preload", module]
    command += ["--recycle-after", str(worker.recycle_after)]
    command += ["--abandoned", "requeue" if worker.abandoned is Abandoned.REQUEUE else "fail"]
    command += ["--grace", str(max(1, worker.grace_seconds - FAREWELL_S))]
    command += ["--wait-for-redis", str(_WAIT_FOR_REDIS_S)]
    if worker.job_memory_limit is not None:
        command += ["--job-memory-limit", worker.job_memory_limit]
    if not worker.with_scheduler:
        command += ["--no-scheduler"]
    command += ["--metrics-port", str(worker.metrics_port)]
    return [*command, "--", *(literal(name) for name in pool.spec.queues)]


def _network_policy(pool: Pool, policy: NetworkPolicy, pods: Manifest) -> Manifest:
    port = {"protocol": "TCP", "port": pool.spec.worker.metrics_port}
    ingress = [{"from": list(policy.metrics_from), "ports": [port]}] if policy.metrics_from else []
    body: Manifest = {"podSelector": pods, "policyTypes": ["Ingress"], "ingress": ingress}
    if policy.egress is not None:
        dns = {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
        body["policyTypes"].append("Egress")
        body["egress"] = [
            dns,
            *({"ports": [{"protocol": "TCP", "port": n}]} for n in _redis_ports(pool)),
            *policy.egress,
        ]
    return body


def _redis_ports(pool: Pool) -> list[int]:
    """As far as they can be read from the pool; a URL in a Secret names the port that most servers have."""
    redis = pool.spec.redis
    if redis is None:
        return []
    if redis.sentinel is not None:
        return sorted({int(address.rpartition(":")[2]) for address in redis.sentinel.addresses} | {_REDIS_PORT})
    try:
        url = urlsplit(redis.url or "")
    except ValueError:
        return []  # the pool's status says so
    if url.scheme == "unix":
        return []
    # Of Sentinels there may be several, and the servers behind them are not named.
    found = {_port(address) for address in url.netloc.rpartition("@")[2].split(",")}
    return sorted(found | {_REDIS_PORT} if url.scheme.endswith("+sentinel") else found)


def _port(address: str) -> int:
    """Of ``host``, ``host:6380`` or ``[::1]:6380``."""
    port = address.rpartition("]")[2].rpartition(":")[2]
    return int(port) if port.isdecimal() else _REDIS_PORT
