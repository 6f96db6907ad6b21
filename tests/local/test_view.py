"""The live view is a function of plain data."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from rqk.autoscale.retire import Duty
from rqk.local.state import PoolState, QueueState, Summary, UpState, WorkerState
from rqk.local.view import seconds, sparkline, summary_lines, view
from tests.local.pools import pool
from tests.support.workers import ROOT, user_environment

POOL = PoolState(
    name="words",
    redis="redis://:***@localhost:6379/0",
    queues=(
        QueueState("high", waiting=120, running=3, finished=7, failed=0, oldest_wait=4.25),
        QueueState("low [x]", waiting=1, running=0, finished=0, failed=2),
    ),
    workers=(
        WorkerState("words.1", 11, Duty.BUSY, job="a"),
        WorkerState("words.2", 12, Duty.IDLE),
        WorkerState("words.3", 13, Duty.STARTING),
        WorkerState("words.4", 14, Duty.IDLE, leaving=True),
    ),
    max_replicas=8,
    desired=8,
    reason="DepthTarget",
    message="121 waiting + 3 running, 10 per worker: ceil(124 / 10) = 13; no more than maxReplicas 8",
    sizes=(0, 1, 4, 8),
)
STATE = UpState(
    pools=(POOL,),
    summary=Summary(jobs=9, failures=2, peak_workers=4, wait_p50=0.25, wait_p95=75.0, seconds=75.4),
    rate=3.5,
    notes=("0 ms  first", "1.0 s  words: 0 to 8 workers"),
)


def drawn(state: UpState, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
    console.print(view(state))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_it_shows_queues_workers_rates_and_the_decision() -> None:
    text = drawn(STATE)
    assert "75.4 s  9 jobs  3.5/s  2 failed  wait p50 250 ms, p95 75.0 s  most workers 4" in text
    assert "redis://:***@localhost:6379/0" in text
    assert f"high     {'█' * 30} 120" in text
    assert "low [x]  █ 1" in text
    assert "4.2 s" in text
    assert "■□◌▽  1 busy, 1 idle, 1 starting, 1 leaving (most 8)" in text
    assert "8  DepthTarget  121 waiting + 3 running, 10 per worker" in text
    assert "words: 0 to 8 workers" in text


def test_what_is_unknown_is_said_to_be_unknown() -> None:
    blind = replace(POOL, queues=(QueueState("high"),), trouble="Redis at localhost:6379 did not answer")
    text = drawn(replace(STATE, pools=(blind,)))
    assert "high   unknown" in text
    assert "did not answer" in text
    assert not blind.quiet


def test_it_fits_a_narrow_terminal() -> None:
    assert max(len(line) for line in drawn(STATE, width=60).splitlines()) <= 60


def test_a_dry_run_and_a_stop_are_said() -> None:
    assert "nothing is done" in drawn(replace(STATE, pools=(replace(POOL, dry_run=True),)))
    assert "Ctrl-C once more puts them back" in drawn(replace(STATE, stopping=True))
    assert "stopped" in drawn(replace(STATE, stopping=True, pools=(replace(POOL, workers=()),)))


def test_only_the_last_notes_are_shown() -> None:
    text = drawn(replace(STATE, notes=tuple(f"note {number}" for number in range(50))))
    assert "note 49" in text
    assert "note 30" not in text


def test_rest_needs_quiet_queues_and_no_workers() -> None:
    quiet = replace(POOL, queues=(QueueState("q", 0, 0, 5, 1),), workers=(WorkerState("w", 1, Duty.IDLE),))
    assert quiet.quiet
    assert not UpState((quiet,), Summary()).at_rest
    assert UpState((replace(quiet, workers=()),), Summary()).at_rest
    assert not replace(quiet, workers=(WorkerState("w", 1, Duty.BUSY),)).quiet


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 ms"),
        (0.0124, "12 ms"),
        (0.9994, "999 ms"),
        (1.0, "1.0 s"),
        (99.9, "99.9 s"),
        (100.0, "1:40"),
        (7384.0, "2:03:04"),
    ],
)
def test_durations(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("values", "top", "text"), [([0, 1, 4, 8], 8, " ▁▄█"), ([3], 3, "█"), ([0, 0], 0, "  "), ([1], 100, "▁")]
)
def test_sparklines(values: list[int], top: int, text: str) -> None:
    assert sparkline(values, top) == text


def test_the_closing_words() -> None:
    assert summary_lines(STATE.summary) == [
        "9 jobs in 75.4 s, 2 of them failed; waits: half below 250 ms, 95% below 75.0 s",
        "at most 4 workers at a time",
    ]
    assert summary_lines(Summary(crashes=2))[1].endswith("2 workers crashed")


def test_nothing_is_logged_into_the_picture(tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text(yaml.safe_dump(pool(least=1).manifest()))
    command = [sys.executable, "-m", "rqk", "up", "-f", str(file), "--embedded", "--for", "1"]
    said = {}
    for form in ("--live", "--no-live"):
        done = subprocess.run(
            [*command, form, "--log-format", "LOGGED %(message)s"],
            capture_output=True,
            text=True,
            env=user_environment(),
            cwd=ROOT,
            check=True,
        )
        said[form] = done.stdout
    assert "LOGGED words: 0 to 1 workers" in said["--no-live"]
    assert "words: 0 to 1 workers" in said["--live"]
    assert "LOGGED" not in said["--live"]
