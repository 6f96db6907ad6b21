"""Helm as a function: values in, manifests out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.kube.settings import places

PROJECT = Path(__file__).resolve().parents[2]
CHART = PROJECT / "charts" / "rqk"
# What `helm template` takes a cluster to be that it cannot ask.
KUBERNETES = "1.37.2"
MISSING = "no helm: it is not on PATH, and `make test-cluster` has not built one yet"

# libyaml's, ten times as fast, where PyYAML has it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Values = Mapping[str, Any]
Manifest = dict[str, Any]


class Refused(Exception):
    """Helm did not render or lint the chart; the text is what it said."""


def find_helm() -> Path | None:
    """The one on PATH, else the one that the cluster fixture has built."""
    if found := shutil.which("helm"):
        return Path(found)
    built = sorted(places().builds.glob("helm-*/helm"), key=lambda path: path.stat().st_mtime)
    return built[-1] if built else None


class Helm:
    """One helm program."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def run(self, *words: str | Path, values: Values | None = None) -> str:
        """stdout. Values go in by a file on stdin, so that their types are kept. Raises Refused."""
        given = ("--values=-",) if values is not None else ()
        done = subprocess.run(
            [str(self._program), *map(str, words), *given],
            input=json.dumps(values) if values is not None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise Refused(done.stderr + done.stdout)
        return done.stdout

    def template(
        self,
        values: Values | None = None,
        *flags: str,
        release: str = "rqk",
        namespace: str = "rqk-system",
        chart: Path = CHART,
    ) -> list[Manifest]:
        """The objects of a release, hooks and tests included."""
        text = self.text(values, *flags, release=release, namespace=namespace, chart=chart)
        return [document for document in yaml.load_all(text, Loader=_LOADER) if document]

    def text(
        self,
        values: Values | None = None,
        *flags: str,
        release: str = "rqk",
        namespace: str = "rqk-system",
        chart: Path = CHART,
    ) -> str:
        """The same as text."""
        where = (f"--namespace={namespace}", f"--kube-version={KUBERNETES}")
        return self.run("template", release, chart, *where, *flags, values=values or {})

    def lint(self, values: Values | None = None, chart: Path = CHART) -> str:
        """What `helm lint --strict` says."""
        return self.run("lint", "--strict", f"--kube-version={KUBERNETES}", chart, values=values or {})


def one(manifests: list[Manifest], kind: str, name: str = "") -> Manifest:
    """The only object of a kind, or the one whose name ends so."""
    found = [it for it in manifests if it["kind"] == kind and it["metadata"]["name"].endswith(name)]
    assert len(found) == 1, f"{len(found)} of {kind} {name}: {[it['metadata']['name'] for it in found]}"
    return found[0]


def kinds(manifests: list[Manifest]) -> set[str]:
    """All kinds that are there."""
    return {it["kind"] for it in manifests}


def pod_specs(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Every pod that would run, by kind and name."""
    specs = {}
    for it in manifests:
        name = f"{it['kind']}/{it['metadata']['name']}"
        if it["kind"] == "Pod":
            specs[name] = it["spec"]
        elif it["kind"] in ("Deployment", "Job", "StatefulSet", "DaemonSet"):
            specs[name] = it["spec"]["template"]["spec"]
    return specs


if __name__ == "__main__":  # at the end of `make test`
    if find_helm() is None:
        sys.stdout.write(
            "\nThe tests that render and lint the chart were skipped, since there is no helm. To run them:\n"
            "  install it (https://helm.sh/docs/intro/install/), or\n"
            "  make cluster-up    builds one with a whole Kubernetes (about 15 minutes, cached)\n"
        )
