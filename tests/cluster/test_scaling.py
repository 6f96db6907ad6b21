"""Scaling on a real cluster: from zero to many and back with nobody busy killed, by queues and by hand."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from statistics import median
from typing import Self

from tests.cluster.conftest import Figure
from tests.cluster.shop import QUICK, Departures, Shop, steady
from tests.kube.access import Access
from tests.kube.client import Client, wait_for


def killed_workers(shop: Shop) -> list[str]:
    """Jobs that lost their worker, by what stands in their failure."""
    return [event["message"] for event in shop.events("WorkerDied")]


def test_five_hundred_jobs_from_zero_and_back_to_zero(shop: Shop, figure: Figure) -> None:
    pool = shop.pool(scaling={"maxReplicas": 10, "targetDepthPerWorker": 20, "scaleDown": QUICK})
    assert pool.replicas() == 0
    with Departures(shop) as departures:
        ids = shop.enqueue(500, 0.05)
        pool.wait_replicas(10, 10)
        shop.wait_statuses(ids, "finished", 120)
        pool.wait_replicas(0, 60)
        pool.wait_gone()
    assert departures.pods, "the watch saw none of the workers leave"
    assert departures.victims() == [], "a busy worker was told to go"
    ran = shop.ran()
    assert len(ran) == 500, "a job was lost"
    assert set(ran.values()) == {1}, "a job ran twice: its worker was killed"
    assert killed_workers(shop) == []
    assert pool.condition("Ready")[0] == "True"
    figure(f"500 jobs, 0 -> 10 -> 0 pods: 0 lost, 0 busy workers told to go, {len(departures.pods)} pods seen leaving")


def test_busy_workers_survive_every_shrinking(shop: Shop) -> None:
    """Long and short jobs mixed: the pool shrinks again and again while the long ones run."""
    pool = shop.pool(scaling={"maxReplicas": 8, "targetDepthPerWorker": 1, "scaleDown": QUICK})
    with Departures(shop) as departures:
        long = shop.hold(2)
        short = shop.enqueue(6, 0.5)
        pool.wait_replicas(8, 10)
        pool.wait_replicas(2, 90)
        short += shop.enqueue(4, 0.5)
        pool.wait_replicas(lambda now: now >= 4, 20)
        shop.wait_statuses(short, "finished", 90)
        pool.wait_replicas(2, 90)
        shop.let_go()
        shop.wait_statuses(long, "finished", 30)
        pool.wait_replicas(0, 60)
        pool.wait_gone()
    assert len(departures.pods) >= 8, "the pool did not shrink twice"
    assert departures.victims() == [], "a busy worker was told to go"
    assert set(shop.ran().values()) == {1}
    assert killed_workers(shop) == []


def test_an_enqueue_patches_the_deployment_within_a_fifth_of_a_second(
    shop: Shop, cluster: Access, figure: Figure
) -> None:
    pool = shop.pool(scaling={"maxReplicas": 1, "scaleDown": {"stabilizationSeconds": 0, "toZeroAfterSeconds": 0}})
    reactions: list[float] = []
    for _ in range(5):
        pool.wait_gone()
        with Watched(shop.client, pool.name) as watched:
            watched.wait_for(0)
            # The enqueuing pod and we share a clock only on a cluster of this machine.
            enqueued = shop.run('q = queue(); at = time.time(); q.enqueue("shop.nap", str(at), 0.0); answer = at')
            reactions.append(watched.wait_for(1) - enqueued)
        pool.wait_replicas(0, 60)
    said = ", ".join(f"{reaction * 1000:.0f}" for reaction in sorted(reactions))
    figure(f"enqueue to patched Deployment: {said} ms; median {median(reactions) * 1000:.0f} ms")
    if cluster.own is not None:
        assert median(reactions) <= 0.2


class Watched:
    """The number of replicas as a watch tells it, with the time at which it was told."""

    def __init__(self, client: Client, name: str) -> None:
        self._seen: list[tuple[float, int]] = []
        path = "jsonpath={.spec.replicas}{'\\n'}"
        self._process = subprocess.Popen(
            [client.kubectl_program, f"--kubeconfig={client.kubeconfig}", f"--namespace={client.namespace}",
             "get", "deployment", name, "--watch", "-o", path],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._seen.append((time.time(), int(line.strip() or 0)))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._thread.join()
        self._process.wait()

    def wait_for(self, replicas: int, timeout: float = 20.0) -> float:
        """When the watch first told this number."""
        wait_for(lambda: any(it == replicas for _, it in self._seen), timeout, f"{replicas} replicas", pause=0.01)
        return next(at for at, it in self._seen if it == replicas)


def test_twenty_workers_are_asked_for_in_one_step(shop: Shop, figure: Figure) -> None:
    pool = shop.pool(scaling={"maxReplicas": 20, "targetDepthPerWorker": 1, "scaleDown": QUICK})
    with Watched(shop.client, pool.name) as watched:
        watched.wait_for(0)
        shop.run(
            'from rqk import Queue\nq = queue()\nq.enqueue_many([Queue.prepare_data("shop.nap", (str(n), 0.1)) for n in range(20)])'
        )
        watched.wait_for(20)
        sizes = [size for _, size in watched._seen]
    assert [size for index, size in enumerate(sizes) if index == 0 or sizes[index - 1] != size] == [0, 20]
    wait_for(lambda: len(pool.pods()) == 20, 20, "20 pods")

    def steps() -> list[str]:
        """What the Deployment's own controller did."""
        return [it["message"] for it in shop.events("ScalingReplicaSet") if it["involvedObject"]["name"] == pool.name]

    wait_for(steps, 10, "the controller's event")
    up = [it for it in steps() if it.startswith("Scaled up")]
    assert len(up) == 1, up
    assert "20" in up[0].split()
    figure(f"0 -> 20 pods in one step: {up[0]}")


