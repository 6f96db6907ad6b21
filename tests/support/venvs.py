"""Virtual environments for foreign packages that must not meet ours, built once and kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_BUILT = "built"
_PIP_SECONDS = 600


def cache_directory() -> Path:
    """Where the environments live: ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rqk" / "venvs"


def venv_python(name: str, *requirements: str) -> Path:
    """The interpreter of an environment with exactly these requirements, built now if it is not there.

    Two runs that want the same one at the same time do not disturb each other: the second waits for the first. An
    environment whose build was interrupted is built again. Raises RuntimeError with pip's words when that fails.
    """
    told = "\n".join([sys.version, sys.executable, *requirements])
    target = cache_directory() / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    python = target / "bin" / "python"
    if (target / _BUILT).exists():
        return python
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (target / _BUILT).exists():
            return python
        shutil.rmtree(target, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(target)])
        _run([str(python), "-m", "pip", "install", "--quiet", *requirements])
        (target / _BUILT).write_text("\n".join(requirements))
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
