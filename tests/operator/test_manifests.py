"""From a pool to its Deployment and the rest; and manifests/ says what the code says."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rqk_operator.manifests import deployment, digest, optional_children
from rqk_operator.names import MANIFEST_NOTE, REDIS_NOTE

from rqk.autoscale.crd import render_yaml
from rqk.autoscale.manifest import load_pools, parse_pool
from rqk.autoscale.model import Pool
from rqk.errors import BadPool

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"


def pool(**spec: Any) -> Pool:
    whole: dict[str, Any] = {
        "queues": ["high", "low"],
        "redis": {"url": "redis://redis:6379/0"},
        "scaling": {"targetDepthPerWorker": 10},
        "worker": {"image": "shop:1"},
        **spec,
    }
    meta = {"name": "shop", "namespace": "ns", "uid": "u1", "generation": 1}
    return parse_pool({"apiVersion": "rqk.dev/v1beta1", "kind": "RQWorkerPool", "metadata": meta, "spec": whole})


def template_of(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = made["spec"]["template"]
    return found


def worker_of(made: dict[str, Any]) -> dict[str, Any]:
    (found,) = [it for it in template_of(made)["spec"]["containers"] if it["name"] == "worker"]
    assert isinstance(found, dict)
    return found


def env_of(made: dict[str, Any]) -> dict[str, Any]:
    return {it["name"]: it for it in worker_of(made)["env"]}


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "worker", **fields}]}}


def test_the_number_of_replicas_is_nobodys_business_here() -> None:
    assert "replicas" not in deployment(pool(), "f")["spec"]


def test_the_deployment_belongs_to_the_pool_and_goes_with_it() -> None:
    (owner,) = deployment(pool(), "f")["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("RQWorkerPool", "shop", "u1", True)
    assert "finalizers" not in deployment(pool(), "f")["metadata"]


def test_the_command_says_what_the_pool_says() -> None:
    worker = {
        "image": "shop:1",
        "preload": ["shop.jobs", "shop.mail"],
        "recycleAfter": 5,
        "jobMemoryLimit": "512Mi",
        "abandoned": "Requeue",
        "graceSeconds": 90,
        "withScheduler": False,
        "metricsPort": 9000,
    }
    made = deployment(pool(worker=worker), "f")
    assert worker_of(made)["command"] == [
        *("rqk", "worker", "--preload", "shop.jobs", "--preload", "shop.mail", "--recycle-after", "5"),
        *("--abandoned", "requeue", "--grace", "85", "--wait-for-redis", "60", "--job-memory-limit", "512Mi"),
        *("--no-scheduler", "--metrics-port", "9000", "--", "high", "low"),
    ]
    assert template_of(made)["spec"]["terminationGracePeriodSeconds"] == 90
    assert worker_of(made)["ports"] == [{"name": "metrics", "containerPort": 9000, "protocol": "TCP"}]


def expanded(text: str) -> str:
    """What Kubernetes makes of a command or of a variable's value: ``$(A)`` is another variable, ``$$`` is one ``$``."""
    return re.sub(r"\$\$|\$\((\w+)\)", lambda found: f"<{found[1]}>" if found[1] else "$", text)


@pytest.mark.parametrize("name", ["$(HOME)", "$$(HOME)", "$$$(HOME)", "a$$b", "a$b", "a$", "$$", "$)("])
def test_what_looks_like_a_variable_stays_as_it_is(name: str) -> None:
    made = deployment(pool(queues=[name]), "f")
    assert expanded(worker_of(made)["command"][-1]) == name
    made = deployment(pool(redis={"url": f"redis://:{name}@redis:6379/0"}), "f")
    assert expanded(env_of(made)["RQ_REDIS_URL"]["value"]) == f"redis://:{name}@redis:6379/0"


def test_the_pods_satisfy_the_restricted_profile() -> None:
    made = deployment(pool(), "f")
    spec, container = template_of(made)["spec"], worker_of(made)
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_a_worker_that_retires_is_seen_with_one_probe() -> None:
    container = worker_of(deployment(pool(), "f"))
    assert container["readinessProbe"]["failureThreshold"] == 1
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["startupProbe"]["httpGet"]["path"] == "/healthz"


