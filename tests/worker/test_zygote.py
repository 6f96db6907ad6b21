"""The zygote: imports once, forks on request, reaps, and nobody survives whom nobody watches."""

from __future__ import annotations

import os
import resource
import selectors
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

from rqk.core.verdict import explain
from rqk.worker import process
from rqk.worker.children import ChildSettings
from rqk.worker.frames import Kind, encode, send
from rqk.worker.messages import order_fields
from rqk.worker.zygote import Exited, Forked, ForkFailed, Ready, ZygoteHandle
from tests.support.processes import is_running
from tests.support.waiting import holds_for, wait_until
from tests.worker.stable import BIRTH, order, result, stable


@pytest.fixture(autouse=True, params=["a fork", "a new interpreter"])
def _birth(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BIRTH, "fresh", request.param == "a new interpreter")


_READ = 4096  # what a zygote reads at once
PRELOAD = "tests.worker.jobs_preload"


def pids(path: Path) -> list[int]:
    """Return the process ids that a job wrote, when they are complete."""

    def written() -> list[int]:
        text = path.read_text() if path.exists() else ""
        return [int(word) for word in text.split()] if " " in text else []

    return wait_until(written, what="the process ids")


def test_it_says_what_it_preloaded_and_what_went_wrong() -> None:
    with stable(ChildSettings(preload=("json", "no.such.module", f"{PRELOAD}_broken", f"{PRELOAD}_thread"))) as keeper:
        ready = keeper.wait(Ready)
        assert ready.preloaded == ("json", f"{PRELOAD}_thread")
        assert [(p.what, p.name, p.fatal) for p in ready.problems] == [
            ("preload", "no.such.module", False),
            ("preload", f"{PRELOAD}_broken", False),
            ("threads", "sampler", False),
        ]
        assert "No module named 'no'" in ready.problems[0].error
        assert result(keeper.run(order("add", 1, 2))) == 3


def test_a_serializer_that_cannot_be_had_is_fatal() -> None:
    with stable(ChildSettings(serializer="no.such.Serializer")) as keeper:
        problem = keeper.wait(Ready).problems[0]
    assert (problem.what, problem.fatal) == ("serializer", True)
    assert "no.such.Serializer" in problem.error


def test_a_job_memory_limit_below_what_the_zygote_holds_is_fatal() -> None:
    with stable(ChildSettings(job_memory_limit=1 << 20)) as keeper:
        problem = keeper.wait(Ready).problems[0]
    assert (problem.what, problem.fatal) == ("memory", True)
    assert "limit of 1048576 bytes is below" in problem.error


def test_horses_share_what_was_preloaded_and_find_extra_paths(tmp_path: Path) -> None:
    (tmp_path / "only_there.py").write_text(
        "import os\nimported_by = os.getpid()\ndef who(): return imported_by, os.getpid()\n"
    )
    with stable(ChildSettings(preload=("only_there",), path=(str(tmp_path),))) as keeper:
        one, two = (result(keeper.run(order("only_there.who"))) for _ in range(2))
        assert one[0] == two[0] == keeper.zygote.pid
        assert len({one[1], two[1], keeper.zygote.pid, os.getpid()}) == 4
    assert "only_there" not in sys.modules


def test_a_second_horse_waits_while_the_first_works() -> None:
    with stable() as keeper:
        first = keeper.horse()
        send(first.sock, Kind.JOB, order_fields(order("spin")))
        spare = keeper.horse()
        with spare.sock, first.sock:
            outcome = keeper.ask(spare, order("add", 1))
            assert outcome is not None
            assert result(outcome) == 2
            assert keeper.wait(Exited, spare.pid).status == 0
            assert is_running(first.pid)


@pytest.mark.parametrize("code", [0, 3])
def test_it_reports_how_a_horse_ended_and_what_it_used(code: int) -> None:
    with stable() as keeper:
        exited = keeper.run_to_death(order("vanish", code))
    assert os.waitstatus_to_exitcode(exited.status) == code
    assert exited.maxrss_kib > 1000
    assert exited.crash_text == ""


def test_a_segmentation_fault_is_explained_with_the_line_that_caused_it() -> None:
    with stable() as keeper:
        exited = keeper.run_to_death(order("segfault"))
    verdict = explain(exited.status, crash_text=exited.crash_text)
    assert verdict.outcome == "crashed"
    assert verdict.text.startswith(
        f"Work-horse terminated unexpectedly; waitpid returned {exited.status} (signal 11); SIGSEGV"
    )
    assert "jobs_horse.py" in verdict.text
    assert "in segfault" in verdict.text


