"""Processes that cannot outlive the test run, and a look at those that are left."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36

LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def tied_to_us(command: Sequence[str]) -> list[str]:
    """The command, with the kernel asked to kill the process when this one goes, however it goes.

    Where ``setpriv`` is missing the command is returned as it is, and only a killed test run leaves processes behind.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else list(command)


def adopt_orphans() -> None:
    """Make this process the parent of every orphan below it, so that a leaked grandchild is seen and can be ended."""
    if LIBC is not None:
        LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """The ids of this process's direct children, zombies included; empty where /proc is missing."""
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(int(pid) for pid in listing.read_text().split())
        except OSError:  # the thread ended while we looked
            continue
    return found


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return status.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def describe(pid: int) -> str:
    """One line about a process for a failure message."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        words = "?"
    return f"{pid}: {words or '(no command line)'}"


def reap(pid: int) -> None:
    """Collect a zombie child; one that somebody else collected already is fine."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