def test_a_worker_of_another_make_has_no_probes_and_its_own_command() -> None:
    container = worker_of(deployment(pool(worker={"image": "x", "command": ["rq", "worker", "high"]}), "f"))
    assert container["command"] == ["rq", "worker", "high"]
    assert not {"livenessProbe", "readinessProbe", "startupProbe", "ports"} & set(container)


def test_the_template_is_merged_under_what_the_operator_sets() -> None:
    template = {
        "metadata": {"labels": {"team": "media", "rqk.dev/pool": "stolen"}, "annotations": {"a": "b"}},
        "spec": {
            "nodeSelector": {"pool": "spot"},
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsUser": 1234},
            "containers": [
                {
                    "name": "worker",
                    "image": "other:1",
                    "env": [{"name": "RQ_REDIS_URL", "value": "redis://elsewhere"}, {"name": "X", "value": "y"}],
                    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                    "securityContext": {"readOnlyRootFilesystem": False},
                    "readinessProbe": {"periodSeconds": 9},
                },
                {"name": "side", "image": "side:1"},
            ],
            "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
        },
    }
    made = deployment(pool(template=template), "f")
    spec, container = template_of(made)["spec"], worker_of(made)
    assert template_of(made)["metadata"]["labels"]["team"] == "media"
    assert template_of(made)["metadata"]["labels"]["rqk.dev/pool"] == "shop"
    assert template_of(made)["metadata"]["annotations"] == {
        "a": "b",
        REDIS_NOTE: "f",
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "9727",
        "prometheus.io/path": "/metrics",
    }
    assert spec["nodeSelector"] == {"pool": "spot"}
    assert spec["terminationGracePeriodSeconds"] == 300
    assert spec["securityContext"]["runAsUser"] == 1234
    assert container["image"] == "shop:1"
    assert env_of(made)["RQ_REDIS_URL"] == {"name": "RQ_REDIS_URL", "value": "redis://redis:6379/0"}
    assert env_of(made)["X"] == {"name": "X", "value": "y"}
    assert container["securityContext"]["readOnlyRootFilesystem"] is False
    assert container["readinessProbe"]["periodSeconds"] == 9
    assert [it["name"] for it in spec["containers"]] == ["worker", "side"]
    assert {it["name"]: it for it in spec["volumes"]}["tmp"] == {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}


def test_sidecars_of_all_kinds_and_a_volume_at_two_places_survive_the_merge() -> None:
    template = {
        "spec": {
            "initContainers": [
                {"name": "fetch", "image": "fetch:1"},
                {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"},
            ],
            "containers": [
                {"name": "logs", "image": "logs:1", "livenessProbe": {"exec": {"command": ["true"]}}},
                {
                    "name": "worker",
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/in", "subPath": "in"},
                        {"name": "data", "mountPath": "/out", "subPath": "out"},
                    ],
                    "ports": [{"name": "debug", "containerPort": 5678}],
                    "livenessProbe": {"exec": {"command": ["rqk", "--version"]}},
                },
            ],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            "tolerations": [{"key": "spot", "operator": "Exists"}, {"key": "spot", "effect": "NoExecute"}],
        },
    }
    made = deployment(pool(template=template), "f")
    spec, container = template_of(made)["spec"], worker_of(made)
    assert [it["name"] for it in spec["initContainers"]] == ["fetch", "proxy"]
    assert [it["name"] for it in spec["containers"]] == ["worker", "logs"], "`kubectl logs` shows the first one"
    assert spec["tolerations"] == template["spec"]["tolerations"]
    assert {it["mountPath"]: it.get("subPath") for it in container["volumeMounts"]} == {
        "/tmp": None,
        "/in": "in",
        "/out": "out",
    }
    assert {it["name"]: it["containerPort"] for it in container["ports"]} == {"metrics": 9727, "debug": 5678}
    assert container["livenessProbe"]["exec"] == {"command": ["rqk", "--version"]}
    assert "httpGet" not in container["livenessProbe"], "a probe has one way only"
    assert {it["name"] for it in spec["volumes"]} == {"data", "tmp"}


