"""What a set of values makes of the chart."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from rqk.autoscale.manifest import check_for_cluster, parse_pool
from tests.chart.helm import CHART, Helm, kinds, one, pod_specs
from tests.chart.matrix import BARE_POOL, MATRIX, MONITORING, POOL

EVERY_SET = pytest.mark.parametrize("values", [pytest.param(values, id=name) for name, values in MATRIX.items()])


@EVERY_SET
def test_lint_has_no_complaint(helm: Helm, values: dict[str, Any]) -> None:
    assert "0 chart(s) failed" in helm.lint(values)


@EVERY_SET
def test_objects_are_named_once_labelled_and_in_a_namespace(helm: Helm, values: dict[str, Any]) -> None:
    seen = set()
    for it in helm.template(values):
        metadata = it["metadata"]
        key = (it["kind"], metadata.get("namespace"), metadata["name"])
        assert key not in seen
        seen.add(key)
        if metadata["name"] in ("rqk-more", "rqk-text"):
            continue  # extra objects are the user's own
        labels = metadata["labels"]
        assert labels["app.kubernetes.io/part-of"] == "rqk"
        assert labels["app.kubernetes.io/instance"] == "rqk"
        cluster_wide = it["kind"] in ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")
        assert ("namespace" in metadata) != cluster_wide
        assert len(metadata["name"]) <= 63


@EVERY_SET
def test_every_pod_keeps_to_the_restricted_profile(helm: Helm, values: dict[str, Any]) -> None:
    for name, spec in pod_specs(helm.template(values)).items():
        outer = spec["securityContext"]
        assert outer["runAsNonRoot"] is True, name
        assert outer["runAsUser"] > 0, name
        assert outer["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["enableServiceLinks"] is False, name
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            inner = container["securityContext"]
            assert inner["allowPrivilegeEscalation"] is False, name
            assert inner["readOnlyRootFilesystem"] is True, name
            assert inner["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            assert any(mount["mountPath"] == "/tmp" for mount in container["volumeMounts"]), name


@EVERY_SET
def test_no_role_has_a_wildcard_or_more_of_secrets_than_get(helm: Helm, values: dict[str, Any]) -> None:
    for it in helm.template(values):
        for rule in it.get("rules", []) if it["kind"] in ("Role", "ClusterRole") else []:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], it["metadata"]["name"]
            if "secrets" in rule["resources"]:
                assert rule["verbs"] == ["get"]
                assert rule["resources"] == ["secrets"]


def test_defaults_are_the_least_that_works(helm: Helm) -> None:
    made = helm.template()
    assert kinds(made) == {
        *("ClusterRole", "ClusterRoleBinding", "ConfigMap", "CustomResourceDefinition", "Deployment", "Pod"),
        *("PodDisruptionBudget", "Role", "RoleBinding", "ServiceAccount"),
    }
    operator = one(made, "Deployment")
    assert operator["spec"]["replicas"] == 2
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert "--lease-name=rqk-operator" in container["args"]
    assert not [word for word in container["args"] if word.startswith("--namespace=")]
    assert container["image"] == f"ghcr.io/rqk/rqk-operator:{version()}"


def version() -> str:
    """The chart's appVersion."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])


