"""The processes of the cluster that is built here: started once, ended once, and told from strangers."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kube.client import wait_for
from tests.kube.processes import Daemon, Identity, Keeper, identify, signal_exactly


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path / "run", tmp_path / "logs")


def sleeper(name: str = "sleeper", seconds: float = 60) -> Daemon:
    code = f"import time; print('here', flush=True); time.sleep({seconds})"
    return Daemon(name, (sys.executable, "-c", code), dict(os.environ))


def test_a_daemon_is_started_once_and_ended_once(keeper: Keeper) -> None:
    assert keeper.start(sleeper())
    pid = keeper.pid("sleeper")
    try:
        assert not keeper.start(sleeper())
        assert keeper.pid("sleeper") == pid
    finally:
        assert keeper.stop("sleeper")
    assert not keeper.alive("sleeper")
    assert not keeper.stop("sleeper")


def test_a_daemon_is_nobodys_child(keeper: Keeper) -> None:
    keeper.start(sleeper())
    try:
        pid = keeper.pid("sleeper")
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        assert int(parent) != os.getpid()
    finally:
        keeper.stop("sleeper")


def test_a_daemon_that_stops_listening_is_killed(keeper: Keeper) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    keeper.start(Daemon("deaf", (sys.executable, "-c", code), dict(os.environ)))
    wait_for(lambda: "deaf\n" in keeper.tail("deaf"), 10, "the daemon to be deaf")
    assert keeper.stop("deaf", patience=0.1)
    assert not keeper.alive("deaf")


def test_a_daemons_words_are_kept(keeper: Keeper) -> None:
    keeper.start(sleeper())
    try:
        wait_for(lambda: "here\n" in keeper.tail("sleeper"), 10, "the daemon's words")
    finally:
        keeper.stop("sleeper")


def test_a_stranger_with_the_same_pid_is_left_alone(keeper: Keeper, tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        who = identify(stranger.pid)
        assert who is not None
        ours = dataclasses.replace(who, started=who.started - 1)
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "old.json").write_text(json.dumps(dataclasses.asdict(ours)))
        assert not keeper.alive("old")
        assert not keeper.stop("old")
        signal_exactly(ours, signal.SIGKILL)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_of_another_boot_is_not_ours(keeper: Keeper) -> None:
    who = identify(os.getpid())
    assert who is not None
    assert identify(os.getpid()) != dataclasses.replace(who, boot="another")
    assert identify(2**22 + 1) is None
    assert keeper.names() == []
    assert isinstance(who, Identity)
