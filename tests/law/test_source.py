"""What our source files may and may not hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("rqk", "operator/rqk_operator")
MOST_LINES = 400
SETTINGS = re.compile(r"(^|/)settings\.py$")
VAGUE_NAMES = {"utils.py", "util.py", "helpers.py", "common.py", "base.py", "misc.py"}
SPELLS_KEYS = {"rqk/core/keys.py"}
FORKS = {"rqk/worker/process.py"}


def modules() -> list[Path]:
    """Every module of ours that is shipped."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


EVERY_MODULE = pytest.mark.parametrize("path", [pytest.param(path, id=relative(path)) for path in modules()])


def docstrings(tree: ast.AST) -> set[int]:
    """The ids of the constant nodes that are docstrings or other bare strings."""
    return {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and value of every string literal that is not a docstring, parts of f-strings included."""
    skipped = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in skipped:
            if isinstance(node.value, str):
                yield node.lineno, node.value
            elif isinstance(node.value, bytes):
                yield node.lineno, node.value.decode("latin-1")


def attributes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every ``module.attribute``, and of every ``from module import attribute``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.lineno, f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


@EVERY_MODULE
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), "no docstring"


@EVERY_MODULE
def test_a_file_is_a_duty(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES, f"{lines} lines; find the second duty in it and give it a file of its own"
    assert path.name not in VAGUE_NAMES


@EVERY_MODULE
def test_a_key_is_spelt_in_one_place(path: Path) -> None:
    if relative(path) in SPELLS_KEYS:
        return
    spelt = [(line, text) for line, text in texts(ast.parse(path.read_text())) if re.search(r"(^|[^\w])rq:", text)]
    assert not spelt, f"key names belong into rqk/core/keys.py: {spelt}"


@pytest.mark.parametrize("path", [pytest.param(p, id=relative(p)) for p in sorted((ROOT / "rqk").rglob("*.lua"))])
def test_a_script_gets_its_key_names_from_the_table(path: Path) -> None:
    code = [line.split("--", 1)[0] for line in path.read_text().splitlines()]
    spelt = [number for number, line in enumerate(code, 1) if "rq:" in line]
    assert not spelt, f"key names belong into the table K: lines {spelt}"
    assert path.read_text().startswith("--"), "a script begins with what it does, takes and returns"


@EVERY_MODULE
def test_the_environment_is_read_in_settings_only(path: Path) -> None:
    if SETTINGS.search(relative(path)):
        return
    reads = [
        (line, name)
        for line, name in attributes(ast.parse(path.read_text()))
        if name in {"os.environ", "os.environb", "os.getenv"}
    ]
    assert not reads, f"belongs into a settings module: {reads}"


@EVERY_MODULE
def test_there_is_one_fork_in_the_house(path: Path) -> None:
    if relative(path) in FORKS:
        return
    forks = [
        (line, name) for line, name in attributes(ast.parse(path.read_text())) if name in {"os.fork", "os.forkpty"}
    ]
    assert not forks, f"fork in rqk/worker/process.py: {forks}"
    assert not re.search(r"^\s*(import|from) multiprocessing", path.read_text(), re.MULTILINE)


@EVERY_MODULE
def test_no_error_is_swallowed_unseen(path: Path) -> None:
    bare = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert not bare, f"bare except: lines {bare}"


COMMITTED = (
    *("rqk", "operator", "tests", "benchmarks", "examples", "docs", "charts", "manifests", "images"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml"),
)
TEXT = {".py", ".md", ".toml", ".lua", ".yaml", ".yml", ".json", ".sh", ".tpl", ".txt", ""}
# Spelt in pieces, so that this file itself passes.
MACHINE_PATH = re.compile("|".join(f"(?<![\\w.])/{word}/" for word in ("work", "ro" + "ot")) + "|/opt/whe" + "els")


def test_no_file_names_a_directory_of_the_machine_it_was_written_on() -> None:
    found = []
    for name in COMMITTED:
        top = ROOT / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and path.suffix in TEXT and "__pycache__" not in path.parts:
                for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                    if MACHINE_PATH.search(line):
                        found.append(f"{relative(path)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)
