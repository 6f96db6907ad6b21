"""Daemons that outlive the program which starts them, and are ended by nobody else's mistake.

A pid alone says little: it may belong to someone else by now. What is kept of a daemon is its pid
together with the kernel's start time of that pid and the boot it happened in; only if all three
still agree is it ours to signal.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.kube.errors import FixtureError, NotReady

PROC = Path("/proc")
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37
BOOT_ID = PROC / "sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Daemon:
    """A program to keep running."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Identity:
    """A process, told apart from every other that ever had its pid."""

    pid: int
    started: int  # clock ticks after boot
    boot: str


def identify(pid: int) -> Identity | None:
    """Nothing for a pid that is free, or whose process is dead and only waits to be reaped."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold spaces and parentheses
    state, started = fields[0], int(fields[19])
    return None if state in "ZX" else Identity(pid, started, BOOT_ID.read_text().strip())


def signal_exactly(who: Identity, number: signal.Signals) -> None:
    """Send to this process or to none."""
    with suppress(ProcessLookupError):
        if identify(who.pid) == who:
            os.kill(who.pid, number)


def wait_until(true: Callable[[], bool], timeout: float, what: str, pause: float = 0.05) -> None:
    """Poll until ``true``; says what was waited for if it never is."""
    end = time.monotonic() + timeout
    while not true():
        if time.monotonic() > end:
            raise NotReady(f"{what}: not within {timeout:.0f} s")
        time.sleep(pause)


def end(who: Identity, patience: float) -> None:
    """Ask, wait, then kill."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
        signal_exactly(who, number)
        with suppress(NotReady):
            wait_until(lambda: identify(who.pid) != who, seconds, f"end of process {who.pid}")
            return
    raise FixtureError(f"process {who.pid} does not end, not even when killed")


def _let_go(daemon: Daemon, log: int) -> int:
    """Start it as a child of process 1, and return its pid.

    The shell in between ends at once. A test run that adopts orphans (so as to find those it leaked)
    must not adopt this one, nor the shims of pods that it will start: they are meant to stay.
    """
    with _without_adoption():
        started = subprocess.run(
            ("/bin/sh", "-c", '"$@" 1>&2 </dev/null & echo $!', "sh", *daemon.argv), env=dict(daemon.env), cwd="/",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, check=True,
            start_new_session=True,  # the terminal's ^C is for the tests, not for the cluster
        )  # fmt: skip
    return int(started.stdout)


@contextmanager
def _without_adoption() -> Iterator[None]:
    """Orphans go to process 1 for this while, whatever this process asked the kernel for."""
    libc = ctypes.CDLL(None)
    before = ctypes.c_int(0)
    libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


class Keeper:
    """Starts and ends daemons; remembers them in one file each, so that any later program can."""

    def __init__(self, run: Path, logs: Path) -> None:
        self._run = run
        self._logs = logs

    def start(self, daemon: Daemon) -> bool:
        """Returns whether it had to be started; one that lives is left alone."""
        if self.alive(daemon.name):
            return False
        self._run.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(daemon.name).open("ab") as log:
            log.write(f"--- {time.strftime('%FT%T')} {' '.join(daemon.argv)}\n".encode())
            log.flush()
            pid = _let_go(daemon, log.fileno())
        who = identify(pid)
        if who is None:
            raise FixtureError(f"{daemon.name} ended at once:\n{self.tail(daemon.name)}")
        self._write(daemon.name, who)
        return True

    def stop(self, name: str, patience: float = 10.0) -> bool:
        """Returns whether there was anything to end."""
        who = self._read(name)
        if who is not None:
            end(who, patience)
        self._file(name).unlink(missing_ok=True)
        return who is not None

    def alive(self, name: str) -> bool:
        return self._read(name) is not None

    def pid(self, name: str) -> int | None:
        who = self._read(name)
        return who.pid if who else None

    def names(self) -> list[str]:
        """Every daemon ever started and not stopped, alive or not."""
        return sorted(file.stem for file in self._run.glob("*.json"))

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def tail(self, name: str, size: int = 3000) -> str:
        try:
            text = self.log(name).read_text(errors="replace")
        except OSError:
            return "(no log)"
        return text[-size:]

    def _file(self, name: str) -> Path:
        return self._run / f"{name}.json"

    def _write(self, name: str, who: Identity) -> None:
        partial = self._file(name).with_suffix(".partial")
        partial.write_text(json.dumps(asdict(who)))
        partial.rename(self._file(name))

    def _read(self, name: str) -> Identity | None:
        try:
            who = Identity(**json.loads(self._file(name).read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return who if identify(who.pid) == who else None
