"""Sets of values that people install with, for every test that renders, lints or sends them to an API server."""

from __future__ import annotations

from typing import Any

POOL: dict[str, Any] = {
    "labels": {"team": "shop"},
    "annotations": {"rqk.dev/paused": "false"},
    "spec": {
        "queues": ["critical", "default"],
        "redis": {"url": "redis://redis:6379/0"},
        "scaling": {"minReplicas": 0, "maxReplicas": 5, "targetDepthPerWorker": 10},
        "worker": {"image": "example.com/shop:1", "preload": ["shop.jobs"]},
        "podDisruptionBudget": {"maxUnavailable": "25%"},
        "template": {"spec": {"nodeSelector": {"kubernetes.io/os": "linux"}}},
    },
}
# As `pools` of the values: no Redis and no image of its own.
BARE_POOL: dict[str, Any] = {"spec": {"queues": ["default"], "scaling": {"targetWaitSeconds": 30}}}

MONITORING: dict[str, Any] = {
    "metrics": {
        "service": {"enabled": True, "annotations": {"a": "b"}},
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "alertLabels": {"team": "platform"}},
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "rqk"}},
    },
    "exporter": {"enabled": True, "url": "redis://redis:6379/0"},
}

MATRIX: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one namespace": {"namespaces": ["rqk-system"]},
    "namespaces of others": {"namespaces": ["shop", "video"], "crds": {"enabled": False}, "rbac": {"aggregate": False}},
    "secrets by name": {"rbac": {"secretNames": ["redis", "redis-2"]}},
    "own account and roles": {"serviceAccount": {"create": False, "name": "mine"}, "rbac": {"create": False}},
    "single": {"operator": {"replicas": 1, "leaderElection": {"enabled": False}}, "tests": {"enabled": False}},
    "development": {"redis": {"enabled": True}, "pools": {"shop": BARE_POOL}, "exporter": {"enabled": True}},
    "kept data": {"redis": {"enabled": True, "password": "s3cret", "persistence": {"enabled": True}}},
    "pools": {"pools": {"shop": POOL, "mail": {**POOL, "namespace": "default"}}},
    "monitored": MONITORING,
    "a ServiceMonitor": {"metrics": {"serviceMonitor": {"enabled": True, "labels": {"a": "b"}}}},
    "scraped by annotations": {"metrics": {"scrapeAnnotations": True, "port": 9999}},
    "closed": {
        "operator": {
            "networkPolicy": {
                "enabled": True,
                "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
                "egress": [{"ports": [{"port": 8080}]}],
            }
        }
    },
    "a registry of one's own": {
        "global": {"imageRegistry": "registry.example.com", "imagePullSecrets": [{"name": "pull"}]},
        "operator": {"image": {"digest": "sha256:" + "a" * 64}},
        "redis": {"enabled": True},
    },
    "placed with care": {
        "operator": {
            "priorityClassName": "system-cluster-critical",
            "tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "infra", "operator": "Exists"}]}]
                    }
                }
            },
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
            ],
            "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            "extraArgs": ["--log-level=debug"],
            "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            "volumeMounts": [{"name": "ca", "mountPath": "/ca"}],
            "podDisruptionBudget": {"maxUnavailable": "50%"},
        }
    },
    "more objects": {
        "commonLabels": {"team": "platform"},
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "{{ .Release.Name }}-more"},
                "data": {"a": "b"},
            },
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text\n",
        ],
    },
}
