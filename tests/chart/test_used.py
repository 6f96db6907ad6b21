"""Every value does something: changed, with all parts of the chart switched on, it changes what is rendered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import pytest

from charts.generate import Value, read_values
from tests.chart.helm import CHART, Helm
from tests.chart.matrix import BARE_POOL, MONITORING, POOL

VALUES = read_values((CHART / "values.yaml").read_text())

# Everything is on, so that whatever a value is for is there to be changed.
ALL_ON: dict[str, Any] = {
    **MONITORING,
    "operator": {"networkPolicy": {"enabled": True}},
    "redis": {"enabled": True, "persistence": {"enabled": True}},
    "pools": {"shop": BARE_POOL},
    "namespaces": ["rqk-system"],
}
# What has to be otherwise for a value to matter.
INSTEAD: dict[str, dict[str, Any]] = {
    "exporter.existingSecret.name": {"exporter": {"enabled": True, "url": ""}},
    "redis.enabled": {"pools": {"shop": POOL}},
    "exporter.existingSecret.key": {"exporter": {"enabled": True, "url": "", "existingSecret": {"name": "a"}}},
    "metrics.service.enabled": {"metrics": {"service": {"enabled": False}}},
    "operator.leaderElection.enabled": {"operator": {"replicas": 1}},
    "metrics.serviceMonitor.labels": {"metrics": {"serviceMonitor": {"enabled": True}}},
    "metrics.serviceMonitor.interval": {"metrics": {"serviceMonitor": {"enabled": True}}},
    "metrics.serviceMonitor.scrapeTimeout": {"metrics": {"serviceMonitor": {"enabled": True}}},
}
# Another value where none can be guessed from the default.
OTHER: dict[str, Any] = {
    "commonLabels": {"team": "platform"},
    "namespaces": ["rqk-system", "shop"],
    "pools": {"mail": BARE_POOL},
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}}],
    "operator.image.digest": "sha256:" + "b" * 64,
    "worker.image.digest": "sha256:" + "b" * 64,
    "redis.image.digest": "sha256:" + "b" * 64,
    "redis.persistence.size": "2Gi",
    "exporter.url": "redis://elsewhere:6379/0",
    "operator.podSecurityContext": {"runAsUser": 1234},
    "operator.securityContext": {"privileged": False},
    "operator.networkPolicy.metricsFrom": [{"podSelector": {}}],
    "operator.networkPolicy.apiServerPorts": [8443],
    "operator.networkPolicy.redisPorts": [7000],
    "operator.networkPolicy.egress": [{"ports": [{"port": 1}]}],
    "metrics.podMonitor.relabelings": [{"action": "labeldrop", "regex": "a"}],
    "metrics.podMonitor.metricRelabelings": [{"action": "labeldrop", "regex": "a"}],
    "metrics.podMonitor.interval": "15s",
    "metrics.podMonitor.scrapeTimeout": "5s",
    "metrics.serviceMonitor.interval": "15s",
    "metrics.serviceMonitor.scrapeTimeout": "5s",
}
# By the last word of the path.
OTHER_KIND: dict[str, Any] = {
    "imagePullSecrets": [{"name": "pull"}],
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAffinity": {"a": "b"}},
    "topologySpreadConstraints": [],
    "resources": {"limits": {"memory": "1Gi"}},
    "env": [{"name": "A", "value": "b"}],
    "volumes": [{"name": "a", "emptyDir": {}}],
    "volumeMounts": [{"name": "a", "mountPath": "/a"}],
    "extraArgs": ["--more"],
    "secretNames": ["redis"],
    "nodeSelector": {"disk": "fast"},
    "labels": {"more": "yes"},
    "podLabels": {"more": "yes"},
    "annotations": {"more": "yes"},
    "podAnnotations": {"more": "yes"},
    "alertLabels": {"more": "yes"},
}


def leaves(values: tuple[Value, ...]) -> Iterator[Value]:
    """Values that are set by themselves."""
    for value in values:
        if value.children:
            yield from leaves(value.children)
        else:
            yield value


def another(value: Value, current: Any) -> Any:
    """A valid value that differs from the current one."""
    path = ".".join(value.path)
    if path in OTHER:
        return OTHER[path]
    if value.path[-1] in OTHER_KIND:
        return OTHER_KIND[value.path[-1]]
    if "enum" in value.schema:
        return next(choice for choice in value.schema["enum"] if choice != current)
    if isinstance(current, bool):
        return not current
    if isinstance(current, (int, float)):
        return current + 1
    if isinstance(current, str):
        return f"{current}x"
    raise AssertionError(f"say in OTHER what else {path} could be")


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Helm's way: mappings are merged, everything else is replaced."""
    result = deepcopy(dict(under))
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else deepcopy(value)
    return result


def at(values: Mapping[str, Any], path: tuple[str, ...], default: Any) -> Any:
    """What is set at a path."""
    found: Any = values
    for step in path:
        if not isinstance(found, Mapping) or step not in found:
            return default
        found = found[step]
    return found


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A mapping that sets one path."""
    for step in reversed(path):
        value = {step: value}
    found: dict[str, Any] = value
    return found


@pytest.mark.parametrize("value", [pytest.param(value, id=".".join(value.path)) for value in leaves(VALUES)])
def test_a_value_changes_what_is_rendered(helm: Helm, value: Value) -> None:
    path = ".".join(value.path)
    if path in ("metrics.prometheusRule.disabled", "metrics.prometheusRule.alertLabels"):
        pytest.skip("test_render.py: alerts can be left out and labelled")
    before = merged(ALL_ON, INSTEAD.get(path, {}))
    changed = another(value, at(before, value.path, value.default))
    after = merged(before, nested(value.path, changed))
    assert helm.text(before) != helm.text(after)