def test_a_volume_of_ones_own_may_be_tmp() -> None:
    mine = {"name": "big", "mountPath": "/tmp"}
    template = {
        "spec": {
            "containers": [{"name": "worker", "volumeMounts": [mine]}],
            "volumes": [{"name": "big", "persistentVolumeClaim": {"claimName": "big"}}],
        }
    }
    assert worker_of(deployment(pool(template=template), "f"))["volumeMounts"] == [mine]


def test_arguments_go_with_a_command_of_ones_own() -> None:
    template = {"spec": {"containers": [{"name": "worker", "args": ["high"]}]}}
    container = worker_of(deployment(pool(template=template, worker={"image": "x", "command": ["rq", "worker"]}), "f"))
    assert (container["command"], container["args"]) == (["rq", "worker"], ["high"])


def test_the_longest_name_of_a_pool_fits_wherever_it_is_written() -> None:
    """63 characters is what a label's value may have; names of ReplicaSets and pods are cut by Kubernetes itself."""
    meta = {"name": "p" * 63, "namespace": "ns", "uid": "u1"}
    long = pool(podDisruptionBudget={}, podMonitor={}, networkPolicy={})
    long = long.model_copy(update={"metadata": long.metadata.model_copy(update=meta)})
    for made in (deployment(long, "f"), *optional_children(long)):
        assert made["metadata"]["name"] == meta["name"]
        assert all(len(value) <= 63 for value in made["metadata"]["labels"].values())


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"spec": {"containers": {"name": "x"}}}, "spec.template.spec.containers"),
        ({"spec": {"containers": [{"image": "x"}]}}, "each with a name"),
        ({"kind": "Pod"}, "spec.template.kind"),
        ({"replicas": 3}, "spec.template.replicas"),
        ({"spec": {"containers": [{"name": "worker", "args": ["x"]}]}}, "args: only together with spec.worker.command"),
        ({"spec": [1]}, "spec.template.spec: must be an object"),
        (container(name=["x"]), "containers: name must be text or a number, not"),
        (container(env=[{"name": {"x": 1}, "value": "1"}]), "env: name must be text or a number, not"),
        (container(volumeMounts=[{"name": "a", "mountPath": ["/a"]}]), "volumeMounts: mountPath must be"),
        (container(ports=[{"containerPort": 1, "protocol": {}}]), "ports: protocol must be"),
    ],
)
def test_a_template_that_cannot_be_merged_is_refused_with_its_field(template: dict[str, Any], words: str) -> None:
    with pytest.raises(BadPool, match=words.replace(".", r"\.")):
        deployment(pool(template=template), "f")


def test_a_pool_without_an_image_says_so() -> None:
    with pytest.raises(BadPool, match=r"spec\.worker\.image"):
        deployment(pool(worker={}), "f")


def test_a_url_in_a_secret_stays_there() -> None:
    made = deployment(pool(redis={"urlFrom": {"secretKeyRef": {"name": "s", "key": "url"}}}), "f")
    assert env_of(made)["RQ_REDIS_URL"]["valueFrom"] == {"secretKeyRef": {"name": "s", "key": "url"}}


