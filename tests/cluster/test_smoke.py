"""Is it a Kubernetes? What every other cluster test takes for granted."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.kube.access import Access
from tests.kube.client import Client, condition, wait_for
from tests.kube.errors import CommandFailed
from tests.kube.versions import PYTHON_IMAGE, VALKEY_IMAGE

RESTRICTED_POD: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESTRICTED_CONTAINER: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
SERVES = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8000)"
EATS = "print('eating', flush=True); heap = [bytearray(1 << 20) for _ in range(512)]"


def pod_spec(command: list[str], *, image: str = PYTHON_IMAGE, **container: Any) -> dict[str, Any]:
    """What the restricted profile lets in."""
    main = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": command,
        "securityContext": RESTRICTED_CONTAINER,
        **container,
    }
    return {"securityContext": RESTRICTED_POD, "containers": [main], "terminationGracePeriodSeconds": 1}


def pod(name: str, command: list[str], **container: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {**pod_spec(command, **container), "restartPolicy": "Never"},
    }


def deployment(name: str, spec: dict[str, Any], replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def service(name: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": port}]},
    }


@pytest.fixture
def shell(namespace: Client) -> str:
    """A pod to run things in."""
    namespace.apply(pod("shell", ["python", "-c", "import signal; print('here', flush=True); signal.pause()"]))
    namespace.wait_ready("app=shell")
    return "shell"


def test_the_node_is_ready(cluster: Access) -> None:
    (node,) = cluster.items("nodes")
    assert condition(node, "Ready") == "True"


def test_a_restricted_deployment_serves_through_its_service(namespace: Client, shell: str) -> None:
    probe = {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1}
    spec = pod_spec(["python3", "-c", SERVES], readinessProbe=probe, workingDir="/tmp")
    namespace.apply([deployment("web", spec, replicas=2), service("web", 8000)])
    namespace.wait_ready("app=web", 2)

    asks = "import urllib.request as u; print(u.urlopen('http://web:8000', timeout=3).status)"
    wait_for(lambda: "200" in namespace.exec(shell, "python", "-c", asks), 15, "an answer through the Service")


def test_the_restricted_profile_is_enforced(namespace: Client) -> None:
    refused = pod("root", ["python3"])
    refused["spec"]["securityContext"] = {"runAsUser": 0}
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        namespace.apply(refused)


@pytest.mark.parametrize("name", ["kubernetes.default.svc.cluster.local", "kubernetes.default"])
def test_names_of_the_cluster_resolve_in_a_pod(namespace: Client, shell: str, name: str) -> None:
    answer = namespace.exec(shell, "python", "-c", f"import socket; print(socket.gethostbyname({name!r}))")
    assert answer.strip() == "10.0.0.1"


def test_other_names_do_not_exist(namespace: Client, shell: str) -> None:
    with pytest.raises(CommandFailed, match="Name or service not known"):
        namespace.exec(shell, "python", "-c", "import socket; socket.gethostbyname('nowhere.example')")


def test_logs_and_the_way_into_a_pod(namespace: Client, shell: str) -> None:
    assert namespace.pod_logs(shell) == "here\n"
    assert namespace.exec(shell, "sh", "-c", "id -u").strip() == "65532"


def test_a_pod_over_its_memory_limit_is_oom_killed(namespace: Client) -> None:
    namespace.apply(pod("eater", ["python3", "-c", EATS], resources={"limits": {"memory": "64Mi", "cpu": "1"}}))

    def ended() -> dict[str, Any] | None:
        (status,) = namespace.get("pod", "eater")["status"].get("containerStatuses") or [{}]
        found: dict[str, Any] | None = status.get("state", {}).get("terminated")
        return found

    terminated = wait_for(ended, 30, "the end of the pod")
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)


def test_a_valkey_pod_is_reached_from_outside(namespace: Client) -> None:
    spec = pod_spec(["valkey-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""], image=VALKEY_IMAGE)
    namespace.apply(deployment("valkey", spec))
    (ready,) = namespace.wait_ready("app=valkey")

    def answer() -> bytes:
        try:
            with socket.create_connection((ready["status"]["podIP"], 6379), timeout=2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7)
        except OSError:
            return b""

    assert wait_for(answer, 10, "Valkey's answer") == b"+PONG\r\n"


def test_two_pods_can_be_cut_from_each_other(cluster: Access, namespace: Client, shell: str) -> None:
    if cluster.own is None:
        pytest.skip("the network of a cluster that was handed over is not ours to cut")
    namespace.apply([deployment("web", pod_spec(["python3", "-c", SERVES], workingDir="/tmp")), service("web", 8000)])
    (web,) = namespace.wait_ready("app=web")
    address = web["status"]["podIP"]

    def answers(host: str) -> bool:
        asks = f"import socket; socket.create_connection(({host!r}, 8000), timeout=1)"
        try:
            namespace.exec(shell, "python", "-c", asks)
        except CommandFailed:
            return False
        return True

    wait_for(lambda: answers(address) and answers("web"), 15, "an answer")
    with cluster.node().cut(address, "10.244.0.0/24"):
        assert not answers(address)
        assert not answers("web")
    wait_for(lambda: answers("web"), 10, "an answer after the cut")


def test_a_lost_kubelet_is_noticed_and_comes_back(cluster: Access) -> None:
    if cluster.own is None:
        pytest.skip("the node of a cluster that was handed over is not ours to stop")
    node = cluster.node()
    node.stop_kubelet()
    try:
        node.wait_ready(wanted=False, timeout=40)
    finally:
        node.start_kubelet()
    node.wait_ready(timeout=40)


def test_a_drained_node_gives_its_pods_up(cluster: Access, namespace: Client) -> None:
    if cluster.own is None:
        pytest.skip("the node of a cluster that was handed over is not ours to drain")
    spec = pod_spec(["python3", "-c", "import signal; signal.pause()"])
    namespace.apply(deployment("idle", spec))
    (before,) = namespace.wait_ready("app=idle")
    node = cluster.node()
    try:
        node.drain("--pod-selector=app=idle")
        wait_for(lambda: not namespace.ready_pods("app=idle"), 20, "no pod on the drained node")
    finally:
        node.uncordon()
    (after,) = namespace.wait_ready("app=idle")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
