"""The one node, and what can befall it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.kube import network
from tests.kube.client import Client, condition, wait_for
from tests.kube.components import Site
from tests.kube.credentials import NODE
from tests.kube.processes import Keeper


@dataclass(frozen=True)
class Node:
    """Every harm has its remedy: a test that stops something starts it again in a ``finally``."""

    site: Site
    keeper: Keeper
    client: Client
    name: str = NODE

    def ready(self) -> bool:
        return condition(self.client.get("node", self.name), "Ready") == "True"

    def wait_ready(self, wanted: bool = True, timeout: float = 60.0) -> None:
        word = "Ready" if wanted else "not Ready"
        wait_for(lambda: self.ready() is wanted, timeout, f"node {self.name} {word}")

    def stop_kubelet(self) -> None:
        """Its pods go on running, but nobody looks after them, and the API server hears nothing of them."""
        self.stop("kubelet")

    def start_kubelet(self) -> None:
        self.start("kubelet")

    def stop(self, component: str) -> None:
        """End any of `components.ORDER`, for instance ``kube-controller-manager``."""
        self.keeper.stop(component)

    def start(self, component: str) -> None:
        self.keeper.start(self.site.daemon(component))

    def cut(self, one: str, other: str) -> AbstractContextManager[None]:
        """For a while, no packet between two pods: ``with node.cut(valkey_ip, "10.244.0.0/24"): ...``."""
        return network.cut(self.site.addresses, one, other)

    def cordon(self) -> None:
        self.client.kubectl("cordon", self.name)

    def uncordon(self) -> None:
        self.client.kubectl("uncordon", self.name)

    def drain(self, *flags: str, timeout: float = 120.0) -> str:
        """Evict the pods, of one selector if ``flags`` say so (``--pod-selector=…``): others share the node."""
        common = ("--ignore-daemonsets", "--delete-emptydir-data", "--force")
        return self.client.kubectl("drain", self.name, *common, *flags, timeout=timeout)
