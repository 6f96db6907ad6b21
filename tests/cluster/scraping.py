"""From PodMonitors, and from the documentation, to the scrape configuration of a Prometheus that runs beside the cluster.

Debian's Prometheus is built without Kubernetes in it, so what its discovery would find is written into a file for it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import yaml

from tests.kube.client import Client
from tests.kube.errors import CommandFailed
from tests.kube.settings import PROJECT

Scrape = dict[str, Any]

_POD = "__meta_kubernetes_pod"
# Enough of the Prometheus operator's own to hold PodMonitors; which fields they have is for it to judge.
POD_MONITORS: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "podmonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "names": {"kind": "PodMonitor", "plural": "podmonitors", "singular": "podmonitor"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                },
            }
        ],
    },
}


def of_pod_monitor(monitor: Mapping[str, Any]) -> list[Scrape]:
    """What the Prometheus operator makes of one, as far as ours use it; a field it does not know is an error."""
    meta, spec = monitor["metadata"], dict(monitor["spec"])
    where = _namespaces(spec.pop("namespaceSelector", {}), meta["namespace"])
    chosen = _selected(spec.pop("selector"))
    labels = [_replace(f"{_POD}_label_{_plain(name)}", _plain(name)) for name in spec.pop("podTargetLabels", ())]
    endpoints = spec.pop("podMetricsEndpoints")
    assert not spec, f"not known: {', '.join(spec)}"
    made = []
    for number, given in enumerate(endpoints):
        endpoint = dict(given)
        running = endpoint.pop("filterRunning", True)
        relabel = [
            *chosen,
            *([_rule([f"{_POD}_phase"], "(Failed|Succeeded)", "drop")] if running else ()),
            _rule([f"{_POD}_container_port_name"], endpoint.pop("port"), "keep"),
            _replace("__meta_kubernetes_namespace", "namespace"),
            _replace(f"{_POD}_container_name", "container"),
            _replace(f"{_POD}_name", "pod"),
            *labels,
            *(_snake(it) for it in endpoint.pop("relabelings", ())),
        ]
        made.append(
            {
                "job_name": f"podMonitor/{meta['namespace']}/{meta['name']}/{number}",
                "kubernetes_sd_configs": [{"role": "pod", **where}],
                "honor_labels": endpoint.pop("honorLabels", False),
                "metrics_path": endpoint.pop("path"),
                "scrape_interval": endpoint.pop("interval"),
                **({"scrape_timeout": endpoint.pop("scrapeTimeout")} if "scrapeTimeout" in endpoint else {}),
                "relabel_configs": relabel,
            }
        )
        assert not endpoint, f"not known: {', '.join(endpoint)}"
    return made


def documented(namespace: str) -> list[Scrape]:
    """The pods' part of what docs/monitoring.md gives to a plain Prometheus, for a release in this namespace."""
    text = (PROJECT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n(rule_files:.*?)```", text, re.DOTALL)
    assert found is not None
    scrapes: list[Scrape] = yaml.safe_load(found[1].replace("rqk-system", namespace))["scrape_configs"]
    return [it for it in scrapes if "kubernetes_sd_configs" in it]


def from_file(scrape: Scrape, file: Path) -> Scrape:
    """The same, with its targets from a file."""
    (discovery,) = scrape.pop("kubernetes_sd_configs")
    assert discovery.pop("role") == "pod"
    names = discovery.pop("namespaces", {"names": [".*"]})["names"]
    assert not discovery, f"not known: {', '.join(discovery)}"
    here = _rule(["__meta_kubernetes_namespace"], "|".join(names), "keep")
    return {
        **scrape,
        "file_sd_configs": [{"files": [str(file)], "refresh_interval": "1s"}],
        "relabel_configs": [here, *scrape["relabel_configs"]],
    }


def targets(pods: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What Prometheus' discovery makes of pods: a target for each declared port."""
    found = []
    for pod in pods:
        meta, address = pod["metadata"], pod["status"].get("podIP")
        if not address:
            continue
        common = {
            "__meta_kubernetes_namespace": meta["namespace"],
            f"{_POD}_name": meta["name"],
            f"{_POD}_phase": pod["status"]["phase"],
        }
        for what in ("label", "annotation"):
            for name, value in (meta.get(f"{what}s") or {}).items():
                common[f"{_POD}_{what}_{_plain(name)}"] = value
                common[f"{_POD}_{what}present_{_plain(name)}"] = "true"
        for container in pod["spec"]["containers"]:
            for port in container.get("ports", ()):
                own = {
                    f"{_POD}_container_name": container["name"],
                    f"{_POD}_container_port_name": port.get("name", ""),
                }
                found.append({"targets": [f"{address}:{port['containerPort']}"], "labels": {**common, **own}})
    return found


class Discovery:
    """Keeps a file of targets up to date with the pods of a namespace."""

    def __init__(self, client: Client, file: Path) -> None:
        self._client, self._file = client, file
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discovery")

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.5):
            with suppress(CommandFailed):
                self._look()

    def _look(self) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(targets(self._client.items("pods"))))
        fresh.rename(self._file)


def _namespaces(selector: Mapping[str, Any], own: str) -> dict[str, Any]:
    if selector.get("any"):
        return {}
    return {"namespaces": {"names": selector.get("matchNames", [own])}}


def _selected(selector: Mapping[str, Any]) -> list[Scrape]:
    rules = [_rule([f"{_POD}_label_{_plain(name)}"], value, "keep") for name, value in selector["matchLabels"].items()]
    for it in selector.get("matchExpressions", ()):
        assert it["operator"] == "Exists", it
        rules.append(_rule([f"{_POD}_labelpresent_{_plain(it['key'])}"], "true", "keep"))
    return rules


def _rule(sources: list[str], regex: str, action: str) -> Scrape:
    return {"source_labels": sources, "regex": regex, "action": action}


def _replace(source: str, target: str) -> Scrape:
    return {"source_labels": [source], "regex": "(.+)", "target_label": target, "action": "replace"}


def _snake(rule: Mapping[str, Any]) -> Scrape:
    return {re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", key): value for key, value in rule.items()}


def _plain(name: str) -> str:
    """A label's name as Prometheus can have it."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)
