"""Running programs: quietly for short ones, with the time shown for long ones."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from tests.kube.errors import CommandFailed

TAIL = 4000  # characters of a failed program's output that go into the message


def say(text: str, *, to: TextIO | None = None) -> None:
    """A line for the person who waits; stdout stays free for what programs read."""
    print(text, file=to or sys.stderr, flush=True)


def run(
    *argv: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    feed: str | None = None,
    timeout: float = 120.0,
) -> str:
    """Run to the end and return stdout; a failure carries stdout and stderr."""
    words = tuple(str(word) for word in argv)
    try:
        done = subprocess.run(
            words, env=env, cwd=cwd, timeout=timeout, capture_output=True, text=True, check=False,
            **({"input": feed} if feed is not None else {"stdin": subprocess.DEVNULL}),
        )  # fmt: skip
    except FileNotFoundError as error:
        raise CommandFailed(words, 127, str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(words, 124, f"no end after {timeout:.0f} s") from error
    if done.returncode:
        raise CommandFailed(words, done.returncode, (done.stdout + done.stderr)[-TAIL:])
    return done.stdout


def succeeds(*argv: str | Path) -> bool:
    """Whether a question asked of a program is answered with yes."""
    try:
        run(*argv)
    except CommandFailed:
        return False
    return True


def run_shown(
    title: str,
    argv: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    every: float = 20.0,
) -> float:
    """Run something long. Its output goes to ``log``, the time it takes to the screen; returns the seconds.

    On a terminal one line counts on; elsewhere (CI) a line comes every ``every`` seconds, so that
    nobody takes silence for a hang.
    """
    words = tuple(str(word) for word in argv)
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    tty = sys.stderr.isatty()
    step = 1.0 if tty else every
    with log.open("w") as out:
        try:
            process = subprocess.Popen(words, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        except FileNotFoundError as error:
            raise CommandFailed(words, 127, str(error)) from error
        try:
            code = _watch(process, lambda: _progress(title, log, start), step)
        except BaseException:
            process.terminate()  # an interrupted build must not go on behind the prompt
            process.wait(10)
            raise
    took = time.monotonic() - start
    if code:
        raise CommandFailed(words, code, log.read_text(errors="replace")[-TAIL:] + f"\n(all of it: {log})")
    say(f"\r  {title}: done in {clock(took)}" if tty else f"  {title}: done in {clock(took)}")
    return took


def _watch(process: subprocess.Popen[bytes], progress: Callable[[], str], step: float) -> int:
    tty = sys.stderr.isatty()
    while True:
        try:
            return process.wait(step)
        except subprocess.TimeoutExpired:
            print(f"\r{progress()}" if tty else progress(), end="" if tty else "\n", file=sys.stderr, flush=True)


def _progress(title: str, log: Path, start: float) -> str:
    with log.open("rb") as written:
        lines = sum(1 for _ in written)
    return f"  {title}: {clock(time.monotonic() - start)}, {lines} lines of log"


def clock(seconds: float) -> str:
    """``75.4`` is ``1m15s``."""
    whole = int(seconds)
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{seconds:.1f}s"
