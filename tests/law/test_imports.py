"""Imports go one way, as docs/architecture.md draws them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_import_contracts_hold() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert contracts, "pyproject.toml has no import contract"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_rqk_is_cheap() -> None:
    code = (
        "import sys; before = set(sys.modules); import rqk; "
        "print([n for n in set(sys.modules) - before if n.split('.')[0] in ('redis', 'click', 'rich', 'prometheus_client')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"


def test_the_operator_directory_is_no_package() -> None:
    # On the import path it would replace the standard library's operator module, which collections needs.
    assert not (ROOT / "operator" / "__init__.py").exists()
