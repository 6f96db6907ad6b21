"""The chart on a real cluster: what a platform team does with it, from the first install to the last trace."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, Helm, find_helm
from tests.chart.matrix import MATRIX
from tests.cluster.images import OPERATOR, WORKER
from tests.cluster.release import CRD, DEVELOPMENT, POOL, Release, image, merged, scoped
from tests.kube.access import Access
from tests.kube.client import Client, wait_for
from tests.kube.errors import CommandFailed
from tests.kube.settings import PROJECT
from tests.kube.versions import VALKEY_IMAGE

pytestmark = pytest.mark.timeout(400, func_only=True)


@pytest.fixture
def alone(cluster: Access) -> Iterator[None]:
    """No custom resource yet, as on a cluster that has never seen rqk. Never takes somebody else's pools away."""
    if cluster.find("crd", CRD):
        others = [it["metadata"]["namespace"] for it in _all_pools(cluster)]
        if others:
            pytest.skip(f"the cluster has pools in {', '.join(sorted(set(others)))}; this test deletes the CRD")
    operators = yaml.safe_load(cluster.kubectl("get", "deployments", "-A", "-o", "yaml"))["items"]
    if taken := [it["metadata"]["namespace"] for it in operators if it["metadata"]["name"].endswith("rqk-operator")]:
        pytest.skip(f"another operator runs in {', '.join(taken)}; this test installs one for the whole cluster")
    if cluster.find("crd", CRD):
        cluster.kubectl("delete", "crd", CRD)
    yield
    if cluster.find("crd", CRD):
        cluster.kubectl("delete", "crd", CRD, "--wait=false")


def _all_pools(cluster: Access) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = yaml.safe_load(cluster.kubectl("get", "rqworkerpools", "-A", "-o", "yaml"))["items"]
    return items


def test_install_and_helm_test_within_one_namespace(release: Release, crd: None) -> None:
    said = release.install(scoped(release, {}))
    assert f"helm test rqk -n {release.client.namespace}" in said
    told = release.test()
    assert "ok: the job ran in pod rqk-test-scaling" in told
    assert told.count("the pool is back at zero") == 1

    account = f"--as=system:serviceaccount:{release.client.namespace}:rqk-operator"

    def may(*words: str, namespace: str = release.client.namespace) -> bool:
        try:
            return release.client.within(namespace).kubectl("auth", "can-i", *words, account).strip() == "yes"
        except CommandFailed:
            return False

    assert may("get", "secrets")
    assert not may("list", "secrets")
    assert not may("get", "secrets", namespace="kube-system")
    assert not may("list", "rqworkerpools.rqk.dev", "--all-namespaces")
    assert not may("delete", "pods")


def test_pools_from_values_come_change_and_go(release: Release, crd: None) -> None:
    client = release.client
    release.install(scoped(release, {**DEVELOPMENT, "pools": {"shop": POOL, "mail": POOL}}))
    assert {it["metadata"]["name"] for it in client.items("rqworkerpools")} == {"shop", "mail"}
    release.enqueue("default", 1, 0)
    wait_for(lambda: release.all_finished(1), 60, "the job")

    larger = merged(POOL, {"spec": {"scaling": {"maxReplicas": 7}}})
    release.install(scoped(release, {**DEVELOPMENT, "pools": {"shop": larger}}))
    assert client.get("rqworkerpool", "shop")["spec"]["scaling"]["maxReplicas"] == 7
    wait_for(lambda: client.find("rqworkerpool", "mail") is None, 30, "the end of the pool that was taken out")

    release.uninstall()
    wait_for(lambda: not client.items("rqworkerpools"), 30, "the end of the release's pools")


def test_a_pool_that_the_api_server_refuses_fails_the_install(release: Release, crd: None) -> None:
    """What the schema cannot see: CEL rules."""
    upside_down = merged(POOL, {"spec": {"scaling": {"minReplicas": 5}}})
    with pytest.raises(CommandFailed, match="rqk-pools"):
        release.install(
            scoped(release, {**DEVELOPMENT, "pools": {"shop": upside_down}, "poolsJob": {"timeoutSeconds": 10}})
        )
    told = release.client.kubectl("logs", "job/rqk-pools")
    assert "minReplicas must not be above maxReplicas" in told


