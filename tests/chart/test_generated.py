"""What is generated is true to its source."""

from __future__ import annotations

import subprocess
import sys

import yaml

from charts.generate import Value, read_values
from rqk.autoscale.crd import render_crd
from rqk.version import __version__
from tests.chart.helm import CHART, PROJECT


def test_schema_readme_and_crd_are_in_step() -> None:
    """`python -m charts.generate` writes them."""
    done = subprocess.run(
        [sys.executable, "-m", "charts.generate", "--check"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_chart_carries_the_crd_of_the_model() -> None:
    assert yaml.safe_load((CHART / "files" / "crd.yaml").read_text()) == render_crd()


def test_the_chart_is_of_the_version_of_the_library() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
    for image in yaml.safe_load(chart["annotations"]["artifacthub.io/images"]):
        if "/rqk/" in image["image"]:
            assert image["image"].endswith(f":{__version__}")


def test_what_artifact_hub_reads_is_yaml_and_its_examples_are_pools() -> None:
    from rqk.autoscale.manifest import parse_pool

    notes = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    for name in ("images", "crds", "crdsExamples", "links", "changes"):
        assert yaml.safe_load(notes[f"artifacthub.io/{name}"]), name
    for example in yaml.safe_load(notes["artifacthub.io/crdsExamples"]):
        parse_pool(example)


def test_every_value_says_what_it_is_for() -> None:
    def silent(values: tuple[Value, ...]) -> list[str]:
        own = [".".join(value.path) for value in values if not value.children and not value.description]
        return own + [name for value in values for name in silent(value.children)]

    assert silent(read_values((CHART / "values.yaml").read_text())) == []
