"""manifests/ (kustomize) and the chart install the same: one cannot get a right, a probe or a field that the other lacks."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.chart.helm import PROJECT, Helm, Manifest, one

INSTALL = PROJECT / "manifests" / "install.yaml"


@pytest.fixture(scope="module")
def plain() -> list[Manifest]:
    """What `kubectl apply -f manifests/install.yaml` applies."""
    return [it for it in yaml.safe_load_all(INSTALL.read_text()) if it]


@pytest.fixture(scope="module")
def charted(helm: Helm) -> list[Manifest]:
    """What the chart makes of its defaults."""
    return helm.template({"tests": {"enabled": False}, "rbac": {"aggregate": False}})


def rights(role: Manifest) -> set[tuple[str, str, str, tuple[str, ...]]]:
    """Each right by itself, so that the order and grouping of rules do not matter."""
    return {
        (group, resource, verb, tuple(rule.get("resourceNames", ())))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_operator_has_the_same_rights(plain: list[Manifest], charted: list[Manifest]) -> None:
    assert rights(one(plain, "ClusterRole")) == rights(one(charted, "ClusterRole"))
    assert rights(one(plain, "Role")) == rights(one(charted, "Role"))


def test_the_custom_resource_is_the_same(plain: list[Manifest], charted: list[Manifest]) -> None:
    kind = "CustomResourceDefinition"
    assert one(plain, kind)["spec"] == one(charted, kind)["spec"]


@pytest.mark.parametrize(
    "path",
    [
        "securityContext",
        "enableServiceLinks",
        "automountServiceAccountToken",
        "terminationGracePeriodSeconds",
        "containers.0.securityContext",
        "containers.0.resources",
        "containers.0.ports",
        "containers.0.volumeMounts",
        "containers.0.imagePullPolicy",
        "containers.0.startupProbe",
        "containers.0.livenessProbe.httpGet",
        "containers.0.readinessProbe.httpGet",
        "volumes",
    ],
)
def test_the_operators_pod_is_the_same(plain: list[Manifest], charted: list[Manifest], path: str) -> None:
    def found(manifests: list[Manifest]) -> Any:
        place: Any = one(manifests, "Deployment")["spec"]["template"]["spec"]
        for step in path.split("."):
            place = place[int(step) if step.isdigit() else step]
        return place

    theirs, ours = found(plain), found(charted)
    if path == "securityContext":
        ours.pop("fsGroup")  # for volumes of the user's, which only the chart can add
    assert ours == theirs


def test_replicas_budget_and_image_are_the_same(plain: list[Manifest], charted: list[Manifest]) -> None:
    def told(manifests: list[Manifest]) -> tuple[Any, ...]:
        spec = one(manifests, "Deployment")["spec"]
        image = spec["template"]["spec"]["containers"][0]["image"].partition(":")[0]
        return spec["replicas"], image, one(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"]

    assert told(plain) == told(charted)