def test_a_closed_operator_still_reaches_all_that_it_needs_and_is_scraped_and_probed(helm: Helm) -> None:
    rendered = helm.template(
        {**MONITORING, "operator": {"networkPolicy": {"enabled": True}}, "redis": {"enabled": True}}
    )
    policy = one(rendered, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    opened = {(port["port"], port.get("protocol", "TCP")) for rule in policy["egress"] for port in rule["ports"]}
    dns = {(53, "UDP"), (53, "TCP")}
    assert opened == dns | {(port, "TCP") for port in (443, 6443, 6379, 6380, 26379)}
    assert not any("to" in rule for rule in policy["egress"]), "an API server and a Redis have no labels to go by"
    # Metrics and probes share one port, and it is one that the pod has by this name.
    (inward,) = policy["ingress"]
    assert inward == {"ports": [{"port": "metrics"}]}
    (container,) = one(rendered, "Deployment", "operator")["spec"]["template"]["spec"]["containers"]
    assert "metrics" in {port["name"] for port in container["ports"]}
    assert {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")} == {"metrics"}
    # It is for the operator's pods, all of them, and for nobody else's.
    wanted = policy["podSelector"]["matchLabels"].items()
    covered = [
        it["metadata"]["name"]
        for it in rendered
        if it["kind"] in ("Deployment", "StatefulSet", "Job")
        and wanted <= it["spec"]["template"]["metadata"].get("labels", {}).items()
    ]
    assert covered == [one(rendered, "Deployment", "operator")["metadata"]["name"]]


def test_who_may_scrape_a_closed_operator_can_be_told(helm: Helm) -> None:
    (inward,) = one(helm.template(MATRIX["closed"]), "NetworkPolicy")["spec"]["ingress"]
    assert inward["from"] == MATRIX["closed"]["operator"]["networkPolicy"]["metricsFrom"]


def test_a_namespaced_install_makes_nothing_for_the_whole_cluster_that_is_not_asked_for(helm: Helm) -> None:
    made = helm.template(MATRIX["namespaces of others"])
    assert not kinds(made) & {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    roles = {(it["metadata"]["namespace"], it["metadata"]["name"]) for it in made if it["kind"] == "Role"}
    assert {("shop", "rqk-system:rqk"), ("video", "rqk-system:rqk"), ("rqk-system", "rqk-operator-leader")} <= roles
    (container,) = one(made, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"--namespace=shop", "--namespace=video"} <= set(container["args"])
    # What `helm test` makes goes where pools are served.
    assert {("shop", "rqk-system:rqk:test")} <= roles


def test_two_releases_share_no_name(helm: Helm) -> None:
    def names(release: str, namespace: str) -> set[tuple[str, str | None, str]]:
        made = helm.template({"crds": {"enabled": False}, "namespaces": ["a"]}, release=release, namespace=namespace)
        return {(it["kind"], it["metadata"].get("namespace"), it["metadata"]["name"]) for it in made}

    assert not names("rqk", "x") & names("rqk", "y")
    assert not names("rqk", "x") & names("rqk-two", "x")


def test_secrets_can_be_named_so_that_no_other_is_read(helm: Helm) -> None:
    rules = one(helm.template({"rbac": {"secretNames": ["redis"]}}), "ClusterRole", ":rqk")["rules"]
    assert [rule["resourceNames"] for rule in rules if rule["resources"] == ["secrets"]] == [["redis"]]


def test_the_crd_is_kept_unless_told_otherwise(helm: Helm) -> None:
    kept = one(helm.template(), "CustomResourceDefinition")
    assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    gone = one(helm.template({"crds": {"keep": False}}), "CustomResourceDefinition")
    assert "annotations" not in gone["metadata"]
    assert kept["spec"] == yaml.safe_load((CHART / "files" / "crd.yaml").read_text())["spec"]
    assert "CustomResourceDefinition" not in kinds(helm.template({"crds": {"enabled": False}}))


def test_pools_become_manifests_that_our_own_model_takes(helm: Helm) -> None:
    made = helm.template({"redis": {"enabled": True}, "pools": {"shop": POOL, "mail": BARE_POOL}})
    for name in ("shop", "mail"):
        pool = parse_pool(json.loads(one(made, "ConfigMap", f"-pool-{name}")["data"]["pool.json"]))
        check_for_cluster(pool)
        assert pool.name == name
        assert pool.metadata.namespace == "rqk-system"
        assert pool.spec.worker.image
    bare = json.loads(one(made, "ConfigMap", "-pool-mail")["data"]["pool.json"])["spec"]
    assert bare["redis"] == {"urlFrom": {"secretKeyRef": {"name": "rqk-redis", "key": "url"}}}
    assert bare["worker"]["image"] == f"ghcr.io/rqk/rqk-worker:{version()}"


PULLED: dict[str, Any] = {
    "global": {"imagePullSecrets": [{"name": "all"}]},
    "imagePullSecrets": [{"name": "own"}, {"name": "all"}],
    "worker": {"image": {"pullPolicy": "Always"}},
}


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        pytest.param(
            {},
            {
                "imagePullSecrets": [{"name": "all"}, {"name": "own"}],
                "containers": [{"name": "worker", "imagePullPolicy": "Always"}],
            },
            id="of the chart",
        ),
        pytest.param(
            {
                "nodeSelector": {"a": "b"},
                "containers": [{"name": "side", "image": "s:1"}, {"name": "worker", "tty": True}],
            },
            {
                "nodeSelector": {"a": "b"},
                "imagePullSecrets": [{"name": "all"}, {"name": "own"}],
                "containers": [
                    {"name": "worker", "imagePullPolicy": "Always", "tty": True},
                    {"name": "side", "image": "s:1"},
                ],
            },
            id="beside what the pool says of other things",
        ),
        pytest.param(
            {"imagePullSecrets": [], "containers": [{"name": "worker", "imagePullPolicy": "Never"}]},
            {"imagePullSecrets": [], "containers": [{"name": "worker", "imagePullPolicy": "Never"}]},
            id="of the pool",
        ),
    ],
)
def test_a_pool_of_the_charts_image_pulls_it_as_the_chart_says(
    helm: Helm, template: dict[str, Any], wanted: dict[str, Any]
) -> None:
    spec = {**BARE_POOL["spec"], **({"template": {"spec": template}} if template else {})}
    made = helm.template({"redis": {"enabled": True}, **PULLED, "pools": {"mail": {"spec": spec}}})
    found = json.loads(one(made, "ConfigMap", "-pool-mail")["data"]["pool.json"])
    assert found["spec"]["template"] == {"spec": wanted}
    check_for_cluster(parse_pool(found))


def test_a_pool_of_another_image_is_left_as_it_is(helm: Helm) -> None:
    made = helm.template({**PULLED, "pools": {"shop": POOL}})
    assert json.loads(one(made, "ConfigMap", "-pool-shop")["data"]["pool.json"])["spec"] == POOL["spec"]


def test_a_url_with_dollars_reaches_the_exporter_as_it_is(helm: Helm) -> None:
    made = one(
        helm.template({"exporter": {"enabled": True, "url": "redis://:a$$b$(HOME)c@redis"}}), "Deployment", "-exporter"
    )
    (container,) = made["spec"]["template"]["spec"]["containers"]
    (url,) = [it["value"] for it in container["env"] if it["name"] == "RQ_REDIS_URL"]
    assert url == "redis://:a$$$$b$$(HOME)c@redis", "Kubernetes makes one of two"


def test_the_job_may_apply_its_own_pools_and_nothing_else(helm: Helm) -> None:
    made = helm.template(MATRIX["pools"])
    job = one(made, "Job")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][1:] == [
        "default/rqk-pool-mail",
        "rqk-system/rqk-pool-shop",
    ]
    roles = {
        it["metadata"]["namespace"]: it["rules"]
        for it in made
        if it["metadata"]["name"] == "rqk-system:rqk:pools" and it["kind"] == "Role"
    }
    assert set(roles) == {"default", "rqk-system"}
    assert roles["default"][0]["resourceNames"] == ["rqk-pool-mail"]