def test_users_variables_cannot_hide_who_the_worker_is() -> None:
    variables = [
        {"name": "RQK_POD_NAME", "value": "fake"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    made = env_of(deployment(pool(worker={"image": "x", "env": variables}), "f"))
    assert made["RQK_POD_NAME"] == {"name": "RQK_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    assert made["KEY"]["valueFrom"]["secretKeyRef"] == {"name": "s", "key": "k"}


def test_the_production_example_becomes_a_deployment() -> None:
    (example,) = load_pools((ROOT / "examples/pools/production.yaml").read_text(), "production.yaml")
    made = deployment(example, "f")
    env = env_of(made)
    assert env["RQ_REDIS_URL"]["value"].startswith("rediss+sentinel://sentinel-0.sentinel:26379,")
    assert "password" not in env["RQ_REDIS_URL"]["value"]
    assert env["RQK_REDIS_PASSWORD_FILE"]["value"] == "/etc/rqk/redis-login/password"
    assert env["RQK_REDIS_CA_FILE"]["value"] == "/etc/rqk/redis-ca/ca.crt"
    mounts = {it["mountPath"] for it in worker_of(made)["volumeMounts"]}
    assert {"/tmp", "/etc/rqk/redis-login", "/etc/rqk/redis-ca"} <= mounts
    assert [it["kind"] for it in optional_children(example)] == ["PodDisruptionBudget", "PodMonitor", "NetworkPolicy"]


def test_the_digest_is_the_same_for_the_same_and_other_for_other() -> None:
    one, other = deployment(pool(), "f"), deployment(pool(), "g")
    assert (
        one["metadata"]["annotations"][MANIFEST_NOTE]
        == deployment(pool(), "f")["metadata"]["annotations"][MANIFEST_NOTE]
    )
    assert one["metadata"]["annotations"] != other["metadata"]["annotations"]
    changed = copy.deepcopy(one)
    changed["spec"]["template"]["spec"]["x"] = 1
    assert digest(changed) != digest(one)


def test_a_pools_own_pod_monitor_names_the_pool_as_the_dashboards_do() -> None:
    (monitor,) = optional_children(pool(podMonitor={"interval": "15s", "labels": {"release": "prometheus"}}))
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (rule,) = endpoint["relabelings"]
    assert rule == {"sourceLabels": ["__meta_kubernetes_pod_label_rqk_dev_pool"], "targetLabel": "pool"}
    assert endpoint["filterRunning"] is False
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_the_documented_scraping_finds_the_operator_of_the_manifests() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    scrapes = yaml.safe_load(text[text.index("rule_files:") :].partition("```")[0])["scrape_configs"]
    (component, _) = next(it["relabel_configs"] for it in scrapes if it["job_name"] == "rqk-operator")
    labels = yaml.safe_load((MANIFESTS / "base" / "deployment.yaml").read_text())["spec"]["template"]["metadata"]
    assert component["source_labels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]
    assert labels["labels"]["app.kubernetes.io/component"] == component["regex"]


def test_a_closed_network_policy_lets_dns_redis_and_metrics_through() -> None:
    spec: dict[str, Any] = {"metricsFrom": [{"podSelector": {}}], "egress": []}
    (policy,) = optional_children(pool(networkPolicy=spec, redis={"url": "redis://redis:7000/0"}))
    ports = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 7000]
    assert policy["spec"]["ingress"][0]["ports"][0]["port"] == 9727


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("redis://redis", [6379]),
        ("redis://redis:7000/0", [7000]),
        ("redis://:p%40w@redis:7000/0", [7000]),
        ("rediss://app:pw@redis.example:6380/2?x=1", [6380]),
        ("redis://app:pw@[fd00::1]:7001/0", [7001]),
        ("redis://[fd00::1]/0", [6379]),
        ("redis+sentinel://app@s1:26379,s2:26380/jobs/0", [6379, 26379, 26380]),
        ("unix:///run/redis.sock", []),
        ("redis://[::1", []),
    ],
)
def test_a_network_policy_lets_the_port_of_the_url_through(url: str, ports: list[int]) -> None:
    (policy,) = optional_children(pool(networkPolicy={"egress": []}, redis={"url": url}))
    open_ports = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert open_ports == [53, 53, *ports]


def test_the_crd_in_manifests_is_the_models() -> None:
    assert (MANIFESTS / "base/crd.yaml").read_text() == render_yaml(), "run: python manifests/generate.py"


def test_install_yaml_is_up_to_date() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on PATH; with it: python manifests/generate.py --check")
    words = [sys.executable, str(MANIFESTS / "generate.py"), "--check", "--kubectl", kubectl]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def rules(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = next(yaml.safe_load_all(path.read_text()))["rules"]
    return found


def test_both_installations_have_the_same_rights_and_no_wildcard() -> None:
    cluster, namespaced = (rules(MANIFESTS / f"overlays/{name}/role.yaml") for name in ("cluster", "namespaced"))
    assert cluster == namespaced
    for rule in cluster:
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
        if "secrets" in rule["resources"]:
            assert rule["verbs"] == ["get"]


def test_the_reference_of_the_fields_is_up_to_date() -> None:
    words = [sys.executable, "-c", "import reference, sys; sys.stdout.write(reference.page())"]
    environment = {"PYTHONPATH": f"{ROOT}:{MANIFESTS}", "PATH": "/usr/bin:/bin"}
    made = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, env=environment).stdout
    assert (ROOT / "docs/pools.md").read_text() == made, "run: python manifests/generate.py"