def test_a_killed_zygote_takes_its_horses_along(tmp_path: Path) -> None:
    with stable() as keeper:
        horse = keeper.horse()
        with horse.sock:
            send(horse.sock, Kind.JOB, order_fields(order("with_children", str(tmp_path / "pids"))))
            job, grandchild = pids(tmp_path / "pids")
            os.kill(keeper.zygote.pid, signal.SIGKILL)
            wait_until(lambda: not is_running(job), what="the horse's end")
            wait_until(lambda: keeper.zygote.events() or keeper.zygote.closed, what="the news")
            assert keeper.zygote.stop() == signal.SIGKILL
            wait_until(lambda: not is_running(grandchild), what="the end of what the job had started")


def test_a_killed_supervisor_takes_all_along(tmp_path: Path) -> None:
    def supervisor() -> int:
        with stable() as keeper:
            horse = keeper.horse()
            send(horse.sock, Kind.JOB, order_fields(order("spin")))
            (tmp_path / "pids").write_text(f"{keeper.zygote.pid} {horse.pid}")
            signal.pause()
        return 0

    pid = process.spawn(supervisor, group=True)
    zygote, horse = pids(tmp_path / "pids")
    assert is_running(zygote)
    assert is_running(horse)
    os.kill(pid, signal.SIGKILL)
    process.reap(pid)
    wait_until(lambda: not is_running(zygote) and not is_running(horse), what="the end of both")


def test_a_closed_socket_ends_the_zygote_and_its_horses() -> None:
    with stable() as keeper:
        horse = keeper.horse()
        with horse.sock:
            keeper.zygote.sock.shutdown(socket.SHUT_RDWR)
            keeper.zygote.horses.clear()
            wait_until(lambda: not is_running(horse.pid), what="the horse's end")
        assert process.reap(keeper.zygote.pid) == 0
        keeper.zygote.note_exit()
        assert keeper.zygote.stop() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_signals_meant_for_the_supervisor_do_not_end_the_zygote(number: signal.Signals) -> None:
    with stable() as keeper:
        keeper.wait(Ready)
        os.kill(keeper.zygote.pid, number)
        assert result(keeper.run(order("add", 1))) == 2


def test_a_crashed_job_takes_its_processes_along(tmp_path: Path) -> None:
    with stable() as keeper:
        keeper.run_to_death(order("with_children_then_crash", str(tmp_path / "pids")))
        wait_until(lambda: not is_running(pids(tmp_path / "pids")[1]), what="the grandchild's end")


def test_a_hard_kill_takes_the_whole_group(tmp_path: Path) -> None:
    with stable() as keeper:
        horse = keeper.horse()
        with horse.sock:
            send(horse.sock, Kind.JOB, order_fields(order("with_children", str(tmp_path / "pids"))))
            job, grandchild = pids(tmp_path / "pids")
            assert job == horse.pid
            assert process.kill_group(horse.pid)
            assert keeper.wait(Exited, horse.pid).status == signal.SIGKILL
            wait_until(lambda: not is_running(grandchild), what="the grandchild's end")


def test_a_stopped_zygote_leaves_nothing(tmp_path: Path) -> None:
    with stable() as keeper:
        horse = keeper.horse()
        with horse.sock:
            send(horse.sock, Kind.JOB, order_fields(order("with_children", str(tmp_path / "pids"))))
            job, grandchild = pids(tmp_path / "pids")
            assert keeper.zygote.stop() == signal.SIGKILL
            wait_until(lambda: not is_running(job) and not is_running(grandchild), what="the end of all")
            assert keeper.zygote.stop() is None
            keeper.zygote.request_fork()


def test_what_the_supervisor_has_open_is_closed_in_the_zygote_only() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_READ)
        with stable(close=(ours, selector)) as keeper:
            keeper.wait(Ready)
            ours.close()
            theirs.settimeout(10)
            assert theirs.recv(1) == b""  # nobody else holds it
            assert result(keeper.run(order("add", 1))) == 2


def test_a_horse_has_no_descriptor_of_others() -> None:
    with stable() as keeper:
        first = keeper.horse()
        with first.sock:
            alone = keeper.run(order("whoami"))
        again = keeper.run(order("whoami"))
    # Its socket, its crash file, what this process had open before, the directory being listed; also with a neighbour.
    assert len(result(alone)["descriptors"]) == len(result(again)["descriptors"])


def test_horses_asked_for_at_once_have_no_descriptor_of_each_other() -> None:
    with stable() as keeper:
        alone = keeper.run(order("whoami"))
        keeper.zygote.request_fork(3)
        horses = [keeper.wait(Forked) for _ in range(3)]
        for horse in horses:
            horse.sock.settimeout(20)
        outcomes = [keeper.ask(horse, order("whoami")) for horse in reversed(horses)]
        for horse in horses:
            horse.sock.close()
    # The last ones were asked first, while all live.
    counts = [len(result(outcome)["descriptors"]) for outcome in outcomes if outcome is not None]
    assert counts == [len(result(alone)["descriptors"])] * 3