def test_two_pools_on_one_redis_keep_to_their_queues(shop: Shop) -> None:
    red = shop.pool("red", queues=["red"])
    blue = shop.pool("blue", queues=["blue"])
    ids = shop.enqueue(3, 0.1, queue="red")
    red.wait_replicas(lambda now: now >= 3, 10)
    shop.wait_statuses(ids, "finished", 60)
    assert blue.replicas() == 0
    assert blue.pods() == []
    red.wait_replicas(0, 60)


def test_one_pool_whose_redis_is_unreachable_does_not_hold_up_others(shop: Shop) -> None:
    lost = shop.pool("lost", wait=False, redis={"url": "redis://10.244.0.250:6379/0"})
    nameless = shop.pool("nameless", wait=False, redis={"url": "redis://no-such-host.example:6379/0"})
    well = shop.pool("well")
    lost.wait_condition("RedisReachable", "False", 30)
    assert nameless.wait_condition("RedisReachable", "False", 30)[1] == "Unreachable"
    ids = shop.enqueue(4, 0.1)
    started = time.monotonic()
    well.wait_replicas(4, 10)
    assert time.monotonic() - started < 5
    shop.wait_statuses(ids, "finished", 60)
    assert lost.condition("ScalingActive")[:2] == ("False", "RedisUnreachable")
    assert lost.condition("Ready")[0] == "False"


def test_a_size_by_hand_rules_until_it_is_taken_back(shop: Shop) -> None:
    pool = shop.pool()
    shop.client.kubectl("scale", "rqwp/pool", "--replicas=2")
    pool.wait_ready(2)
    assert pool.status["lastDecision"]["reason"] == "Manual"
    assert pool.condition("ScalingActive")[:2] == ("False", "Manual")
    pool.patch(replicas=None)
    pool.wait_replicas(0, 60)
    assert pool.wait_condition("ScalingActive", "True", 20)