def test_an_upgrade_of_the_chart_alone_replaces_no_pod(helm: Helm, tmp_path: Path) -> None:
    later = tmp_path / "rqk"
    shutil.copytree(CHART, later)
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (later / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "9.9.9"}))
    values = {"redis": {"enabled": True}, "exporter": {"enabled": True}}

    def templates(chart: Path) -> dict[str, Any]:
        made = helm.template(values, chart=chart)
        return {it["metadata"]["name"]: it["spec"]["template"] for it in made if it["kind"] == "Deployment"}

    assert len(templates(later)) == 3
    assert templates(later) == templates(CHART)


def test_a_release_without_pools_has_no_job(helm: Helm) -> None:
    assert "Job" not in kinds(helm.template())


def test_monitors_find_what_they_are_meant_for(helm: Helm) -> None:
    made = helm.template(MONITORING)
    for component in ("operator", "exporter"):
        wanted = one(made, "PodMonitor", component)["spec"]["selector"]["matchLabels"]
        labels = one(made, "Deployment", component)["spec"]["template"]["metadata"]["labels"]
        assert wanted.items() <= labels.items()
        (port,) = one(made, "Deployment", component)["spec"]["template"]["spec"]["containers"][0]["ports"]
        assert port["name"] == "metrics"
    assert one(made, "PodMonitor", "workers")["spec"]["namespaceSelector"] == {"any": True}


