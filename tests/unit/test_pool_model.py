"""Manifests: what is read, what is refused, and whether the refusal says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rqk.autoscale.manifest import check_for_cluster, check_for_local, load_pools, parse_pool
from rqk.autoscale.model import Abandoned, Pool
from rqk.errors import BadPool

GOOD = """\
apiVersion: rqk.dev/v1beta1
kind: RQWorkerPool
metadata: {name: words, namespace: shop}
spec:
  queues: [critical, "with space:colon", low]
  redis: {url: "redis://localhost:6379/0"}
  scaling: {targetDepthPerWorker: 5}
"""


def manifest(**spec: Any) -> dict[str, Any]:
    """A pool that is right but for what is given."""
    right = {"queues": ["default"], "scaling": {"targetDepthPerWorker": 5}}
    return {
        "apiVersion": "rqk.dev/v1beta1",
        "kind": "RQWorkerPool",
        "metadata": {"name": "words"},
        "spec": {**right, **spec},
    }


def pool(**spec: Any) -> Pool:
    return parse_pool(manifest(**spec))


def test_defaults_are_filled_in() -> None:
    (read,) = load_pools(GOOD, "pool.yaml")
    assert read.key == "shop/words"
    assert read.spec.queues == ("critical", "with space:colon", "low")
    scaling = read.spec.scaling
    assert (scaling.min_replicas, scaling.max_replicas) == (0, 10)
    assert (scaling.scale_down.stabilization_seconds, scaling.scale_down.to_zero_after_seconds) == (60, 120)
    assert scaling.scale_up.max_per_tick is None
    assert read.spec.worker.abandoned is Abandoned.FAIL
    assert read.spec.worker.metrics_port == 9727


def test_a_file_may_hold_several_pools_and_empty_documents() -> None:
    second = GOOD.replace("name: words", "name: pages")
    assert [read.name for read in load_pools(f"---\n{GOOD}---\n---\n{second}", "pools.yaml")] == ["words", "pages"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            GOOD.replace("targetDepthPerWorker: 5", "targetDepthPerWorker: 5, minReplica: 1"),
            "pool.yaml, document 1 (pool 'words'): spec.scaling.minReplica: there is no such field; "
            "did you mean minReplicas?",
            id="a misspelt field",
        ),
        pytest.param(
            GOOD.replace("queues:", "workers: 3\n  queues:"),
            "spec.workers: there is no such field; did you mean worker?",
            id="a field near another",
        ),
        pytest.param(
            GOOD + "  xyz: 1\n", "spec.xyz: there is no such field; known here: networkPolicy, ", id="no near"
        ),
        pytest.param(
            GOOD.replace("{targetDepthPerWorker: 5}", "{maxReplicas: 3}"),
            "spec.scaling: at least one target is needed: targetDepthPerWorker or targetWaitSeconds",
            id="no target",
        ),
        pytest.param(
            GOOD.replace("targetDepthPerWorker: 5", "targetDepthPerWorker: 5, minReplicas: 11"),
            "spec.scaling: minReplicas (11) must not be above maxReplicas (10)",
            id="min above max",
        ),
        pytest.param(
            GOOD.replace("targetDepthPerWorker: 5", 'targetDepthPerWorker: "5"'),
            "spec.scaling.targetDepthPerWorker: input should be a valid integer; it is '5'",
            id="a text for a number",
        ),
        pytest.param(GOOD.replace("low]", "critical]"), "spec: queues names critical more than once", id="twice"),
        pytest.param(
            GOOD.replace("low]", "'']"), "spec.queues[2]: string should have at least 1 character", id="empty"
        ),
        pytest.param(
            GOOD.replace('critical, "with space:colon", low', ""), "spec.queues: needs at least 1, has 0", id="no queue"
        ),
        pytest.param(
            GOOD.replace("redis://localhost", "http://localhost"),
            "spec.redis.url: 'http://localhost:6379/0' does not match",
            id="not a Redis URL",
        ),
        pytest.param(
            GOOD.replace('{url: "redis://localhost:6379/0"}', "{}"),
            "spec.redis: redis needs exactly one of url, urlFrom, sentinel; it has none",
            id="no Redis source",
        ),
        pytest.param(
            GOOD.replace('0"}', '0", sentinel: {addresses: ["a:1"], master: m}}'),
            "redis needs exactly one of url, urlFrom, sentinel; it has url and sentinel",
            id="two Redis sources",
        ),
        pytest.param(
            GOOD.replace('0"}', '0", tls: {}}'), "tls needs a rediss:// or rediss+sentinel:// url", id="TLS without TLS"
        ),
        pytest.param(GOOD.replace("  scaling", "  scalin"), "spec.scaling: required, but missing", id="missing"),
        pytest.param(
            GOOD.replace("kind: RQWorkerPool", "kind: Deployment"),
            "pool.yaml, document 1: this is a rqk.dev/v1beta1 Deployment; only rqk.dev/v1beta1 RQWorkerPool documents",
            id="another kind",
        ),
        pytest.param("- 1", "document 1: a rqk.dev/v1beta1 RQWorkerPool is a mapping", id="a list"),
        pytest.param("", "pool.yaml: there is no pool in it", id="an empty file"),
        pytest.param("a: [1", "pool.yaml, line 1: not YAML", id="not YAML"),
        pytest.param(
            GOOD + "  queues: [x]\n", "pool.yaml, line 8: not YAML: the key 'queues' stands twice", id="key twice"
        ),
        pytest.param(
            f"{GOOD}---\n{GOOD}", "document 2: a pool named 'shop/words' stands in this file already", id="pool twice"
        ),
        pytest.param(GOOD.replace("name: words", "name: Words!"), "metadata.name: 'Words!' does not match", id="name"),
    ],
)
def test_a_bad_manifest_is_refused_with_the_place_and_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(BadPool) as caught:
        load_pools(text, "pool.yaml")
    assert said in str(caught.value)


def test_a_list_of_bad_items_is_not_called_empty() -> None:
    with pytest.raises(BadPool, match=r"spec\.queues\[0\]: 'a,b' does not match") as caught:
        pool(queues=["a,b"])
    assert len(str(caught.value).splitlines()) == 1


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(BadPool) as caught:
        parse_pool(manifest(worker={"recycleAfter": 0, "abandoned": "Drop", "jobMemoryLimit": "much"}), "p.yaml")
    assert {line.split(": ")[1] for line in str(caught.value).splitlines()} == {
        "spec.worker.recycleAfter",
        "spec.worker.abandoned",
        "spec.worker.jobMemoryLimit",
    }


def test_fields_of_a_newer_version_are_passed_over_where_the_server_checked_them() -> None:
    newer = manifest(worker={"nice": 3, "env": [{"name": "A", "value": "b", "new": 1}]}, other={"x": 1})
    read = parse_pool(newer, strict=False)
    assert read.spec.worker.env[0].value == "b"
    with pytest.raises(BadPool):
        parse_pool({**newer, "spec": {**newer["spec"], "queues": []}}, strict=False)


@pytest.mark.parametrize(
    ("annotations", "setting", "paused"),
    [({}, False, False), ({"rqk.dev/paused": "true"}, False, True), ({"rqk.dev/paused": ""}, False, True),
     ({"rqk.dev/paused": "False"}, False, False), ({}, True, True)],
)  # fmt: skip
def test_a_pool_is_paused_by_its_spec_or_by_an_annotation(
    annotations: dict[str, str], setting: bool, paused: bool
) -> None:
    body = manifest(scaling={"targetWaitSeconds": 5, "paused": setting})
    body["metadata"]["annotations"] = annotations
    assert parse_pool(body).paused is paused


def test_on_kubernetes_a_redis_must_be_named() -> None:
    with pytest.raises(BadPool, match=r"spec\.redis: required; exactly one of url, urlFrom, sentinel"):
        check_for_cluster(pool())
    check_for_cluster(pool(redis={"url": "unix:///run/redis.sock"}))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"redis": {"urlFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}},
            "spec.redis.urlFrom: works on Kubernetes",
        ),
        (
            {"redis": {"sentinel": {"addresses": ["a:1"], "master": "m"}}},
            "spec.redis.sentinel: works on Kubernetes only",
        ),
        (
            {"worker": {"env": [{"name": "A", "valueFrom": {}}]}},
            "spec.worker.env[0].valueFrom: works on Kubernetes only",
        ),
        ({"worker": {"envFrom": [{}]}}, "spec.worker.envFrom: works on Kubernetes only"),
    ],
)
def test_what_only_a_cluster_can_give_is_refused_on_one_machine(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(BadPool) as caught:
        check_for_local(pool(**spec))
    assert said in str(caught.value)


def test_a_url_from_the_command_line_stands_in_for_a_secret() -> None:
    secret = pool(redis={"urlFrom": {"secretKeyRef": {"name": "a", "key": "b"}}})
    check_for_local(secret, has_redis=True)
    check_for_local(pool())


def test_a_pool_goes_back_to_the_manifest_it_came_from() -> None:
    body = manifest(redis={"url": "redis://x"}, template={"spec": {"nodeName": "n"}}, worker={"abandoned": "Requeue"})
    assert parse_pool(body).manifest() == body


EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples" / "pools").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_the_examples_are_right(file: Path) -> None:
    for read in load_pools(file.read_text(), file.name):
        check_for_cluster(read)


@pytest.mark.parametrize("name", ["simple.yaml", "wordcount.yaml", "priorities.yaml"])
def test_these_run_on_one_machine_too(name: str) -> None:
    (file,) = [file for file in EXAMPLES if file.name == name]
    for read in load_pools(file.read_text(), name):
        check_for_local(read, has_redis=True)
