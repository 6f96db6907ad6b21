"""What goes wrong in clusters: memory, nodes, Redis, the operator itself, Secrets."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.cluster.operating import Operator
from tests.cluster.shop import QUICK, Departures, Shop, steady
from tests.kube.access import Access
from tests.kube.client import wait_for


def begun(shop: Shop, count: int, timeout: float = 60.0) -> None:
    wait_for(lambda: len(shop.ran("begun")) >= count, timeout, f"{count} jobs to begin", pause=0.5)


def statuses(shop: Shop) -> list[dict[str, Any]]:
    return [pod["status"] for pod in shop.client.items("pods", "rqk.dev/pool=pool")]


def failure(shop: Shop, job: str) -> str:
    """What stands in the result of a failed job."""
    text: str = shop.run(
        f'answer = (client.xrevrange("rq:results:{job}", count=1) or [(0, {{}})])[0][1].get(b"exc_string", b"")\n'
        "import zlib, base64\n"
        "answer = zlib.decompress(base64.b64decode(answer)).decode() if answer else ''"
    )
    return text


def test_a_job_that_eats_all_memory_fails_and_says_so_and_others_go_on(shop: Shop) -> None:
    """The limit of the pod: the kernel kills in it whom it likes, the worker too."""
    resources = {"requests": {"cpu": "1m"}, "limits": {"memory": "96Mi"}}
    pool = shop.pool(worker={"resources": resources}, scaling={"maxReplicas": 3})
    others = shop.enqueue(2, 15.0, func="begin_and_nap")
    begun(shop, 2)
    (eater,) = shop.run('answer = [queue().enqueue("shop.eat", 512).id]')
    shop.wait_statuses([eater], "failed", 60)
    said = failure(shop, eater)
    assert "memory" in said.lower() or "OOMKilled" in said, said
    shop.wait_statuses(others, "finished", 60)
    assert set(shop.ran("begun").values()) == {1}, "another job was touched"
    assert list(shop.ran().values()) == [1, 1]
    pool.wait_replicas(0, 90)


def test_a_worker_that_is_killed_is_noticed_at_once(shop: Shop) -> None:
    """The whole container dies: its job is settled from the pod's state, long before its lease ends."""
    shop.pool(worker={"abandoned": "Requeue"}, scaling={"maxReplicas": 1, "scaleDown": QUICK})
    (job,) = shop.enqueue(1, 20.0, func="begin_and_nap")
    begun(shop, 1)
    (pod,) = shop.client.items("pods", "rqk.dev/pool=pool")
    # A second is less than the job needs: then the kubelet kills all processes of the container at once.
    shop.client.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=1", "--wait=false")
    started = time.monotonic()
    begun(shop, 1)
    wait_for(lambda: sum(shop.ran("begun").values()) == 2, 25, "the job to begin again", pause=0.5)
    assert time.monotonic() - started < 25, "found by the end of its lease only"
    shop.wait_statuses([job], "finished", 60)


def test_the_job_of_an_evicted_pod_is_settled_at_once(shop: Shop, cluster: Access) -> None:
    """The kubelet's own eviction: the pod stays, failed, and its worker dies in the middle of a job."""
    if cluster.own is None:
        pytest.skip("a cluster that was handed over may look at the pods' storage seldom, or never")
    pool = shop.pool(worker={"resources": {"limits": {"ephemeral-storage": "8Mi"}}}, scaling={"maxReplicas": 1})
    (job,) = shop.run('answer = [queue().enqueue("shop.fill", "w", 32).id]')
    begun(shop, 1)
    wait_for(lambda: "Evicted" in [pod.get("reason") for pod in statuses(shop)], 90, "the kubelet to evict the pod")
    shop.wait_statuses([job], "failed", 15)  # its lease alone would keep it for 30 s
    assert re.search(r"pod \S+ failed: Evicted", failure(shop, job))
    pool.wait_replicas(0, 90)
    shop.enqueue(1, 0.0)
    wait_for(lambda: len(shop.ran()) == 1, 60, "the next job to run in another pod")


def test_a_drained_node_lets_jobs_end_or_puts_them_back(shop: Shop, cluster: Access) -> None:
    if cluster.own is None:
        pytest.skip("the node of a cluster that was handed over is not ours to drain")
    pool = shop.pool(worker={"graceSeconds": 12}, scaling={"maxReplicas": 2})
    (short,) = shop.enqueue(1, 8.0, func="begin_and_nap")
    (long,) = shop.enqueue(1, 40.0, func="begin_and_nap")
    begun(shop, 2)
    node = cluster.node()
    try:
        node.drain(f"--pod-selector=rqk.dev/pool={pool.name}", "--timeout=60s")
        assert shop.statuses([short, long]) == {short: "finished", long: "queued"}
    finally:
        node.uncordon()
    shop.wait_statuses([long], "finished", 120)
    assert sum(shop.ran("begun").values()) == 3
    assert set(shop.ran().values()) == {1}