def test_a_deployment_scaled_by_hand_follows_its_queues_again(shop: Shop) -> None:
    pool = shop.pool()
    shop.client.kubectl("scale", "deployment/pool", "--replicas=3")
    assert pool.replicas() == 3
    pool.wait_replicas(0, 60)
    ids = shop.enqueue(2, 0.1)
    shop.wait_statuses(ids, "finished", 60)


def test_a_new_template_lets_long_jobs_end(shop: Shop) -> None:
    pool = shop.pool(scaling={"maxReplicas": 2})
    ids = shop.hold(2)
    wait_for(lambda: len(shop.ran("begun")) == 2, 60, "both jobs to begin", pause=0.5)
    before = {pod["metadata"]["uid"] for pod in pool.pods()}
    pool.patch(worker={"env": [{"name": "COLOUR", "value": "green"}]})
    wait_for(lambda: {pod["metadata"]["uid"] for pod in pool.live_pods()}.isdisjoint(before), 60, "new workers")
    shop.let_go()
    shop.wait_statuses(ids, "finished", 60)
    assert set(shop.ran().values()) == {1}, "a job was put back although there was time"
    pool.wait_gone()


def test_a_dry_run_decides_and_does_nothing(shop: Shop) -> None:
    pool = shop.pool(scaling={"dryRun": True})
    shop.enqueue(3, 0.1)
    wait_for(lambda: pool.status.get("desiredReplicas") == 3, 15, "the decision")
    assert steady(pool.replicas, 3, "the size") == 0
    assert pool.condition("ScalingActive")[:2] == ("False", "DryRun")
    pool.patch(scaling={"dryRun": False})
    pool.wait_replicas(3, 10)


def test_a_paused_pool_keeps_its_size(shop: Shop) -> None:
    pool = shop.pool()
    shop.client.kubectl("annotate", "rqwp", "pool", "rqk.dev/paused=true")
    pool.wait_condition("ScalingActive", "False", 15)
    ids = shop.enqueue(2, 0.1)
    assert steady(pool.replicas, 3, "the size") == 0
    shop.client.kubectl("annotate", "rqwp", "pool", "rqk.dev/paused-")
    shop.wait_statuses(ids, "finished", 60)


def test_a_deployment_that_is_deleted_comes_back_with_the_size_at_which_its_pool_is_paused(shop: Shop) -> None:
    pool = shop.pool(scaling={"minReplicas": 2})
    pool.wait_ready(2)
    pool.patch(scaling={"minReplicas": 0, "paused": True})
    assert pool.wait_condition("ScalingActive", "False", 15)[1] == "Paused"
    uid = shop.client.get("deployment", pool.name)["metadata"]["uid"]
    shop.client.kubectl("delete", "deployment", pool.name, "--wait=false")

    def anew() -> bool:
        found = shop.client.find("deployment", pool.name)
        return found is not None and found["metadata"]["uid"] != uid

    wait_for(anew, 30, "a new Deployment")
    pool.wait_replicas(2, 10)
    pool.wait_ready(2)


def test_a_plain_rq_worker_pool_scales_and_its_jobs_are_done(shop: Shop) -> None:
    command = ["/opt/rq/bin/rq", "worker", "default"]
    pool = shop.pool(worker={"command": command, "graceSeconds": 30}, scaling={"maxReplicas": 4})
    with Departures(shop) as departures:
        ids = shop.hold(1) + shop.enqueue(7, 0.2)
        pool.wait_replicas(4, 10)
        pool.wait_replicas(1, 90)
        wait_for(lambda: len(departures.pods) >= 3, 30, "three workers told to go")
        assert departures.victims() == [], "a busy worker was told to go"
        shop.let_go()
        shop.wait_statuses(ids, "finished", 60)
    assert Counter(shop.ran().values()) == {1: 8}
    pool.wait_replicas(0, 60)
    pool.wait_gone()
