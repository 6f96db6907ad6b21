"""Running commands: in this process where nothing is forked, in one of their own where something is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import pytest

from rqk.cli.main import run
from tests.support.workers import ROOT, user_environment


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


class Command(Protocol):
    """Runs ``rqk`` with these words; ``--url`` of the shared server is added unless ``url`` is None."""

    def __call__(self, *words: str, url: str | None = "") -> Said: ...


@pytest.fixture
def rqk(redis_url: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """A command in this process; what it puts on the import path is taken off again."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*words: str, url: str | None = "") -> Said:
        capfd.readouterr()
        code = run([*words, *([] if url is None else ["--url", url or redis_url])])
        said = capfd.readouterr()
        return Said(code, said.out, said.err)

    return call


class Process(Protocol):
    """Runs ``rqk`` with exactly these words to its end."""

    def __call__(self, *words: str, env: Mapping[str, str] | None = None, timeout: float = 30.0) -> Said: ...


@pytest.fixture
def rqk_process() -> Process:
    """A command in a process of its own."""

    def call(*words: str, env: Mapping[str, str] | None = None, timeout: float = 30.0) -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "rqk", *words],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=user_environment(env),
            cwd=ROOT,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return call