def test_a_stopped_kubelet_loses_no_job(shop: Shop, cluster: Access) -> None:
    if cluster.own is None:
        pytest.skip("the node of a cluster that was handed over is not ours to stop")
    pool = shop.pool(scaling={"maxReplicas": 2, "minReplicas": 1})
    pool.wait_ready(1)
    (job,) = shop.enqueue(1, 20.0, func="begin_and_nap")
    begun(shop, 1)
    node = cluster.node()
    node.stop_kubelet()
    try:
        node.wait_ready(wanted=False, timeout=60)
    finally:
        node.start_kubelet()
    node.wait_ready(timeout=60)
    shop.wait_statuses([job], "finished", 60)
    assert set(shop.ran().values()) == {1}
    pool.wait_ready(1)


def test_redis_goes_down_and_comes_back(shop: Shop) -> None:
    pool = shop.pool(scaling={"minReplicas": 1, "maxReplicas": 4})
    pool.wait_ready(1)
    shop.client.kubectl("scale", "deployment/redis", "--replicas=0")
    pool.wait_condition("RedisReachable", "False", 30)
    assert pool.condition("ScalingActive")[:2] == ("False", "RedisUnreachable")
    wait_for(lambda: shop.events("Unreachable"), 20, "an event that says so")
    assert steady(pool.replicas, 5, "the size") == 1, "what is unknown is not zero"
    shop.client.kubectl("scale", "deployment/redis", "--replicas=1")
    shop.client.wait_ready("app=redis")
    pool.wait_condition("RedisReachable", "True", 45)
    ids = shop.enqueue(3, 0.1)
    shop.wait_statuses(ids, "finished", 60)
    pool.wait_condition("Ready", "True", 30)


def test_a_queue_that_cannot_be_read_holds_its_pool(shop: Shop) -> None:
    pool = shop.pool(queues=["default", "broken"], scaling={"minReplicas": 1})
    pool.wait_ready(1)
    shop.run('client.set("rq:queue:broken", "not a list")')
    found = pool.wait_condition("ScalingActive", "False", 15)
    assert found[1] == "Unreadable"
    assert "broken" in found[2]
    pool.patch(scaling={"minReplicas": 0})
    assert steady(pool.replicas, 6, "the size") == 1
    shop.run('client.delete("rq:queue:broken")')
    pool.wait_condition("ScalingActive", "True", 15)
    pool.wait_replicas(0, 60)


def test_the_operator_is_killed_in_mid_burst(shop: Shop, operator: Operator) -> None:
    pool = shop.pool(scaling={"maxReplicas": 6, "targetDepthPerWorker": 10, "scaleDown": QUICK})
    with Departures(shop) as departures:
        ids = shop.enqueue(200, 0.2)
        pool.wait_replicas(6, 20)
        for name in operator.pods():
            operator.client.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")
        assert "finished" not in set(shop.statuses(ids[-20:]).values()), "the burst was over before"
        shop.wait_statuses(ids, "finished", 120)
        operator.wait_ready()
        pool.wait_replicas(0, 90)
        pool.wait_gone()
    assert departures.victims() == [], "a busy worker was told to go"
    assert len(shop.ran()) == 200
    assert set(shop.ran().values()) == {1}


def test_a_lost_leader_is_replaced_within_twenty_seconds(shop: Shop, operator: Operator) -> None:
    pool = shop.pool(scaling={"maxReplicas": 3})
    leader = operator.leader()
    assert leader is not None
    ids = shop.enqueue(1, 0.1)
    shop.wait_statuses(ids, "finished", 60)
    pool.wait_replicas(0, 60)
    started = time.monotonic()
    operator.client.kubectl("delete", "pod", leader, "--grace-period=0", "--force", "--wait=false")
    ids = shop.enqueue(3, 0.1)
    pool.wait_replicas(3, 25)
    took = time.monotonic() - started
    assert took < 20, f"{took:.1f} s without a leader"
    assert operator.leader() != leader
    shop.wait_statuses(ids, "finished", 60)


def test_a_new_leader_corrects_what_the_old_one_reported(shop: Shop, operator: Operator) -> None:
    """The second one first saw the pool while all was well, and all is well again when it takes over."""
    pool = shop.pool(scaling={"minReplicas": 1})
    pool.wait_ready(1)
    leader = operator.leader()
    (second,) = (name for name in operator.pods() if name != leader)
    operator.client.kubectl("delete", "pod", second, "--wait=false")
    wait_for(lambda: second not in operator.pods(), 60, "the second one to go")
    operator.wait_ready()
    assert operator.leader() == leader
    shop.client.kubectl("scale", "deployment/redis", "--replicas=0")
    pool.wait_condition("RedisReachable", "False", 30)
    operator.client.kubectl("delete", "pod", str(leader), "--grace-period=0", "--force", "--wait=false")
    shop.client.kubectl("scale", "deployment/redis", "--replicas=1")
    shop.client.wait_ready("app=redis")
    pool.wait_condition("RedisReachable", "True", 60)
    pool.wait_condition("Ready", "True", 30)


