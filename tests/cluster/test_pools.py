"""The resource on a real cluster: what is refused, what is shown, and everything that a user may do to a pool and its children."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.images import APP
from tests.cluster.operating import Operator
from tests.cluster.shop import CONTAINER_SECURITY, Shop, steady
from tests.kube.client import Client, condition, wait_for
from tests.kube.errors import CommandFailed


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"scaling": {"minReplicas": 5, "maxReplicas": 2}}, "spec.scaling", "minReplicas must not be above maxReplicas"),
        ({"scaling": {"maxReplicas": 2, "targetDepthPerWorker": None}}, "spec.scaling", "at least one target"),
        ({"queues": []}, "spec.queues", "should have at least 1 items"),
        ({"queues": ["a", "a"]}, "spec.queues", "Duplicate value"),
        ({"queues": [""]}, "spec.queues", "should be at least 1 chars long"),
        ({"redis": {"urlFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}}, "spec.redis", "exactly one of url, urlFrom, sentinel"),
        ({"redis": {"url": None}}, "spec.redis", "exactly one of url, urlFrom, sentinel"),
        ({"redis": {"url": "http://redis"}}, "spec.redis.url", "should match"),
        ({"redis": {"tls": {}}}, "spec.redis", "tls needs a rediss:// or rediss+sentinel:// url"),
        ({"redis": {"url": "rediss://r", "tls": {"caFrom": {}}}}, "spec.redis.tls.caFrom", "exactly one of secretKeyRef, configMapKeyRef"),
        ({"scaling": {"maxReplicas": 0}}, "spec.scaling.maxReplicas", "greater than or equal to 1"),
        ({"worker": {"abandoned": "Forget"}}, "spec.worker.abandoned", "Unsupported value"),
        ({"worker": {"graceSeconds": 0}}, "spec.worker.graceSeconds", "greater than or equal to 1"),
        ({"scaling": {"maxReplica": 3}}, "spec.scaling.maxReplica", "unknown field"),
    ],
)  # fmt: skip
def test_an_invalid_pool_is_refused_with_the_field_named(
    namespace: Client, operator: Operator, changes: dict[str, Any], field: str, words: str
) -> None:
    manifest = Shop(namespace).manifest(**changes)
    with pytest.raises(CommandFailed) as refusal:
        namespace.apply(manifest, "--validate=strict", "--dry-run=server")
    assert field in str(refusal.value)
    assert words in str(refusal.value)


def test_a_template_that_the_server_refuses_is_shown(shop: Shop) -> None:
    containers = [
        {"name": "worker", "imagePullPolicy": "Never"},
        {"name": "side", "image": "x", "ports": [{"containerPort": 99999}]},
    ]
    pool = shop.pool(wait=False, template={"spec": {"containers": containers}})
    _, reason, message = pool.wait_condition("TemplateValid", "False", 20)
    assert reason == "Rejected"
    assert "containerPort" in message
    pool.patch(template={"spec": {"containers": containers[:1]}})
    pool.wait_condition("TemplateValid", "True", 20)
    pool.wait_condition("Ready", "True", 20)
    # Once it is there, one that is refused and then changed back leaves nothing to write, but something to say.
    pool.patch(template={"spec": {"containers": containers}})
    pool.wait_condition("TemplateValid", "False", 20)
    wait_for(lambda: shop.events("Rejected"), 20, "an event that says so")
    pool.patch(template={"spec": {"containers": containers[:1]}})
    pool.wait_condition("TemplateValid", "True", 20)
    pool.wait_condition("Ready", "True", 20)


def test_an_edited_deployment_is_set_right_and_a_deleted_one_made_again(shop: Shop) -> None:
    pool = shop.pool(scaling={"minReplicas": 1})
    pool.wait_ready(1)
    edit = {"spec": {"template": {"spec": {"containers": [{"name": "worker", "image": "example.com/other:1"}]}}}}
    shop.client.kubectl("patch", "deployment", "pool", "--type=strategic", "-p", json.dumps(edit))

    def image() -> str:
        spec = shop.client.get("deployment", "pool")["spec"]["template"]["spec"]
        return str(spec["containers"][0]["image"])

    wait_for(lambda: image() == APP, 20, "the image set back")
    assert pool.replicas() == 1
    wait_for(lambda: shop.events("EditReverted"), 20, "an event that says so")
    shop.client.kubectl("delete", "deployment", "pool", "--wait=false")
    pool.wait_ready(1)


def test_a_field_that_another_tool_declares_is_shown_and_not_fought_over(shop: Shop) -> None:
    pool = shop.pool(scaling={"minReplicas": 1})
    pool.wait_ready(1)
    theirs: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": pool.name}}
    flags = ("--server-side", "--field-manager=gitops", "--force-conflicts")
    strategy = {"rollingUpdate": {"maxSurge": "50%"}}
    shop.client.apply({**theirs, "spec": {"strategy": strategy}}, *flags)
    _, reason, message = pool.wait_condition("Ready", "False", 20)
    assert reason == "FieldConflict"
    assert "gitops" in message
    assert "maxSurge" in message
    wait_for(lambda: shop.events("FieldConflict"), 20, "an event that says so")

    def surge() -> str:
        return str(shop.client.get("deployment", pool.name)["spec"]["strategy"]["rollingUpdate"]["maxSurge"])

    assert steady(surge, 5, "what the other tool wrote") == "50%"
    ids = shop.enqueue(3, 0.1)
    shop.wait_statuses(ids, "finished", 60)  # its size is still ours to set
    shop.client.apply(theirs, *flags)
    pool.wait_condition("Ready", "True", 100)
    assert surge() == "25%"


def test_a_deployment_of_that_name_that_is_somebody_elses_is_left_alone(shop: Shop) -> None:
    shop.start_redis("taken")
    uid = shop.client.get("deployment", "taken")["metadata"]["uid"]
    pool = shop.pool("taken", wait=False, scaling={"minReplicas": 1})
    _, reason, message = pool.wait_condition("Ready", "False", 30)
    assert reason == "NameTaken"
    assert "taken" in message
    found = json.loads(shop.client.kubectl("get", "deployment", "taken", "-o", "json", "--show-managed-fields"))
    assert found["metadata"]["uid"] == uid
    assert "ownerReferences" not in found["metadata"]
    assert {it["manager"] for it in found["metadata"]["managedFields"]}.isdisjoint({"rqk-operator", "rqk-autoscaler"})
    shop.client.kubectl("delete", "deployment", "taken", "--wait=false")
    pool.wait_condition("Ready", "True", 60)
    pool.wait_ready(1)


def test_a_pod_that_was_taken_out_of_its_pool_holds_nothing_up(shop: Shop) -> None:
    """As people do to look at one in peace: without the label its ReplicaSet lets it go and makes another one."""
    pool = shop.pool(scaling={"minReplicas": 2})
    taken = pool.wait_ready(2)[0]["metadata"]["name"]
    shop.client.kubectl("label", "pod", taken, "pod-template-hash-")
    pool.wait_ready(3)
    pool.patch(scaling={"minReplicas": 0})
    pool.wait_replicas(0, 60)
    wait_for(lambda: [it["metadata"]["name"] for it in pool.live_pods()] == [taken], 60, "all others to go")
    shop.client.kubectl("delete", "pod", taken, "--wait=false")


def owner(shop: Shop, name: str) -> str:
    """Uid of the pool that the Deployment belongs to."""
    found = shop.client.find("deployment", name) or {"metadata": {}}
    return next((str(it["uid"]) for it in found["metadata"].get("ownerReferences", ())), "")


def test_a_pool_that_is_deleted_and_made_again_at_once_is_a_new_one(shop: Shop) -> None:
    pool = shop.pool(scaling={"minReplicas": 1})
    (old,) = pool.wait_ready(1)
    pool.delete()
    wait_for(lambda: shop.client.find("rqwp", pool.name) is None, 10, "the pool to go", pause=0.05)
    pool = shop.pool(scaling={"minReplicas": 2})
    wait_for(lambda: owner(shop, pool.name) == pool.get()["metadata"]["uid"], 30, "a Deployment of its own")
    workers = pool.wait_ready(2)
    assert old["metadata"]["uid"] not in {it["metadata"]["uid"] for it in workers}
    ids = shop.enqueue(3, 0.1)
    shop.wait_statuses(ids, "finished", 60)
    pool.patch(scaling={"minReplicas": 0})
    pool.wait_replicas(0, 60)


def test_a_pool_that_leaves_its_workers_behind_finds_them_when_it_is_made_again(shop: Shop) -> None:
    pool = shop.pool(scaling={"minReplicas": 2})
    before = {it["metadata"]["uid"] for it in pool.wait_ready(2)}
    pool.delete("--cascade=orphan")
    wait_for(lambda: shop.client.find("rqwp", pool.name) is None, 20, "the pool to go")
    assert steady(pool.replicas, 3, "the size of what is nobody's") == 2
    pool = shop.pool(scaling={"minReplicas": 2})
    wait_for(lambda: owner(shop, pool.name) == pool.get()["metadata"]["uid"], 30, "its Deployment to be taken over")
    assert {it["metadata"]["uid"] for it in pool.wait_ready(2)} == before, "workers were started anew for nothing"
    pool.patch(scaling={"minReplicas": 0})
    pool.wait_replicas(0, 60)
    pool.wait_gone()


def test_a_pool_with_the_longest_name_works_and_a_longer_one_is_refused(shop: Shop) -> None:
    pool = shop.pool("n" * 63)
    ids = shop.enqueue(2, 0.1)
    shop.wait_statuses(ids, "finished", 60)
    pool.wait_replicas(0, 60)
    with pytest.raises(CommandFailed) as refusal:
        shop.client.apply(shop.manifest("n" * 64), "--dry-run=server")
    assert "metadata.name" in str(refusal.value)


def test_a_pool_that_nothing_happens_to_is_not_written(shop: Shop) -> None:
    """Neither at zero nor with an idle worker: no status, no Deployment, no event."""
    pools = [shop.pool("asleep", queues=["a"]), shop.pool("awake", queues=["b"], scaling={"minReplicas": 1})]
    pools[1].wait_ready(1)
    wait_for(lambda: pools[1].status.get("readyReplicas") == 1, 30, "the status")

    def versions() -> list[str]:
        things = [shop.client.get(kind, pool.name) for pool in pools for kind in ("rqwp", "deployment")]
        return [it["metadata"]["resourceVersion"] for it in things]

    def settled() -> list[str] | None:
        """What the last seconds brought (a count, `Steady` after `Minimum`) is over."""
        try:
            return list(steady(versions, 8, "something"))
        except AssertionError:
            return None

    wait_for(settled, 60, "nothing written for eight seconds")

    def events() -> set[tuple[str, int]]:
        found = [it for it in shop.client.items("events") if it["involvedObject"]["kind"] == "RQWorkerPool"]
        return {(it["metadata"]["uid"], it["count"]) for it in found}

    before = events()
    steady(versions, 20, "a version")
    assert events() == before


def test_sidecars_and_a_volume_at_two_places_reach_the_pods(shop: Shop) -> None:
    quiet = {"imagePullPolicy": "Never", "securityContext": CONTAINER_SECURITY}
    wait = ["python3", "-c", "import signal; signal.signal(15, lambda *_: exit(0)); signal.pause()"]
    template = {
        "metadata": {"labels": {"team": "media", "rqk.dev/pool": "stolen"}},
        "spec": {
            "initContainers": [{"name": "before", "image": APP, "command": ["true"], **quiet}],
            "containers": [
                {"name": "side", "image": APP, "command": wait, **quiet},
                {
                    "name": "worker",
                    "imagePullPolicy": "Never",
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/in", "subPath": "in"},
                        {"name": "data", "mountPath": "/out", "subPath": "out"},
                    ],
                    "livenessProbe": {"exec": {"command": ["true"]}},
                },
            ],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }
    pool = shop.pool(template=template, scaling={"minReplicas": 1})
    (pod,) = pool.wait_ready(1)
    assert pod["metadata"]["labels"]["team"] == "media"
    assert pod["metadata"]["labels"]["rqk.dev/pool"] == pool.name
    said = shop.client.exec(pod["metadata"]["name"], "ls", "-d", "/in", "/out", "/tmp", container="worker")
    assert said.split() == ["/in", "/out", "/tmp"]
    ids = shop.enqueue(2, 0.1)
    shop.wait_statuses(ids, "finished", 60)
    pool.patch(scaling={"minReplicas": 0})
    pool.wait_replicas(0, 60)
    pool.wait_gone()


def test_a_pool_that_is_deleted_in_mid_job_goes_and_the_job_is_not_lost(shop: Shop) -> None:
    pool = shop.pool(worker={"graceSeconds": 8})
    (short,) = shop.enqueue(1, 3.0, func="begin_and_nap")
    (long,) = shop.enqueue(1, 60.0, func="begin_and_nap")
    wait_for(lambda: len(shop.ran("begun")) == 2, 60, "both jobs to begin", pause=0.5)
    pool.delete()
    wait_for(lambda: shop.client.find("rqwp", "pool") is None, 10, "the pool to go")
    pool.wait_gone(40)
    assert shop.client.find("deployment", "pool") is None
    assert shop.statuses([short, long]) == {short: "finished", long: "queued"}


def test_a_pool_that_is_deleted_while_the_operator_is_down_goes_too(shop: Shop, operator: Operator) -> None:
    pool = shop.pool(scaling={"minReplicas": 1})
    pool.wait_ready(1)
    (job,) = shop.enqueue(1, 15.0, func="begin_and_nap")
    wait_for(lambda: shop.ran("begun"), 60, "the job to begin", pause=0.5)
    operator.scale(0)
    try:
        pool.delete()
        wait_for(lambda: shop.client.find("rqwp", "pool") is None, 10, "the pool to go")
        pool.wait_gone(60)
        assert shop.statuses([job]) == {job: "finished"}
    finally:
        operator.scale(2)
    assert shop.client.find("deployment", "pool") is None
    shop.pool(scaling={"minReplicas": 1}).wait_ready(1)


def test_the_optional_children_come_and_go(shop: Shop) -> None:
    pool = shop.pool(wait=False, podDisruptionBudget={"maxUnavailable": 1}, networkPolicy={}, podMonitor={})
    wait_for(lambda: shop.client.find("pdb", "pool") and shop.client.find("networkpolicy", "pool"), 20, "both")
    if shop.client.find("crd", "podmonitors.monitoring.coreos.com") is None:
        assert "CRDs are not installed" in pool.wait_condition("Ready", "False", 20)[2]
    pool.patch(podDisruptionBudget=None, networkPolicy=None, podMonitor=None)
    wait_for(
        lambda: not shop.client.find("pdb", "pool") and not shop.client.find("networkpolicy", "pool"), 20, "neither"
    )
    pool.wait_condition("Ready", "True", 90)


def test_an_object_of_somebody_elses_is_not_taken_over(shop: Shop) -> None:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "theirs"}}}
    shop.client.apply(
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "pool"}, "spec": spec}
    )
    pool = shop.pool(wait=False, podDisruptionBudget={"maxUnavailable": 1})
    reason, message = pool.wait_condition("Ready", "False", 30)[1:]
    assert reason == "NameTaken"
    assert "PodDisruptionBudget named pool" in message
    theirs = shop.client.get("pdb", "pool")
    assert theirs["spec"]["selector"] == spec["selector"]
    assert "ownerReferences" not in theirs["metadata"]
    shop.client.kubectl("delete", "pdb", "pool")
    pool.wait_condition("Ready", "True", 90)
    assert shop.client.get("pdb", "pool")["metadata"]["ownerReferences"][0]["name"] == "pool"


def test_what_kubectl_shows(shop: Shop) -> None:
    pool = shop.pool(scaling={"minReplicas": 1})
    pool.wait_ready(1)
    wait_for(lambda: pool.status.get("readyReplicas") == 1, 15, "the status")
    table = shop.client.kubectl("get", "rqwp")
    assert table.split("\n")[0].split() == [
        "NAME",
        "QUEUES",
        "DEPTH",
        "WAIT",
        "BUSY",
        "READY",
        "DESIRED",
        "REASON",
        "AGE",
    ]
    assert "pool" in shop.client.kubectl("get", "all")
    scale = json.loads(shop.client.kubectl("get", "rqwp", "pool", "-o", "json"))["status"]
    assert scale["selector"] == "rqk.dev/pool=pool"
    (pod,) = pool.live_pods()
    assert condition(pod, "Ready") == "True"
    assert "lastDecision" in scale or "Last Decision" in shop.client.kubectl("describe", "rqwp", "pool")
