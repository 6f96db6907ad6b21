"""Settings, the Lease's rule, sources of Redis, views of objects, causes of death."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from rqk_operator import settings
from rqk_operator.kube import path_of
from rqk_operator.lease import Sighting, mark_of, verdict
from rqk_operator.merging import merged
from rqk_operator.rules import cause_of_death
from rqk_operator.sources import Ref, SourceError, access, mounts, refs
from rqk_operator.views import Ended, PodView, deployment_view, pod_view

from rqk.autoscale.model import Redis


def test_options_win_over_the_environment() -> None:
    env = {
        "RQK_OPERATOR_TICK": "2",
        "RQK_OPERATOR_NAMESPACE": "a, b",
        "RQK_OPERATOR_LEASE_NAMESPACE": "sys",
        "RQK_POD_NAME": "op-1",
    }
    found = settings.read([], env)
    assert (found.tick_s, found.namespaces, found.lease_namespace) == (2.0, ("a", "b"), "sys")
    assert found.identity.startswith("op-1_")
    found = settings.read(["--tick", "0.5", "--namespace", "c", "--no-leader-election", "--log-format", "text"], env)
    assert (found.tick_s, found.namespaces, found.leader_election, found.log_format) == (0.5, ("c",), False, "text")


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--tick", "0"], {}),
        (["--tick", "soon"], {}),
        ([], {"RQK_OPERATOR_TICK": "soon"}),
        ([], {"RQK_OPERATOR_LEADER_ELECTION": "maybe"}),
        (["--log-format", "xml"], {}),
    ],
)
def test_bad_options_end_with_a_message(
    arguments: list[str], env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        settings.read(arguments, env)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


def lease(holder: str, renewed: str = "t1", seconds: int = 15) -> dict[str, Any]:
    return {"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": seconds}}


@pytest.mark.parametrize(
    ("found", "since", "wanted"),
    [
        pytest.param(None, None, "create", id="nobody ever"),
        pytest.param(lease("me"), 0, "renew", id="mine"),
        pytest.param(lease(""), 0, "take", id="given back"),
        pytest.param(lease("other"), 90, "wait", id="renewed ten seconds ago"),
        pytest.param(lease("other"), 85, "take", id="silent for its whole time"),
        pytest.param(lease("other", seconds=60), 85, "wait", id="its holder asked for longer"),
        pytest.param(lease("other"), None, "wait", id="just seen for the first time"),
    ],
)
def test_who_may_have_the_lease(found: dict[str, Any] | None, since: float | None, wanted: str) -> None:
    sighting = Sighting(mark_of(found), since) if found is not None and since is not None else None
    assert verdict(found, "me", sighting, 100.0) == wanted


def test_a_renewed_lease_begins_anew() -> None:
    assert verdict(lease("other", "t2"), "me", Sighting(mark_of(lease("other", "t1")), 0.0), 100.0) == "wait"


def redis(**fields: Any) -> Redis:
    return Redis.model_validate_json(__import__("json").dumps(fields))


def test_a_plain_url_needs_nothing_else() -> None:
    found = redis(url="redis://redis:6379/0")
    assert refs(found) == ()
    assert access(found, {}).url == "redis://redis:6379/0"


SENTINEL: dict[str, Any] = {
    "addresses": ["s1:26379", "s2:26379"],
    "master": "jobs",
    "db": 2,
    "username": "app",
    "passwordFrom": {"secretKeyRef": {"name": "s", "key": "p"}},
    "sentinelPasswordFrom": {"secretKeyRef": {"name": "s", "key": "q"}},
}


def test_sentinels_become_a_url_with_quoted_passwords() -> None:
    found = redis(sentinel=SENTINEL, tls={"caFrom": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}})
    assert set(refs(found)) == {Ref("Secret", "s", "p"), Ref("Secret", "s", "q"), Ref("ConfigMap", "ca", "ca.crt")}
    values = {
        Ref("Secret", "s", "p"): b"a@b/c\n",
        Ref("Secret", "s", "q"): b"x&y",
        Ref("ConfigMap", "ca", "ca.crt"): b"PEM",
    }
    made = access(found, values)
    assert made.url == "rediss+sentinel://app:a%40b%2Fc@s1:26379,s2:26379/jobs/2?sentinel_password=x%26y"
    assert made.files == {"ssl_ca_certs": b"PEM"}


def test_nothing_of_a_secret_is_in_what_the_pod_is_told() -> None:
    made = mounts(redis(sentinel=SENTINEL))
    assert {it["name"]: it["value"] for it in made.env} == {
        "RQ_REDIS_URL": "redis+sentinel://app@s1:26379,s2:26379/jobs/2",
        "RQK_REDIS_PASSWORD_FILE": "/etc/rqk/redis-login/password",
        "RQK_REDIS_SENTINEL_PASSWORD_FILE": "/etc/rqk/redis-sentinel/password",
    }
    assert [it["secret"]["secretName"] for it in made.volumes] == ["s", "s"]


def test_a_fingerprint_follows_the_content_and_needs_the_salt() -> None:
    found = redis(urlFrom={"secretKeyRef": {"name": "s", "key": "url"}})
    ref = Ref("Secret", "s", "url")
    one, other = access(found, {ref: b"redis://:a@h"}), access(found, {ref: b"redis://:b@h"})
    assert one.fingerprint("uid") != other.fingerprint("uid")
    assert one.fingerprint("uid") != one.fingerprint("other")
    assert one.fingerprint("uid") == access(found, {ref: b"redis://:a@h\n"}).fingerprint("uid")


def test_a_secret_that_is_no_text_is_named() -> None:
    found = redis(urlFrom={"secretKeyRef": {"name": "s", "key": "url"}})
    with pytest.raises(SourceError, match="key url of Secret s"):
        access(found, {Ref("Secret", "s", "url"): b"\xff"})


@pytest.mark.parametrize(
    ("under", "over", "wanted"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        (
            [{"name": "a", "v": 1}],
            [{"name": "a", "w": 2}, {"name": "b"}],
            [{"name": "a", "v": 1, "w": 2}, {"name": "b"}],
        ),
        ([{"name": "a", "value": "1"}], [{"name": "a", "valueFrom": {}}], [{"name": "a", "valueFrom": {}}]),
        ({"command": ["x"]}, {"command": ["y", "z"]}, {"command": ["y", "z"]}),
        ({"a": [1]}, {"a": []}, {"a": [1]}),
        pytest.param(
            {"volumeMounts": [{"name": "d", "mountPath": "/a"}, {"name": "d", "mountPath": "/b", "subPath": "b"}]},
            {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]},
            {
                "volumeMounts": [
                    {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "d", "mountPath": "/a"},
                    {"name": "d", "mountPath": "/b", "subPath": "b"},
                ]
            },
            id="one volume at two places",
        ),
        pytest.param(
            {"volumeMounts": [{"name": "mine", "mountPath": "/tmp"}]},
            {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]},
            {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]},
            id="two volumes at one place",
        ),
        pytest.param(
            {"ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]},
            {"ports": [{"name": "m", "containerPort": 53, "protocol": "TCP"}]},
            {
                "ports": [
                    {"name": "m", "containerPort": 53, "protocol": "TCP"},
                    {"containerPort": 53, "protocol": "UDP"},
                ]
            },
            id="one port of two protocols",
        ),
        pytest.param(
            {"livenessProbe": {"httpGet": {"path": "/healthz"}, "periodSeconds": 20}},
            {"livenessProbe": {"exec": {"command": ["true"]}}},
            {"livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 20}},
            id="another way to probe",
        ),
        pytest.param(
            {"volumes": [{"name": "tmp", "emptyDir": {}}]},
            {"volumes": [{"name": "tmp", "persistentVolumeClaim": {"claimName": "c"}}]},
            {"volumes": [{"name": "tmp", "persistentVolumeClaim": {"claimName": "c"}}]},
            id="another kind of volume",
        ),
    ],
)
def test_merging(under: Any, over: Any, wanted: Any) -> None:
    assert merged(under, over) == wanted


def test_paths() -> None:
    assert path_of("v1", "pods", "ns", "p") == "/api/v1/namespaces/ns/pods/p"
    assert path_of("apps/v1", "deployments", "ns", "d", "scale") == "/apis/apps/v1/namespaces/ns/deployments/d/scale"
    assert path_of("rqk.dev/v1beta1", "rqworkerpools") == "/apis/rqk.dev/v1beta1/rqworkerpools"


AT = "2026-01-01T00:00:10Z"


def raw_pod(**status: Any) -> dict[str, Any]:
    meta = {"namespace": "ns", "name": "p", "uid": "u", "labels": {"rqk.dev/pool": "shop"}}
    return {"metadata": meta, "spec": {"nodeName": "n1"}, "status": status}


def test_a_restarted_container_tells_how_it_ended() -> None:
    over = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": AT}}
    statuses = [{"name": "side"}, {"name": "worker", "state": {"running": {}}, "lastState": over}]
    view = pod_view(raw_pod(phase="Running", containerStatuses=statuses))
    moment = datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC).timestamp()
    assert (view.running, view.ended, view.assigned) == (True, Ended("OOMKilled", 137, moment), True)


def managed(manager: str, operation: str, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields, **more}


def raw_deployment(*entries: dict[str, Any], **spec: Any) -> dict[str, Any]:
    meta = {
        "namespace": "ns",
        "name": "shop",
        "uid": "u",
        "resourceVersion": "5",
        "generation": 1,
        "managedFields": list(entries),
    }
    return {"metadata": meta, "spec": {"replicas": 3, **spec}, "status": {"observedGeneration": 1}}


OURS = managed("rqk-operator", "Apply", {"f:spec": {"f:template": {"x": {}}}})
SCALED = managed("rqk-autoscaler", "Update", {"f:spec": {"f:replicas": {}}}, subresource="scale")


def test_a_hand_edit_shows_and_a_hand_scaling_does_not() -> None:
    before = deployment_view(raw_deployment(OURS, SCALED))
    scaled = deployment_view(
        raw_deployment(OURS, managed("kubectl", "Update", {"f:spec": {"f:replicas": {}}}, subresource="scale"))
    )
    edited = deployment_view(
        raw_deployment(OURS, SCALED, managed("kubectl-edit", "Update", {"f:spec": {"f:template": {"x": {}}}}))
    )
    assert (before.foreign, scaled.foreign, edited.foreign) == (False, False, True)
    assert before.owners == scaled.owners != edited.owners
    assert before.scaler_owns_replicas
    assert not deployment_view(raw_deployment(OURS)).scaler_owns_replicas


def view(**fields: Any) -> PodView:
    return PodView("ns", "p", "u", "shop", **fields)


KILLED = Ended("OOMKilled", 137, 100.0)


@pytest.mark.parametrize(
    ("before", "after", "gone", "wanted"),
    [
        pytest.param(view(running=True), view(running=True), False, None, id="nothing happened"),
        pytest.param(view(running=True), view(running=True, ended=KILLED), False, 101.0, id="killed and running again"),
        pytest.param(view(ended=KILLED), view(running=True, ended=KILLED), False, None, id="told before"),
        pytest.param(view(running=True), view(ended=Ended("Completed", 0, 100.0)), False, None, id="left by itself"),
        pytest.param(view(running=True), view(phase="Failed", reason="Evicted"), False, "all", id="evicted"),
        pytest.param(view(phase="Failed"), view(phase="Failed"), True, None, id="evicted, told before, now gone"),
        pytest.param(view(running=True), view(ended=KILLED), True, "all", id="gone, killed"),
        pytest.param(view(running=True), view(running=True), True, None, id="gone without a word: it may still run"),
    ],
)
def test_when_a_worker_is_known_to_be_dead(
    before: PodView, after: PodView, gone: bool, wanted: float | str | None
) -> None:
    found = cause_of_death(before, after, gone=gone)
    if wanted is None:
        assert found is None
    else:
        assert found is not None
        assert found[1] == (None if wanted == "all" else wanted)
