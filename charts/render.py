"""Render the chart as plain manifests: ``python charts/render.py > manifests/install.yaml``.

For people without Helm, and the base of the kustomize overlays. The chart is the source: a test keeps them in step.
Helm's own marks (labels, hooks and what only hooks need) are taken out, and the namespace is put in front.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent / "rqk"
NAMESPACE = "rqk-system"
RELEASE = "rqk"
# What `helm template` takes the cluster to be; nothing in the chart depends on it beyond the lower bound.
KUBERNETES = "1.37.2"
VALUES: dict[str, Any] = {"tests": {"enabled": False}}
_HELMS_LABELS = ("helm.sh/chart", "app.kubernetes.io/managed-by")

Manifest = dict[str, Any]


def render(helm: Path | str) -> str:
    """The manifests as text, the same bytes each time. Raises CalledProcessError with helm's words in ``stderr``."""
    done = subprocess.run(
        [
            *(str(helm), "template", RELEASE, str(CHART), f"--namespace={NAMESPACE}"),
            *(f"--kube-version={KUBERNETES}", "--values=-"),
        ],
        input=json.dumps(VALUES),
        capture_output=True,
        text=True,
        check=True,
    )
    manifests = [_plain(it) for it in yaml.safe_load_all(done.stdout) if it]
    body = yaml.safe_dump_all([_namespace(), *manifests], sort_keys=False, width=120)
    return f"# Made by `python charts/render.py` from the chart; change charts/rqk instead.\n{body}"


def _namespace() -> Manifest:
    restricted = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}}


def _plain(manifest: Manifest) -> Manifest:
    places = [manifest["metadata"]]
    template = manifest.get("spec", {}).get("template") if manifest["kind"] in ("Deployment", "Job") else None
    if template:
        places.append(template["metadata"])
    for place in places:
        for name in _HELMS_LABELS:
            place.get("labels", {}).pop(name, None)
        notes = {name: text for name, text in (place.pop("annotations", None) or {}).items() if "helm.sh/" not in name}
        if notes:
            place["annotations"] = notes
    return manifest


def main(argv: Sequence[str] | None = None) -> int:
    """Print them; code 1 without helm, or for what helm refuses."""
    parser = argparse.ArgumentParser(prog="python charts/render.py", description=__doc__)
    parser.add_argument("--helm", default=shutil.which("helm"), help="default: the one on PATH")
    helm = parser.parse_args(argv).helm
    if helm is None:
        print("no helm on PATH; --helm names one", file=sys.stderr)
        return 1
    try:
        sys.stdout.write(render(helm))
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
