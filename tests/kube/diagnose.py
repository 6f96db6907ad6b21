"""What to keep of a cluster when a test failed: enough to understand it the day after."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.kube.client import Client
from tests.kube.commands import run
from tests.kube.errors import CommandFailed
from tests.kube.processes import Keeper

QUESTIONS = {
    "nodes.txt": ("describe", "nodes"),
    "all-pods.txt": ("get", "pods", "--all-namespaces", "-o", "wide"),
    "events.txt": ("get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp"),
}
KINDS = "pods,deployments,replicasets,services,configmaps,leases,poddisruptionbudgets,networkpolicies,events"


def dump(client: Client, folder: Path, *, keeper: Keeper | None = None, namespaces: Iterable[str] = ()) -> Path:
    """Write pods, events and logs into ``folder``. A question that fails leaves its error as the answer."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, words in QUESTIONS.items():
        (folder / name).write_text(_ask(client, *words))
    for namespace in namespaces:
        _dump_namespace(client.within(namespace), folder / namespace)
    if keeper is not None:
        for name in keeper.names():
            (folder / f"component-{name}.log").write_text(keeper.tail(name, 200_000))
    (folder / "kernel.txt").write_text(_kernel())
    return folder


def _dump_namespace(client: Client, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "objects.yaml").write_text(_ask(client, "get", KINDS, "-o", "yaml"))
    (folder / "describe.txt").write_text(_ask(client, "describe", "pods"))
    for pod in _ask(client, "get", "pods", "-o", "name").splitlines():
        name = pod.removeprefix("pod/")
        if "/" not in name and " " not in name:
            (folder / f"{name}.log").write_text(_ask(client, "logs", name, "--all-containers", "--timestamps"))
            before = _ask(client, "logs", name, "--all-containers", "--previous")
            if "not found" not in before:
                (folder / f"{name}.previous.log").write_text(before)


def _ask(client: Client, *words: str) -> str:
    try:
        return client.kubectl(*words)
    except CommandFailed as error:
        return f"{error}\n"


def _kernel() -> str:
    """Who was killed for memory is known to the kernel best."""
    try:
        return "\n".join(run("dmesg").splitlines()[-200:])
    except CommandFailed as error:
        return f"{error}\n"
