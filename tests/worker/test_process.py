"""The one fork: how a child ends, whom it belongs to, with whom it dies."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from rqk.core.verdict import EXIT_BROKEN, EXIT_ORPHAN
from rqk.worker import process
from tests.support.processes import is_running
from tests.support.waiting import wait_until


def test_the_exit_code_is_what_the_child_returns() -> None:
    assert os.waitstatus_to_exitcode(process.reap(process.spawn(lambda: 7, group=False)) or 0) == 7


def test_an_exception_ends_the_child_and_never_reaches_the_parents_stack(capfd: pytest.CaptureFixture[str]) -> None:
    def child() -> int:
        raise SystemExit("out of here")

    status = process.reap(process.spawn(child, group=False))
    assert status is not None
    assert os.waitstatus_to_exitcode(status) == EXIT_BROKEN
    assert "SystemExit: out of here" in capfd.readouterr().err


def test_buffered_text_is_written_once(tmp_path: Path) -> None:
    def child() -> int:
        print("child")
        return 0

    path = tmp_path / "out"
    with path.open("w") as file:
        before, sys.stdout = sys.stdout, file
        try:
            print("parent")
            process.reap(process.spawn(child, group=False))
        finally:
            sys.stdout = before
    assert path.read_text() == "parent\nchild\n"


@pytest.mark.parametrize("group", [True, False])
def test_a_child_leads_a_group_of_its_own_only_if_asked(group: bool) -> None:
    read, write = os.pipe()
    pid = process.spawn(lambda: len(os.read(read, 1)), group=group)
    assert os.getpgid(pid) == (pid if group else os.getpgid(0))  # at once: nobody has to wait for the child
    os.write(write, b".")
    process.reap(pid)
    os.close(read)
    os.close(write)


def test_a_killed_parent_takes_its_child_along(tmp_path: Path) -> None:
    path = tmp_path / "pid"

    def parent() -> int:
        me = os.getpid()

        def child() -> int:
            process.die_with_parent(me)
            path.write_text(str(os.getpid()))
            signal.pause()
            return 0

        process.spawn(child, group=True)
        signal.pause()
        return 0

    pid = process.spawn(parent, group=True)
    child = wait_until(lambda: path.exists() and int(path.read_text() or 0), what="the child's pid")
    os.kill(pid, signal.SIGKILL)
    process.reap(pid)
    wait_until(lambda: not is_running(child), what="the child's end")


def test_a_child_whose_parent_was_faster_ends_by_itself() -> None:
    def child() -> int:
        process.die_with_parent(1 << 22)  # a pid that is not our parent's
        return 0

    status = process.reap(process.spawn(child, group=False))
    assert status is not None
    assert os.waitstatus_to_exitcode(status) == EXIT_ORPHAN


@pytest.mark.parametrize("pid", [0, 1, -5])
def test_nobody_can_kill_the_own_group_by_mistake(pid: int) -> None:
    with pytest.raises(ValueError, match="not the process group of a horse"):
        process.kill_group(pid)


def test_killing_a_group_that_is_gone_is_no_error() -> None:
    pid = process.spawn(lambda: 0, group=True)
    process.reap(pid)
    assert process.kill_group(pid) is False


def test_a_child_that_somebody_else_reaped_is_no_error() -> None:
    pid = process.spawn(lambda: 0, group=False)
    os.waitpid(pid, 0)
    assert process.reap(pid) is None


def test_reset_signals_undoes_the_handlers_of_the_parent() -> None:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})

    def child() -> int:
        process.reset_signals()
        right = (
            signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
            and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            and not signal.pthread_sigmask(signal.SIG_BLOCK, ())
        )
        return 0 if right else 1

    try:
        assert process.reap(process.spawn(child, group=False)) == 0
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})


def test_a_process_has_a_name() -> None:
    def child() -> int:
        process.set_name(b"rqk-a-very-long-name")
        return 0 if Path("/proc/self/comm").read_text() == "rqk-a-very-long\n" else 1

    assert process.reap(process.spawn(child, group=False)) == 0
