"""Files that are made from others: base/crd.yaml and docs/pools.md from the model, install.yaml from kustomize.

``python manifests/generate.py`` writes them, ``--check`` says with its exit code whether they are up to date.
Needs kubectl, which has kustomize in it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rqk.autoscale.crd import render_yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from reference import page  # noqa: E402 - a script beside this one

REFERENCE = HERE.parent / "docs" / "pools.md"
CRD = HERE / "base" / "crd.yaml"
INSTALL = HERE / "install.yaml"
HEAD = (
    "# Made by `python manifests/generate.py` from the files beside it.   kubectl apply --server-side -f install.yaml\n"
)


def install_yaml(kubectl: str = "kubectl") -> str:
    """All that `kubectl apply -k manifests/` applies, in one file."""
    done = subprocess.run([kubectl, "kustomize", str(HERE)], capture_output=True, text=True, check=True)
    return HEAD + done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python manifests/generate.py", description="Make crd.yaml, docs/pools.md and install.yaml."
    )
    parser.add_argument("--check", action="store_true", help="write nothing, say whether all is up to date")
    parser.add_argument("--kubectl", default="kubectl", help="the kubectl to use (default: %(default)s)")
    words = parser.parse_args(arguments)
    stale = []
    for path, made in ((CRD, render_yaml), (REFERENCE, page), (INSTALL, lambda: install_yaml(words.kubectl))):
        text = made()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.name)
        if not words.check:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"{', '.join(stale)} {'out of date; run python manifests/generate.py' if words.check else 'written'}")
    return 1 if stale and words.check else 0


if __name__ == "__main__":
    sys.exit(main())
