"""One cgroup above all pods: what is in it is ours, and so ours to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL

from tests.kube.processes import identify, signal_exactly, wait_until

MOUNT = Path("/sys/fs/cgroup")
NAME = "rqk"


def hierarchies(mount: Path = MOUNT) -> list[Path]:
    """cgroup v2 has one tree, v1 a tree for each controller (and links between some)."""
    if (mount / "cgroup.controllers").exists():
        return [mount]
    return sorted({it.resolve() for it in mount.iterdir() if (it / "cgroup.procs").exists()})


def make(mount: Path = MOUNT) -> None:
    """The kubelet asks for its root cgroup to be there in every tree."""
    for tree in hierarchies(mount):
        group = tree / NAME
        group.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # v1: empty in a new group, and nothing can run in it then
            if (group / name).exists() and not (group / name).read_text().strip():
                (group / name).write_text((tree / name).read_text())


def pids(mount: Path = MOUNT) -> set[int]:
    """Every process in a pod."""
    found: set[int] = set()
    for group in _groups(mount):
        with suppress(OSError):
            found.update(int(line) for line in (group / "cgroup.procs").read_text().split())
    return found - {0}


def remove(mount: Path = MOUNT, patience: float = 20.0) -> None:
    """Kill what is in the pods, then take the groups away, deepest first."""

    def empty() -> bool:
        for pid in pids(mount):
            if who := identify(pid):
                signal_exactly(who, SIGKILL)
        for group in _groups(mount):
            with suppress(OSError):  # busy until its last process is reaped: the next round takes it
                group.rmdir()
        return not any(True for _ in _groups(mount))

    wait_until(empty, patience, "the pods' cgroups to be empty")


def _groups(mount: Path) -> Iterator[Path]:
    for tree in hierarchies(mount):
        root = tree / NAME
        if root.is_dir():
            yield from sorted((it for it in root.rglob("*") if it.is_dir()), key=lambda it: -len(it.parts))
            yield root
