"""Every manifest and example that is shipped, on an API server; and the operator of one namespace at work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.images import OPERATOR, WORKER
from tests.cluster.operating import IMAGE, SELECTOR, Operator
from tests.cluster.shop import Pool, Shop
from tests.kube.access import Access
from tests.kube.client import Client, wait_for
from tests.kube.errors import CommandFailed
from tests.kube.settings import PROJECT

MANIFESTS = PROJECT / "manifests"
OVERLAYS = (MANIFESTS, *sorted(path.parent for path in MANIFESTS.glob("overlays/*/kustomization.yaml")))
EXAMPLES = sorted((PROJECT / "examples" / "pools").glob("*.yaml"))
DRY = ("--dry-run=server", "--server-side", "--force-conflicts")


def at_top(value: Path) -> str:
    """A path as a test's name."""
    return str(value.relative_to(PROJECT))


@pytest.mark.parametrize("folder", OVERLAYS, ids=at_top)
def test_the_api_server_takes_an_overlay(operator: Operator, folder: Path) -> None:
    """With ``operator``, so that the namespace is there, which a dry run does not make."""
    where = operator.client.within("default") if folder.name == "namespaced" else operator.client
    said = where.kubectl("apply", *DRY, "-k", folder).splitlines()
    assert any(line.startswith("deployment.apps/rqk-operator serverside-applied") for line in said)
    assert not any("Warning" in line for line in said)


def test_the_api_server_takes_the_one_file(operator: Operator) -> None:
    said = operator.client.kubectl("apply", *DRY, "-f", MANIFESTS / "install.yaml")
    assert "customresourcedefinition.apiextensions.k8s.io/rqworkerpools.rqk.dev serverside-applied" in said


@pytest.mark.parametrize("path", EXAMPLES, ids=at_top)
def test_the_api_server_takes_an_example(namespace: Client, operator: Operator, path: Path) -> None:
    namespace.kubectl("apply", "--validate=strict", *DRY, "-f", path)


def test_the_api_server_takes_the_sample_of_make_kind(namespace: Client, operator: Operator) -> None:
    text = (PROJECT / "examples" / "kind" / "sample.yaml").read_text(encoding="utf-8")
    for mark, value in {"@RELEASE@": "rqk", "@IMAGE@": WORKER, "@PULL_POLICY@": "Never"}.items():
        text = text.replace(mark, value)
    assert "@" not in re.sub(r"#.*", "", text)
    namespace.apply(text, "--validate=strict", *DRY)


@pytest.fixture
def only_here(operator: Operator) -> Iterator[None]:
    """The operator of the whole cluster stands aside."""
    operator.scale(0)
    yield
    operator.scale(2)


def namespaced(client: Client) -> list[dict[str, Any]]:
    """The overlay, as somebody would copy it for a namespace of theirs."""
    text = client.kubectl("kustomize", MANIFESTS / "overlays" / "namespaced")
    found = [it for it in yaml.safe_load_all(IMAGE.sub(OPERATOR, text)) if it]
    for it in found:
        it["metadata"]["namespace"] = client.namespace
        for subject in it.get("subjects", ()):
            subject["namespace"] = client.namespace
    return found


def test_the_operator_of_one_namespace_scales_its_pools_and_no_others(
    cluster: Access, namespace: Client, only_here: None
) -> None:
    made = namespaced(namespace)
    assert not {it["kind"] for it in made} & {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    namespace.apply(made, "--server-side")
    namespace.wait_ready(SELECTOR, 2, timeout=90)
    shop = Shop(namespace).open()
    with cluster.new_namespace("not-served") as elsewhere:
        elsewhere.apply(Shop(elsewhere).manifest("foreign", scaling={"minReplicas": 1}))
        pool = shop.pool()
        ids = shop.enqueue(3, 0.1)
        shop.wait_statuses(ids, "finished", 60)
        pool.wait_replicas(0, 60)
        assert set(shop.ran().values()) == {1}
        assert Pool(elsewhere, "foreign").status == {}
        assert elsewhere.find("deployment", "foreign") is None
        account = f"system:serviceaccount:{namespace.namespace}:rqk-operator"
        with pytest.raises(CommandFailed, match="Forbidden"):
            elsewhere.kubectl("get", "rqworkerpools", f"--as={account}")
    namespace.delete(made)
    wait_for(lambda: not namespace.items("pods", SELECTOR), 60, "the operator's pods to go")
