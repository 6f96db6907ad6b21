"""The horse: what a job finds around it, how many jobs one runs, and that nothing a job does stays unexplained."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from rqk.core.verdict import EXIT_BROKEN, EXIT_MUTE, explain
from rqk.worker import memory, process
from rqk.worker.children import ChildSettings
from rqk.worker.frames import Kind, send
from rqk.worker.messages import order_fields
from rqk.worker.zygote import Exited
from tests.support.waiting import wait_until
from tests.worker.stable import BIRTH, order, result, stable


@pytest.fixture(autouse=True, params=["a fork", "a new interpreter"])
def _birth(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BIRTH, "fresh", request.param == "a new interpreter")


def test_what_a_job_sees() -> None:
    with stable() as keeper:
        horse = keeper.horse()
        with horse.sock:
            outcome = keeper.ask(horse, order("whoami"))
        assert outcome is not None
        seen = result(outcome)
        assert seen["pid"] == seen["pgid"] == horse.pid
        assert seen["ppid"] == keeper.zygote.pid
        assert seen["stdin"] == ""
        assert (seen["job"], seen["origin"]) == ("job-1", "default")
        assert seen["env"] == ["worker-1", "job-1", "e" * 32]
        assert seen["signals"] == {"SIGINT": "1", "SIGTERM": "0", "SIGCHLD": "0", "SIGHUP": "0"}
        assert seen["oom_score_adj"] == 500
        assert keeper.wait(Exited, horse.pid).status == 0


@pytest.mark.parametrize(("recycle_after", "leaving"), [(1, [True]), (3, [False, False, True])])
def test_a_horse_runs_as_many_jobs_as_it_should_and_leaves(recycle_after: int, leaving: list[bool]) -> None:
    with stable(ChildSettings(recycle_after=recycle_after)) as keeper:
        horse = keeper.horse()
        with horse.sock:
            outcomes = [keeper.ask(horse, order("whoami")) for _ in leaving]
            assert [outcome and outcome.leaving for outcome in outcomes] == leaving
            assert {result(outcome)["pid"] for outcome in outcomes if outcome} == {horse.pid}
            assert keeper.answer(horse) is None
        assert keeper.wait(Exited, horse.pid).status == 0


def test_a_horse_that_is_not_needed_leaves_when_told() -> None:
    with stable(ChildSettings(recycle_after=5)) as keeper:
        horse = keeper.horse()
        with horse.sock:
            send(horse.sock, Kind.LEAVE)
            assert keeper.answer(horse) is None
        assert keeper.wait(Exited, horse.pid).status == 0


def test_a_horse_leaves_when_its_supervisors_end_is_closed() -> None:
    with stable() as keeper:
        horse = keeper.horse()
        horse.sock.close()
        assert keeper.wait(Exited, horse.pid).status == 0


@pytest.mark.parametrize("func", [("spin", 30.0), ("eat", 600)])
def test_a_recycled_horse_leaves_early_after_an_exception_that_may_have_hit_anywhere(func: tuple[str, float]) -> None:
    with stable(ChildSettings(recycle_after=100, job_memory_limit=400 << 20)) as keeper:
        horse = keeper.horse()
        with horse.sock:
            outcome = keeper.ask(horse, order(*func, timeout=0.2))
            assert outcome is not None
            assert outcome.leaving
            assert keeper.answer(horse) is None
        assert keeper.wait(Exited, horse.pid).status == 0


def test_garbage_instead_of_an_order_ends_that_horse_only(capfd: pytest.CaptureFixture[str]) -> None:
    with stable() as keeper:
        horse = keeper.horse()
        with horse.sock:
            horse.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert keeper.answer(horse) is None
        exited = keeper.wait(Exited, horse.pid)
        assert os.waitstatus_to_exitcode(exited.status) == EXIT_BROKEN
        assert "rqk's own code failed" in explain(exited.status).text
        assert result(keeper.run(order("add", 1))) == 2
    assert "FrameError" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("func", "code", "words"),
    [
        pytest.param(order("vanish", 0), 0, "before it could report", id="os._exit(0)"),
        pytest.param(order("vanish", 4), 4, "os._exit(4)", id="os._exit(4)"),
        pytest.param(order("close_everything"), EXIT_MUTE, "closed the file descriptor", id="its socket closed"),
        pytest.param(order("die_by", signal.SIGTERM), -15, "SIGTERM, sent from outside", id="SIGTERM"),
        pytest.param(order("die_by", signal.SIGKILL), -9, "SIGKILL", id="SIGKILL"),
        pytest.param(order("die_by", signal.SIGABRT), -6, "SIGABRT", id="SIGABRT"),
    ],
)
def test_an_end_without_a_word_is_explained(func: object, code: int, words: str) -> None:
    with stable() as keeper:
        exited = keeper.run_to_death(func)  # type: ignore[arg-type]
    assert os.waitstatus_to_exitcode(exited.status) == code
    assert words in explain(exited.status, oom_kills_before=0, oom_kills_after=0, crash_text=exited.crash_text).text


def test_an_interrupt_from_the_terminal_does_not_reach_the_job() -> None:
    with stable() as keeper:
        horse = keeper.horse()
        with horse.sock:
            assert process.kill_group(horse.pid, signal.SIGINT)
            outcome = keeper.ask(horse, order("add", 1))
        assert outcome is not None
        assert result(outcome) == 2


def test_a_job_that_forks_and_lets_both_return_reports_once() -> None:
    with stable(ChildSettings(recycle_after=2)) as keeper:
        horse = keeper.horse()
        with horse.sock:
            outcome = keeper.ask(horse, order("fork_and_return"))
            assert outcome is not None
            assert result(outcome) == "parent"
            second = keeper.ask(horse, order("add", 1))
            assert second is not None
            assert result(second) == 2


def test_a_job_may_use_processes_of_its_own() -> None:
    with stable() as keeper:
        assert result(keeper.run(order("pool"))) == [1, 2]


def test_what_a_job_prints_is_there_before_its_outcome(tmp_path: Path) -> None:
    with stable(ChildSettings(recycle_after=2)) as keeper:
        horse = keeper.horse()
        with horse.sock:
            assert keeper.ask(horse, order("shout", str(tmp_path / "out"), "hello")) is not None
            assert (tmp_path / "out").read_text() == "hello\n"  # while the horse lives, so not by its end


def test_each_fork_has_random_numbers_of_its_own() -> None:
    with stable() as keeper:
        random.seed(1)
        assert len({result(keeper.run(order("random.random"))) for _ in range(3)}) == 3


def test_the_peak_is_the_jobs_own_even_in_a_recycled_horse() -> None:
    with stable(ChildSettings(recycle_after=10)) as keeper:
        horse = keeper.horse()
        with horse.sock:
            outcomes = [keeper.ask(horse, order("eat", size)) for size in (1, 150, 1)]
        small, large, again = (outcome.maxrss_kib for outcome in outcomes if outcome)
    assert large - small > 140 << 10
    assert abs(again - small) < 40 << 10


def test_a_fork_does_not_inherit_the_peak_of_its_parent() -> None:
    with stable() as keeper:
        outcome = keeper.run(order("peak"))
        assert abs(outcome.maxrss_kib - result(outcome)) < 4 << 10


def test_a_job_above_the_memory_limit_fails_with_a_memory_error_and_says_where() -> None:
    held = memory.private_bytes()  # a forked zygote has all that the tests have
    assert held is not None
    with stable(ChildSettings(job_memory_limit=held + (300 << 20))) as keeper:
        assert result(keeper.run(order("eat", 50))) == 50 << 20
        outcome = keeper.run(order("eat", 600 + (held >> 20)))
    assert (outcome.kind, outcome.exc_type) == ("failed", "builtins.MemoryError")
    assert "in eat" in outcome.exc_string


def test_the_users_own_metrics_come_with_the_outcome() -> None:
    with stable(ChildSettings(recycle_after=3)) as keeper:
        horse = keeper.horse()
        with horse.sock:
            deltas = [keeper.ask(horse, order("tests.worker.jobs_metrics.count", number)) for number in (2, 5)]
    sums = [json.loads(outcome.metrics)["f"][0]["s"] for outcome in deltas if outcome]
    assert sums == [[[[], 2.0]], [[[], 5.0]]]


def test_a_stopped_horse_is_killed_all_the_same(tmp_path: Path) -> None:
    with stable(ChildSettings(preload=("tests.worker.jobs_horse",))) as keeper:
        horse = keeper.horse()
        with horse.sock:
            send(horse.sock, Kind.JOB, order_fields(order("deaf", str(tmp_path / "deaf"), timeout=0.1)))
            wait_until((tmp_path / "deaf").exists)
            process.kill_group(horse.pid, signal.SIGSTOP)
            process.kill_group(horse.pid)
            exited = keeper.wait(Exited, horse.pid)
    verdict = explain(exited.status, killed_for="timeout", timeout_s=0.1)
    assert verdict.outcome == "timeout"
    assert verdict.text.startswith(
        "Work-horse terminated unexpectedly; waitpid returned None; Task exceeded maximum timeout value (0.1 s"
    )