def test_a_program_that_a_job_starts_holds_no_socket_of_ours(tmp_path: Path) -> None:
    with stable() as keeper:
        assert result(keeper.run(order("os.system", f"ls -l /proc/self/fd > {tmp_path}/list"))) == 0
    assert "socket:" not in (tmp_path / "list").read_text()


def test_a_horse_ends_without_a_warning(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "always")
    with stable() as keeper:
        horse = keeper.horse()
        with horse.sock:
            assert keeper.ask(horse, order("add", 1)) is not None
            assert keeper.wait(Exited, horse.pid).status == 0
    assert "Warning" not in capfd.readouterr().err


def test_a_module_may_hold_a_thousand_descriptors() -> None:
    with stable(ChildSettings(preload=("tests.worker.jobs_preload_many_descriptors",))) as keeper:
        horse = keeper.horse()
        with horse.sock:
            outcome = keeper.ask(horse, order("whoami"))
            assert outcome is not None
            assert max(map(int, result(outcome)["descriptors"])) > 1023
            assert keeper.wait(Exited, horse.pid).status == 0


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", encode(Kind.OUTCOME, [b"x"]), b"\xf7" * 64])
def test_garbage_from_the_zygote_closes_the_handle_and_raises_nothing(garbage: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        handle = ZygoteHandle(0, ours)
        handle.note_exit()
        handle.closed = False
        theirs.sendall(garbage)
        assert handle.events() == []
        assert handle.closed
        handle.stop()


def test_garbage_to_the_zygote_ends_it_and_the_supervisor_notices() -> None:
    with stable() as keeper:
        keeper.wait(Ready)
        keeper.zygote.sock.send(b"not a frame at all")
        wait_until(lambda: keeper.zygote.events() or keeper.zygote.closed, what="the end of the zygote")


def test_a_request_larger_than_the_socket_takes_arrives_whole() -> None:
    with stable() as keeper:
        keeper.wait(Ready)
        os.kill(keeper.zygote.pid, signal.SIGSTOP)
        goes_on = threading.Timer(0.2, os.kill, (keeper.zygote.pid, signal.SIGCONT))
        goes_on.start()
        keeper.zygote.request_import(["no_such_module_" + "x" * 500] * 2000)
        goes_on.join()
        assert not keeper.zygote.closed
        assert result(keeper.run(order("add", 1))) == 2


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_a_request_that_comes_in_two_reads_is_one(cut: int) -> None:
    """What lies before it fills all but some bytes of a read."""
    with stable() as keeper:
        keeper.wait(Ready)
        os.kill(keeper.zygote.pid, signal.SIGSTOP)  # so that all of it lies there when it reads
        filling = _READ - cut - len(encode(Kind.IMPORT, [b""]))
        keeper.zygote.request_import(["x" * filling])
        keeper.zygote.request_fork()
        os.kill(keeper.zygote.pid, signal.SIGCONT)
        keeper.wait(Forked).sock.close()


def test_a_system_that_refuses_processes_is_reported() -> None:
    with stable(ChildSettings(preload=("tests.worker.jobs_preload_few_descriptors",))) as keeper:
        assert not keeper.wait(Ready).problems
        keeper.zygote.request_fork()
        failed = wait_until(
            lambda: [event for event in keeper.zygote.events() if isinstance(event, ForkFailed)], what="a refusal"
        )
        assert "OSError: [Errno 24]" in failed[0].error
        holds_for(lambda: not keeper.zygote.closed, 0.1)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 20


def test_a_supervisor_without_a_free_descriptor_is_told_like_any_refusal() -> None:
    with stable() as keeper:
        keeper.wait(Ready)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            keeper.zygote.request_fork()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        refused = keeper.zygote.events()
        assert [type(event) for event in refused] == [ForkFailed]
        assert not keeper.zygote.closed
        assert result(keeper.run(order("add", 1))) == 2


def test_the_names_of_the_processes_show_what_they_are() -> None:
    with stable() as keeper:
        keeper.wait(Ready)
        horse = keeper.horse()
        with horse.sock:
            assert Path(f"/proc/{keeper.zygote.pid}/comm").read_text() == "rqk-zygote\n"
            wait_until(lambda: Path(f"/proc/{horse.pid}/comm").read_text() == "rqk-horse\n", what="the horse's name")


def test_preloading_reads_no_standard_input() -> None:
    with stable() as keeper:
        assert result(keeper.run(order("whoami")))["stdin"] == ""
