"""Memory as seen from outside: sizes as people write them, the container's limit and its out-of-memory counter. A process's own is memory.py."""

from __future__ import annotations

import re
import resource
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
    "Pi": 1 << 50,
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE][0-9]{1,2})?)\s*([A-Za-z]*)")
_NO_LIMIT_V1 = 1 << 60  # cgroup v1 writes "no limit" as a number near 2**63
_PAGE = resource.getpagesize()


def parse_size(text: str | int) -> int:
    """Return bytes from a Kubernetes quantity: ``512Mi``, ``1.5Gi``, ``2G``, ``1e9`` or a plain number of bytes.

    Raises ValueError, with an example, for anything else and for sizes below one byte.
    """
    match = _SIZE.fullmatch(str(text).strip()) if not isinstance(text, bool) else None
    if match is None or match[2] not in _UNITS:
        raise ValueError(
            f"{text!r} is not a size: give bytes, or a number with one of {' '.join(filter(None, _UNITS))}, "
            "such as 512Mi"
        )
    size = int(Decimal(match[1]) * _UNITS[match[2]])
    if size < 1:
        raise ValueError(f"{text!r} is not a size: it must be at least one byte")
    return size


def resident_bytes(pid: int) -> int | None:
    """Return the resident memory of a process; None when it is gone or /proc does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return None


@dataclass(frozen=True, slots=True)
class CgroupMemory:
    """Where this process's memory accounting lives: the directories from its own control group up to the mount."""

    version: int  # 1, 2, or 0 when there is none
    directories: tuple[Path, ...]  # own first

    def oom_kills(self) -> int | None:
        """Return how many processes the kernel killed for memory in this group and below it; None if it does not
        say.
        """
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return _counter(self.directories[0] / name, "oom_kill") if self.directories else None

    def limit(self) -> int | None:
        """Return the tightest limit of this group and those above it, in bytes; None without one."""
        name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        limits = [limit for directory in self.directories if (limit := _number(directory / name)) is not None]
        return min(limits, default=None)

    def usage(self) -> int | None:
        """Return what the group uses now, page cache included; None if it does not say."""
        name = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        return _number(self.directories[0] / name) if self.directories else None


def own_cgroup(
    cgroup: Path = Path("/proc/self/cgroup"), mountinfo: Path = Path("/proc/self/mountinfo")
) -> CgroupMemory:
    """Find the memory control group of this process, version 2 or 1, also from inside a container without its own
    namespace.

    Look it up once and keep it: a worker does not change its group.
    """
    try:
        memberships = [line.split(":", 2) for line in cgroup.read_text("utf-8", "replace").splitlines()]
        mounts = [line.split() for line in mountinfo.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return CgroupMemory(0, ())
    paths = {controllers: path for _, controllers, path in (m for m in memberships if len(m) == 3)}
    found = [(version, root, mount) for fields in mounts for version, root, mount in [_memory_mount(fields)] if version]
    for version, root, mount in sorted(
        found
    ):  # version 1 first: where both are mounted, it holds the memory controller
        path = paths.get("") if version == 2 else next((p for c, p in paths.items() if "memory" in c.split(",")), None)
        probe = "memory.events" if version == 2 else "memory.oom_control"
        if path is not None and (directories := _upwards(Path(mount), root, path, probe)):
            return CgroupMemory(version, directories)
    return CgroupMemory(0, ())


def _memory_mount(fields: list[str]) -> tuple[int, str, str]:
    """Return version, root and mount point of one mountinfo line; version 0 if it is about something else."""
    if "-" not in fields or len(fields) < 9:
        return 0, "", ""
    kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
    version = 2 if kind == "cgroup2" else 1 if kind == "cgroup" and "memory" in options else 0
    return version, fields[3], fields[4]


def _upwards(mount: Path, root: str, path: str, probe: str) -> tuple[Path, ...]:
    """Return the directories from the process's group up to the mount point that have the file ``probe``."""
    inside = path[len(root) :] if root != "/" and path.startswith(root) else path
    own = mount / inside.lstrip("/")
    if not (own / probe).exists():  # the path is the host's, but the mount shows only this container's group
        own = mount
    chain = [own, *own.parents]
    if mount in chain:
        chain = chain[: chain.index(mount) + 1]
    return tuple(directory for directory in chain if (directory / probe).exists())


def _number(path: Path) -> int | None:
    try:
        number = int(path.read_bytes())
    except (OSError, ValueError):  # "max" is no number
        return None
    return number if number < _NO_LIMIT_V1 else None


def _counter(path: Path, name: str) -> int | None:
    try:
        for line in path.read_text("ascii", "replace").splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        pass
    return None
