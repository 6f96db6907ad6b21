"""The operator as its own manifests install it, and what a test may do to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from tests.cluster.images import OPERATOR
from tests.kube.client import Client, wait_for
from tests.kube.settings import PROJECT

NAMESPACE = "rqk-system"
SELECTOR = "app.kubernetes.io/name=rqk-operator"
IMAGE = re.compile(r"ghcr\.io/rqk/rqk-operator:[\w.]+")


def manifests(client: Client) -> list[dict[str, Any]]:
    """What `kubectl apply -k manifests/` applies, with the image that was built here."""
    text = client.kubectl("kustomize", PROJECT / "manifests")
    return [it for it in yaml.safe_load_all(IMAGE.sub(OPERATOR, text)) if it]


@dataclass
class Operator:
    """Two pods, of which one leads."""

    client: Client

    def install(self) -> None:
        everything = manifests(self.client)
        self.uninstall()
        crds = [it for it in everything if it["kind"] == "CustomResourceDefinition"]
        self.client.apply(crds, "--server-side", "--force-conflicts")
        self.client.kubectl("wait", "--for=condition=Established", "crd/rqworkerpools.rqk.dev", "--timeout=30s")
        self.client.apply([it for it in everything if it not in crds], "--server-side", "--force-conflicts")
        self.wait_ready()

    def uninstall(self) -> None:
        """All but the namespace and the CRD: with that, every pool of the cluster would go."""
        kept = {"CustomResourceDefinition", "Namespace"}
        if self.client.find("namespace", NAMESPACE) is not None:
            self.client.delete([it for it in manifests(self.client) if it["kind"] not in kept])
            wait_for(lambda: not self.client.items("pods", SELECTOR), 60, "the operator's pods to go")

    def wait_ready(self, count: int = 2) -> None:
        self.client.wait_ready(SELECTOR, count, timeout=90)
        wait_for(self.leader, 30, "a leader")

    def leader(self) -> str | None:
        """The pod that leads, if it still lives."""
        lease = self.client.find("lease", "rqk-operator")
        holder = ((lease or {}).get("spec") or {}).get("holderIdentity") or ""
        pod = str(holder).rpartition("_")[0]
        names = {it["metadata"]["name"] for it in self.client.items("pods", SELECTOR)}
        return pod if pod in names else None

    def pods(self) -> list[str]:
        return [it["metadata"]["name"] for it in self.client.items("pods", SELECTOR)]

    def scale(self, replicas: int) -> None:
        self.client.kubectl("scale", "deployment/rqk-operator", f"--replicas={replicas}")
        if replicas == 0:
            wait_for(lambda: not self.pods(), 60, "the operator's pods to go")
        else:
            self.wait_ready(replicas)

    def logs(self) -> str:
        return "\n".join(self.client.pod_logs(pod) for pod in self.pods())

    def metrics(self) -> dict[str, float]:
        """The leader's metrics, by name with labels."""
        code = "import urllib.request as u; print(u.urlopen('http://localhost:9728/metrics').read().decode())"
        text = self.client.exec(str(self.leader()), "python3", "-c", code)
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in rows}
