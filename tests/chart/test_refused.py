"""Values that are wrong are refused before anything is installed, and the message names the key."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.chart.helm import CHART, Helm, Refused
from tests.chart.matrix import BARE_POOL, POOL


def pool(**changes: Any) -> dict[str, Any]:
    """Values with one pool; ``changes`` are of its spec."""
    changed = deepcopy(POOL)
    changed["spec"] |= changes
    return {"pools": {"shop": changed}}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param({"operater": {}}, ["operater"], id="a key that does not exist"),
        pytest.param({"operator": {"replica": 2}}, ["operator", "replica"], id="one level down"),
        pytest.param({"operator": {"image": {"tags": "1"}}}, ["image", "tags"], id="two levels down"),
        pytest.param({"operator": {"replicas": "two"}}, ["operator/replicas"], id="a text for a number"),
        pytest.param({"operator": {"replicas": 11}}, ["operator/replicas", "maximum"], id="a number too large"),
        pytest.param({"operator": {"logLevel": "loud"}}, ["operator/logLevel", "info"], id="not among the choices"),
        pytest.param({"operator": {"image": {"digest": "latest"}}}, ["image/digest"], id="not a digest"),
        pytest.param({"operator": {"resources": {"request": {}}}}, ["resources", "request"], id="resources misspelt"),
        pytest.param(
            {"operator": {"tolerations": [{"keys": "a"}]}}, ["tolerations/0", "keys"], id="a toleration misspelt"
        ),
        pytest.param(
            {"operator": {"affinity": {"nodeAfinity": {}}}}, ["affinity", "nodeAfinity"], id="affinity misspelt"
        ),
        pytest.param({"metrics": {"port": 70000}}, ["metrics/port"], id="no such port"),
        pytest.param({"metrics": {"podMonitor": {"interval": "often"}}}, ["podMonitor/interval"], id="no duration"),
        pytest.param({"namespaces": "shop"}, ["namespaces"], id="a text for a list"),
        pytest.param({"namespaces": ["Shop"]}, ["namespaces/0"], id="no name of a namespace"),
        pytest.param({"crds": {"keep": "yes"}}, ["crds/keep"], id="a text for a yes"),
        pytest.param({"exporter": {"url": "http://redis"}}, ["exporter/url"], id="not a Redis"),
        pytest.param({"exporter": {"enabled": True}}, ["exporter.url", "which Redis"], id="an exporter of nothing"),
        pytest.param(
            {"exporter": {"enabled": True, "url": "redis://a", "existingSecret": {"name": "b"}}},
            ["exporter.url", "either"],
            id="an exporter of two",
        ),
        pytest.param(
            {"operator": {"leaderElection": {"enabled": False}}},
            ["operator.leaderElection.enabled", "replicas"],
            id="two operators without a leader",
        ),
        pytest.param(pool(queues=[]), ["pools/shop/spec/queues"], id="a pool without queues"),
        pytest.param(pool(queue=["a"]), ["pools/shop/spec", "queue"], id="a pool's field misspelt"),
        pytest.param(pool(scaling={"maxReplica": 3}), ["pools/shop/spec/scaling", "maxReplica"], id="deeper"),
        pytest.param(pool(worker={"abandoned": "Retry"}), ["pools/shop/spec/worker/abandoned"], id="no such policy"),
        pytest.param(pool(redis={"url": "redis"}), ["pools/shop/spec/redis/url"], id="no URL"),
        pytest.param({"pools": {"Shop": POOL}}, ["pools", "Shop"], id="no name of a pool"),
        pytest.param({"pools": {"shop": {}}}, ["pools/shop", "spec"], id="a pool without spec"),
        pytest.param({"pools": {"shop": BARE_POOL}}, ["pools.shop.spec.redis", "urlFrom"], id="a pool without Redis"),
        pytest.param(
            {"namespaces": ["video"], "pools": {"shop": POOL}},
            ["pools.shop.namespace", "rqk-system", "video"],
            id="a pool that nobody would serve",
        ),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(helm: Helm, values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(Refused) as refusal:
        helm.template(values)
    said = str(refusal.value)
    assert all(word in said for word in words), said


def test_a_parent_chart_may_share_values_that_mean_nothing_to_us(helm: Helm) -> None:
    helm.template({"global": {"domain": "example.com"}})


def test_an_older_kubernetes_is_refused(helm: Helm) -> None:
    with pytest.raises(Refused, match="kubeVersion"):
        helm.run("template", "rqk", CHART, "--kube-version=1.28.0")
