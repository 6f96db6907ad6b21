"""What a test does with a cluster: kubectl with Python values, and waiting for a condition."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.kube.commands import run
from tests.kube.errors import CommandFailed, NotReady

Manifest = Mapping[str, Any]
T = TypeVar("T")

RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/warn": "restricted",
}


def wait_for(look: Callable[[], T | None], timeout: float, what: str, pause: float = 0.2) -> T:
    """The first truthy answer of ``look``. What a not-yet-existing object makes kubectl say counts as "not yet"."""
    end = time.monotonic() + timeout
    trouble = ""
    while True:
        try:
            if seen := look():
                return seen
            trouble = ""
        except CommandFailed as error:
            trouble = f"; last error: {error}"
        if time.monotonic() > end:
            raise NotReady(f"{what}: not within {timeout:.0f} s{trouble}")
        time.sleep(pause)


def as_yaml(manifest: str | Manifest | Sequence[Manifest]) -> str:
    """Text stays text; one value is one document, several are several."""
    if isinstance(manifest, str):
        return manifest
    if isinstance(manifest, Mapping):
        return yaml.safe_dump(dict(manifest))
    return yaml.safe_dump_all([dict(it) for it in manifest])


@dataclass(frozen=True)
class Client:
    """A way into a cluster. ``namespace`` is where commands go that name no other."""

    kubectl_program: str
    kubeconfig: Path
    namespace: str = "default"

    def kubectl(self, *args: str | Path, input: str | None = None, timeout: float = 60.0) -> str:  # noqa: A002  # as subprocess calls it
        """stdout of kubectl; raises `CommandFailed` with what it said."""
        where = (f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}")
        # The flags go before any `--`, after which words belong to the program in the pod.
        words = [str(it) for it in args]
        cut = words.index("--") if "--" in words else len(words)
        return run(self.kubectl_program, *words[:cut], *where, *words[cut:], feed=input, timeout=timeout)

    def within(self, namespace: str) -> Client:
        return Client(self.kubectl_program, self.kubeconfig, namespace)

    def apply(self, manifest: str | Manifest | Sequence[Manifest], *flags: str) -> str:
        return self.kubectl("apply", *flags, "-f", "-", input=as_yaml(manifest))

    def delete(self, manifest: str | Manifest | Sequence[Manifest], *flags: str) -> str:
        return self.kubectl("delete", "--ignore-not-found", *flags, "-f", "-", input=as_yaml(manifest))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """Like `get`, but what does not exist is an answer and no error."""
        text = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        flags = (f"--selector={selector}",) if selector else ()
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-o", "json", *flags))["items"]
        return items

    def exec(self, pod: str, *command: str, container: str = "", timeout: float = 60.0) -> str:
        flags = (f"--container={container}",) if container else ()
        return self.kubectl("exec", pod, *flags, "--", *command, timeout=timeout)

    def pod_logs(self, pod: str, *flags: str) -> str:
        return self.kubectl("logs", pod, *flags)

    def events(self) -> str:
        return self.kubectl("get", "events", "--sort-by=.lastTimestamp")

    def ready_pods(self, selector: str) -> list[dict[str, Any]]:
        return [pod for pod in self.items("pods", selector) if condition(pod, "Ready") == "True"]

    def wait_ready(self, selector: str, count: int = 1, timeout: float = 60.0) -> list[dict[str, Any]]:
        """Exactly so many Ready pods, and no other pod of this selector."""

        def look() -> list[dict[str, Any]] | None:
            pods = self.ready_pods(selector)
            return pods if len(pods) == count == len(self.items("pods", selector)) else None

        return wait_for(look, timeout, f"{count} pods Ready of {selector} in {self.namespace}")

    @contextmanager
    def new_namespace(self, prefix: str, labels: Mapping[str, str] = RESTRICTED) -> Iterator[Client]:
        """A namespace of one's own under the restricted profile; gone afterwards, without waiting for it."""
        name = f"{prefix}-{secrets.token_hex(3)}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}})
        client = self.within(name)
        wait_for(lambda: client.find("serviceaccount", "default"), 30, f"the service account of {name}")
        try:
            yield client
        finally:
            with suppress(CommandFailed):
                self.kubectl("delete", "namespace", name, "--wait=false")


def condition(thing: Mapping[str, Any], kind: str) -> str:
    """The status of a condition, ``Unknown`` if there is no such condition."""
    found = [it["status"] for it in thing.get("status", {}).get("conditions", []) if it["type"] == kind]
    return str(found[0]) if found else "Unknown"