def test_a_service_monitor_takes_the_place_of_the_operators_pod_monitor(helm: Helm) -> None:
    both = {"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}}
    made = helm.template(both)
    assert [it["metadata"]["name"] for it in made if it["kind"] == "PodMonitor"] == ["rqk-workers"]
    service, monitor = one(made, "Service"), one(made, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()


@pytest.fixture
def with_rules(tmp_path: Path) -> Path:
    """The chart with rules and dashboards that are known here."""
    copy = tmp_path / "rqk"
    shutil.copytree(CHART, copy)
    for folder in ("rules", "dashboards"):
        shutil.rmtree(copy / folder, ignore_errors=True)
        (copy / folder).mkdir()
    group = {
        "name": "rqk",
        "interval": "30s",
        "rules": [
            {"record": "rqk:jobs:rate5m", "expr": "rate(rqk_jobs_total[5m])"},
            {
                "alert": "RqkA",
                "expr": "up == 0",
                "labels": {"severity": "warning"},
                "annotations": {"summary": "{{ $labels.pool }} is down"},
            },
            {"alert": "RqkB", "expr": "up == 0"},
        ],
    }
    (copy / "rules" / "rqk.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    (copy / "dashboards" / "fleet.json").write_text('{"title": "Fleet", "text": "{{ pool }}"}')
    return copy


def test_alerts_can_be_left_out_and_labelled(helm: Helm, with_rules: Path) -> None:
    rule = {"enabled": True, "disabled": ["RqkB"], "alertLabels": {"team": "platform"}}
    (group,) = one(helm.template({"metrics": {"prometheusRule": rule}}, chart=with_rules), "PrometheusRule")["spec"][
        "groups"
    ]
    assert group["interval"] == "30s"
    recorded, alert = group["rules"]
    assert recorded == {"record": "rqk:jobs:rate5m", "expr": "rate(rqk_jobs_total[5m])"}
    assert alert["labels"] == {"severity": "warning", "team": "platform"}
    assert alert["annotations"] == {"summary": "{{ $labels.pool }} is down"}


def test_dashboards_are_carried_byte_for_byte(helm: Helm, with_rules: Path) -> None:
    made = helm.template({"metrics": {"dashboards": {"enabled": True}}}, chart=with_rules)
    found = one(made, "ConfigMap", "-dashboard-fleet")
    assert found["data"] == {"fleet.json": '{"title": "Fleet", "text": "{{ pool }}"}'}
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_no_dashboard_outgrows_a_config_map() -> None:
    for path in (CHART / "dashboards").glob("*.json"):
        assert path.stat().st_size < 900_000, path.name


def test_no_template_is_without_a_use() -> None:
    """Each named template is included somewhere."""
    text = "\n".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    for name in re.findall(r'define "([^"]+)"', text):
        assert f'include "{name}"' in text, name
