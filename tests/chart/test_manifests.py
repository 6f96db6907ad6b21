"""manifests/install.yaml is the chart without Helm."""

from __future__ import annotations

import pytest
import yaml

from charts.render import NAMESPACE, render
from tests.chart.helm import MISSING, PROJECT, find_helm

INSTALL = PROJECT / "manifests" / "install.yaml"


@pytest.fixture(scope="module")
def rendered() -> str:
    """What charts/render.py makes."""
    helm = find_helm()
    if helm is None:
        pytest.skip(MISSING)
    return render(helm)


def test_the_manifests_are_in_step_with_the_chart(rendered: str) -> None:
    """`python charts/render.py > manifests/install.yaml` writes them."""
    assert INSTALL.exists()
    assert INSTALL.read_text() == rendered


def test_nothing_of_helm_is_left(rendered: str) -> None:
    assert "helm.sh" not in rendered
    assert "Helm" not in rendered


def test_the_namespace_comes_first_and_everything_else_is_in_it(rendered: str) -> None:
    first, *others = yaml.safe_load_all(rendered)
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", NAMESPACE)
    assert {it["metadata"].get("namespace", NAMESPACE) for it in others} == {NAMESPACE}