def older_chart(folder: Path) -> Path:
    """The chart as it may have been a version ago: a CRD with a field and a column less."""
    chart = folder / "older"
    shutil.copytree(CHART, chart)
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "0.0.9"}))
    crd = yaml.safe_load((chart / "files" / "crd.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    version["additionalPrinterColumns"] = version["additionalPrinterColumns"][:-1]
    del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["networkPolicy"]
    (chart / "files" / "crd.yaml").write_text(yaml.safe_dump(crd))
    return chart


def test_upgrade_with_running_jobs_loses_none_and_brings_the_crd_up_to_date(
    release: Release, alone: None, tmp_path: Path
) -> None:
    client, jobs = release.client, 24
    release.install({**DEVELOPMENT, "pools": {"shop": POOL}}, chart=older_chart(tmp_path))
    release.enqueue("default", jobs, 5)
    release.wait_replicas("shop", 3)
    workers = {pod["metadata"]["uid"] for pod in client.items("pods", "rqk.dev/pool=shop")}

    release.install({**DEVELOPMENT, "pools": {"shop": POOL}, "operator": {"podAnnotations": {"version": "next"}}})
    assert not release.all_finished(jobs), "the jobs were done before the upgrade: make them longer"
    assert {pod["metadata"]["uid"] for pod in client.items("pods", "rqk.dev/pool=shop")} <= workers
    wait_for(lambda: release.all_finished(jobs), 120, "all jobs")
    assert set(release.tally(jobs)["runs"]) == {1}
    release.wait_replicas("shop", 0)

    (version,) = client.get("crd", CRD)["spec"]["versions"]
    assert version["additionalPrinterColumns"][-1]["name"] == "Message"
    assert "networkPolicy" in version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert [it["metadata"]["name"] for it in client.items("rqworkerpools")] == ["shop"]


def test_uninstall_keeps_pools_and_their_workers_and_a_new_install_goes_on(release: Release, alone: None) -> None:
    client = release.client
    release.install(DEVELOPMENT)
    own = merged(POOL, {"spec": {"redis": {"url": release.redis_url}, "worker": {"image": WORKER}}})
    own["spec"]["scaling"]["minReplicas"] = 1
    client.apply({"apiVersion": "rqk.dev/v1beta1", "kind": "RQWorkerPool", "metadata": {"name": "kept"}, **own})
    release.wait_replicas("kept", 1)
    (before,) = client.items("pods", "rqk.dev/pool=kept")

    release.uninstall()
    assert client.find("crd", CRD)
    assert client.find("rqworkerpool", "kept")
    (still,) = client.items("pods", "rqk.dev/pool=kept")
    assert still["metadata"]["uid"] == before["metadata"]["uid"]

    release.install(DEVELOPMENT)
    release.enqueue("default", 3, 0)
    wait_for(lambda: release.all_finished(3), 60, "jobs after the new install")


def test_uninstall_with_everything(release: Release, alone: None) -> None:
    client = release.client
    release.install({**DEVELOPMENT, "pools": {"shop": POOL}, "crds": {"keep": False}})
    release.uninstall()
    wait_for(lambda: client.find("crd", CRD) is None, 60, "the end of the custom resource")
    wait_for(lambda: not client.items("pods", "rqk.dev/pool"), 60, "the end of the workers")
    left = {it["metadata"]["name"] for it in client.items("configmaps,secrets,roles,rolebindings,deployments,jobs")}
    assert not {name for name in left if name.startswith("rqk")}


def test_a_second_release_beside_one_for_the_whole_cluster_is_refused(
    cluster: Access, release: Release, alone: None
) -> None:
    release.install({})
    with cluster.new_namespace("second") as elsewhere:
        second = Release(cluster, elsewhere)
        with pytest.raises(CommandFailed, match=r"release \"rqk\" in namespace .* owns the custom resource"):
            second.install({})
        with pytest.raises(CommandFailed, match="serves the pools of the whole cluster"):
            second.install({"crds": {"enabled": False}})


def test_two_releases_with_namespaces_of_their_own_live_side_by_side(
    cluster: Access, release: Release, crd: None
) -> None:
    release.install(scoped(release, {}))
    with cluster.new_namespace("second") as elsewhere:
        second = Release(cluster, elsewhere)
        second.install(scoped(second, {}))
        try:
            assert "ok: the job ran" in release.test()
            assert "ok: the job ran" in second.test()
        finally:
            second.uninstall()
    twin = Release(cluster, release.client, "twin")
    with pytest.raises(CommandFailed, match="another rqk release in this namespace"):
        twin.install(scoped(release, {}))


@pytest.mark.parametrize("values", [pytest.param(values, id=name) for name, values in MATRIX.items()])
def test_the_api_server_takes_whatever_the_chart_renders(
    cluster: Access, namespace: Client, values: dict[str, Any]
) -> None:
    program = find_helm() or Path(cluster.helm_program)
    known = set(cluster.kubectl("api-resources", "--no-headers", "-o", "wide").split())
    objects = Helm(program).template(values, namespace=namespace.namespace)
    sent = []
    for it in objects:
        if it["kind"] not in known:
            assert it["apiVersion"].startswith("monitoring.coreos.com/"), it["kind"]
            continue
        if "namespace" in it["metadata"]:
            it["metadata"]["namespace"] = namespace.namespace  # those of the matrix do not exist here
        if it["kind"] == "Pod":
            it["spec"]["serviceAccountName"] = "default"  # a dry run makes none for it
        if it["kind"] != "CustomResourceDefinition":  # an own test upgrades it; here it may be somebody else's
            sent.append(it)
    namespace.apply(sent, "--dry-run=server", "--server-side", "--force-conflicts")


def test_the_steps_of_make_kind_that_need_no_docker(cluster: Access, release: Release, alone: None) -> None:
    client = release.client
    valkey = image(VALKEY_IMAGE)
    settings = {
        "KUBECTL": cluster.kubectl_program,
        "HELM": cluster.helm_program,
        "KUBECONFIG": str(cluster.kubeconfig),
        "NAMESPACE": client.namespace,
        "IMAGES": "localhost",
        "TAG": OPERATOR.rpartition(":")[2],
        "PULL_POLICY": "Never",
    }

    def step(*words: str) -> str:
        done = subprocess.run(
            ["sh", str(PROJECT / "charts" / "kind.sh"), *words],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    sets = [word for key, value in valkey.items() for word in ("--set", f"redis.image.{key}={value}")]
    step("install", *sets)
    step("sample")
    wait_for(lambda: client.ready_pods("rqk.dev/pool=sample"), 60, "workers for the sample app's jobs")
    assert "make kind-delete" in step("hints")
    client.kubectl("delete", "deployment", "sample-app")