def test_a_url_without_tls_in_a_secret_of_a_pool_with_tls_is_told(shop: Shop) -> None:
    secret(shop, "login", "x", server="redis")
    pool = shop.pool(wait=False, redis={**FROM_SECRET, "tls": {"insecureSkipVerify": True}})
    _, reason, message = pool.wait_condition("RedisReachable", "False", 30)
    assert reason == "SourceMissing"
    assert "no rediss:// URL" in message


def secret(shop: Shop, name: str, password: str, server: str = "locked") -> None:
    url = f"redis://:{password}@{server}.{shop.client.namespace}.svc:6379/0"
    shop.client.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"url": url}})


FROM_SECRET = {"url": None, "urlFrom": {"secretKeyRef": {"name": "login", "key": "url"}}}


def test_a_rotated_secret_is_followed_by_operator_and_workers(shop: Shop) -> None:
    shop.start_redis("locked", "--requirepass", "first")
    secret(shop, "login", "first")
    pool = shop.pool(redis=FROM_SECRET, scaling={"minReplicas": 1})
    (before,) = pool.wait_ready(1)
    url = f"redis://:first@locked.{shop.client.namespace}.svc:6379/0"
    # As an administrator would: the new password in the server, everybody with the old one thrown out.
    shop.run(
        'client.config_set("requirepass", "second"); client.execute_command("AUTH", "second"); client.client_kill_filter(_type="normal", skipme=True)',
        url=url,
    )
    pool.wait_condition("RedisReachable", "False", 30)
    secret(shop, "login", "second")
    pool.wait_condition("RedisReachable", "True", 90)
    wait_for(
        lambda: [it["metadata"]["uid"] for it in pool.live_pods()] not in ([], [before["metadata"]["uid"]]), 60, "a worker with the new password"
    )  # fmt: skip
    url = url.replace("first", "second")
    ids = shop.enqueue(2, 0.1, url=url)
    shop.wait_statuses(ids, "finished", 90, url=url)


def test_a_deleted_secret_is_told_and_its_return_heals(shop: Shop) -> None:
    secret(shop, "login", "", server="redis")
    pool = shop.pool(redis=FROM_SECRET)
    shop.client.kubectl("delete", "secret", "login")
    pool.patch(scaling={"maxReplicas": 7})  # makes the operator read it at once instead of within a minute
    _, reason, message = pool.wait_condition("RedisReachable", "False", 90)
    assert (reason, message) == ("SourceMissing", "Secret login does not exist")
    wait_for(lambda: shop.events("SourceMissing"), 20, "an event that says so")
    secret(shop, "login", "", server="redis")
    pool.wait_condition("RedisReachable", "True", 90)
    ids = shop.enqueue(1, 0.1)
    shop.wait_statuses(ids, "finished", 60)


def test_the_operator_can_read_no_secret_beyond_get(operator: Operator, namespace: object) -> None:
    def may(verb: str, what: str) -> bool:
        words = ("auth", "can-i", verb, what, "--as=system:serviceaccount:rqk-system:rqk-operator", "-n", "default")
        try:
            return operator.client.kubectl(*words).strip() == "yes"
        except Exception as error:  # kubectl says no with an exit code
            return "yes" in str(error).splitlines()

    assert may("get", "secrets")
    for verb, what in (
        ("list", "secrets"), ("watch", "secrets"), ("update", "secrets"), ("create", "pods"), ("delete", "pods"),
        ("delete", "deployments"), ("create", "pods/exec"), ("patch", "rqworkerpools"), ("get", "nodes"),
        ("create", "clusterrolebindings"), ("update", "leases"),
    ):  # fmt: skip
        assert not may(verb, what), f"the operator may {verb} {what}"


def test_a_namespaced_operator_cannot_read_the_secrets_of_others(shop: Shop, operator: Operator) -> None:
    """The rights of the namespaced overlay, tried on the API server itself."""
    import yaml

    from tests.kube.settings import PROJECT

    shop.client.kubectl("create", "serviceaccount", "small")
    rules = yaml.safe_load((PROJECT / "manifests/overlays/namespaced/role.yaml").read_text().split("---")[0])["rules"]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "small"}, "rules": rules}
    shop.client.apply(role)
    account = f"system:serviceaccount:{shop.client.namespace}:small"
    shop.client.kubectl(
        "create", "rolebinding", "small", "--role=small", f"--serviceaccount={shop.client.namespace}:small"
    )
    secret(shop, "mine", "x")
    answer = json.loads(shop.client.kubectl("get", "secret", "mine", "-o", "json", f"--as={account}"))
    assert answer["metadata"]["name"] == "mine"
    with pytest.raises(Exception, match=r"[Ff]orbidden"):
        operator.client.kubectl("get", "secret", "any", f"--as={account}")
