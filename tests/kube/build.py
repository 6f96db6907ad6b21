"""From Go modules to programs, once.

Each module is built into a folder whose name is the hash of all that decides the result. The folder
gets its name only when it is complete: an interrupted build leaves nothing half-done behind, and the
next one goes on from Go's own cache of compiled packages.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.kube.commands import clock, run_shown, say
from tests.kube.errors import FixtureError
from tests.kube.settings import HERE, Places, inherited
from tests.kube.toolchain import ensure_go
from tests.kube.versions import MODULES, Module

SOURCES = HERE / "go"


def cache_key(module: Module, sources: Path = SOURCES) -> str:
    """Changes when a version, a flag or a locked dependency changes; not when a comment does."""
    digest = hashlib.sha256()
    naming = (module.called,) if module.called else ()
    for part in (module.name, *module.packages, str(module.cgo), module.tags, module.ldflags, *naming):
        digest.update(part.encode() + b"\0")
    for name in ("go.mod", "go.sum"):
        digest.update((sources / module.name / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def build_command(go: Path, module: Module, into: Path) -> tuple[str, ...]:
    """``-v`` names each package as it is compiled: that is what the progress line counts."""
    tags = ("-tags", module.tags) if module.tags else ()
    return (
        str(go), "build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly", *tags,
        "-ldflags", module.ldflags, "-o", f"{into}/{module.called}", *module.packages,
    )  # fmt: skip


def build_environment(module: Module) -> dict[str, str]:
    """Static unless cgo is needed; the toolchain at hand, never one that Go would fetch by itself."""
    return {"CGO_ENABLED": "1" if module.cgo else "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}


@dataclass(frozen=True)
class Programs:
    """Where each built program lies."""

    folders: tuple[Path, ...]

    def __getitem__(self, name: str) -> Path:
        for folder in self.folders:
            if (folder / name).exists():
                return folder / name
        raise FixtureError(f"{name} is not among the built programs; `python -m tests.kube build` builds them")

    @property
    def path(self) -> str:
        """For PATH: containerd looks for its shim there, kube-proxy for iptables."""
        system = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
        return os.pathsep.join((*map(str, self.folders), *system))


def folder_of(places: Places, module: Module) -> Path:
    return places.builds / f"{module.name}-{cache_key(module)}"


def unbuilt(places: Places) -> list[Module]:
    return [module for module in MODULES if not folder_of(places, module).is_dir()]


def programs(places: Places) -> Programs:
    """What is built; says so if something is missing."""
    if missing := unbuilt(places):
        names = ", ".join(module.name for module in missing)
        raise FixtureError(f"not built yet: {names}; `python -m tests.kube build` builds them")
    return Programs(tuple(folder_of(places, module) for module in MODULES))


def build_all(places: Places) -> Programs:
    """Build what the cache does not have, small modules first so that a mistake shows early."""
    todo = unbuilt(places)
    if todo:
        go = ensure_go(places)
        minutes = sum(module.minutes for module in todo)
        say(f"building {', '.join(it.name for it in todo)}: about {minutes:.0f} min on two cores, once")
        took = sum(_build(places, go, module) for module in todo)
        say(f"built in {clock(took)}, kept in {places.builds}")
    return programs(places)


def _build(places: Places, go: Path, module: Module) -> float:
    final = folder_of(places, module)
    partial = final.with_name(f"{final.name}.partial.{os.getpid()}")
    for leftover in final.parent.glob(f"{module.name}-*.partial.*"):
        shutil.rmtree(leftover)
    partial.mkdir(parents=True)
    took = run_shown(
        f"go build {module.name}",
        ("nice", "-n", "10", *build_command(go, module, partial)),
        log=places.builds / "logs" / f"{module.name}.log",
        cwd=SOURCES / module.name,
        env=inherited() | build_environment(module),
    )
    if absent := [name for name in module.programs if not (partial / name).exists()]:
        raise FixtureError(f"go build of {module.name} ended well and yet did not make {', '.join(absent)}")
    partial.rename(final)
    return took
