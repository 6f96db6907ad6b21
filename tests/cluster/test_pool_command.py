"""``rqk pool`` and ``kubectl rqk`` against a real API server. No operator: what it would report is written by the tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from rqk.autoscale.crd import render_crd
from rqk.cli.pool import complete, run
from rqk.cli.pools_cluster import Cluster, LogWish, Place
from tests.kube.access import Access
from tests.kube.client import Client, wait_for
from tests.kube.versions import PYTHON_IMAGE

MANIFEST: dict[str, Any] = {
    "apiVersion": "rqk.dev/v1beta1",
    "kind": "RQWorkerPool",
    "metadata": {"name": "shop", "labels": {"team": "shop"}},
    "spec": {
        "queues": ["default"],
        "redis": {"url": "redis://nowhere:6379/0"},
        "scaling": {"targetDepthPerWorker": 10},
        "worker": {"image": "localhost/nothing:1"},
    },
}


class Pools:
    """The command within one namespace, and what it said."""

    def __init__(self, client: Client, capfd: pytest.CaptureFixture[str]) -> None:
        self.client = client
        self._capfd = capfd
        self.where: tuple[str, ...] = (f"--kubeconfig={client.kubeconfig}", f"--namespace={client.namespace}")
        self.out = self.err = ""

    def forget(self) -> None:
        """Whatever was said so far."""
        self._capfd.readouterr()

    def said(self) -> str:
        """What was said since."""
        return self._capfd.readouterr().out

    def __call__(self, command: str, *words: str) -> int:
        self._capfd.readouterr()
        code = run([command, *words, *self.where])
        self.out, self.err = self._capfd.readouterr()
        return code


@pytest.fixture
def pools(cluster: Access, namespace: Client, capfd: pytest.CaptureFixture[str]) -> Pools:
    """With one pool, ``shop``; whoever's operator runs on this cluster may report about it too."""
    cluster.apply(render_crd(), "--server-side", "--force-conflicts", "--field-manager=tests")
    cluster.kubectl("wait", "--for=condition=Established", "crd/rqworkerpools.rqk.dev")
    namespace.apply(MANIFEST)
    return Pools(namespace, capfd)


def test_list_in_every_form(pools: Pools) -> None:
    assert pools("list") == 0
    head, row = pools.out.splitlines()
    assert head.split()[0] == "NAME"
    assert row.split()[:2] == ["shop", "default"]
    assert pools("list", "shop", "-o", "json") == 0
    assert json.loads(pools.out)["spec"]["scaling"]["maxReplicas"] == 10
    assert pools("list", "-o", "json") == 0
    assert [it["kind"] for it in json.loads(pools.out)["items"]] == ["RQWorkerPool"]
    assert pools("list", "-o", "yaml", "-l", "team=shop") == 0
    assert yaml.safe_load(pools.out)["items"][0]["metadata"]["name"] == "shop"
    assert pools("list", "-o", "name", "--no-headers") == 0
    assert pools.out == "rqworkerpool.rqk.dev/shop\n"
    assert pools("list", "-A", "-o", "wide") == 0
    assert pools.out.split()[0] == "NAMESPACE"


def test_nothing_found_is_no_error(pools: Pools) -> None:
    assert pools("list", "-l", "team=nobody") == 0
    assert pools.out == ""
    assert pools.err == f"No resources found in {pools.client.namespace} namespace.\n"


@pytest.mark.parametrize("command", ["explain", "pause", "resume", "logs", "list"])
def test_a_pool_that_is_not_there_is_named(pools: Pools, command: str) -> None:
    assert pools(command, "shoop") == 1
    assert pools.err == 'Error: from server (NotFound): rqworkerpools.rqk.dev "shoop" not found\n'


def test_wrong_usage_is_one_as_with_kubectl(pools: Pools) -> None:
    assert pools("list", "--nonsense") == 1
    assert "No such option" in pools.err
    assert pools("list", "shop", "-A") == 1
    assert pools("list", "-o", "xml") == 1


def test_pause_and_resume(pools: Pools) -> None:
    def note() -> Any:
        return pools.client.get("rqworkerpool", "shop")["metadata"].get("annotations", {}).get("rqk.dev/paused")

    assert pools("pause", "shop") == 0
    assert pools.out == "rqworkerpool.rqk.dev/shop paused\n"
    assert note() == "true"
    assert pools("pause", "shop") == 0
    assert "already paused" in pools.out
    assert pools("resume", "shop") == 0
    assert pools.out == "rqworkerpool.rqk.dev/shop resumed\n"
    assert note() is None
    assert pools("resume", "shop") == 0
    assert "not paused" in pools.out


def test_one_of_two_names_is_wrong_and_the_other_is_done(pools: Pools) -> None:
    assert pools("pause", "shoop", "shop") == 1
    assert pools.out == "rqworkerpool.rqk.dev/shop paused\n"
    assert "shoop" in pools.err


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        pytest.param({"scaling": {"paused": True}}, "spec.scaling.paused is true", id="paused in the manifest"),
        pytest.param({"replicas": 3}, "set by hand to 3", id="a number set by hand"),
    ],
)
def test_resume_says_what_else_holds_the_pool(pools: Pools, patch: dict[str, Any], words: str) -> None:
    pools.client.kubectl("patch", "rqwp", "shop", "--type=merge", "-p", json.dumps({"spec": patch}))
    assert pools("resume", "shop") == 1
    assert words in pools.err


def test_explain_and_top_of_what_the_operator_reported(pools: Pools) -> None:
    status = {
        "replicas": 2,
        "readyReplicas": 2,
        "depth": 15,
        "desiredReplicas": 2,
        "queues": [{"name": "default", "depth": 15}],
        "lastDecision": {
            "replicas": 2,
            "reason": "DepthTarget",
            "message": "ceil((15 + 0 + 0) / 10) = 2",
            "at": "2026-11-24T09:00:00Z",
        },
    }
    pools.client.kubectl(
        "patch", "rqwp", "shop", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status})
    )
    assert pools("explain", "shop") == 0
    assert "ceil((15 + 0 + 0) / 10) = 2" in pools.out
    assert pools("explain", "shop", "-o", "yaml") == 0
    assert yaml.safe_load(pools.out)["status"]["depth"] == 15
    assert pools("top") == 0
    assert "1 pool, 15 jobs waiting" in pools.out


def test_watch_tells_what_comes_changes_and_goes(pools: Pools) -> None:
    place = Place(str(pools.client.kubeconfig), None, pools.client.namespace)
    events: Iterator[tuple[str, dict[str, Any]]] = Cluster(place).changes("team=shop")
    assert next(events)[0] == "ADDED"
    pools.client.kubectl("annotate", "rqwp", "shop", "a=b")
    kind, pool = next(events)
    assert (kind, pool["metadata"]["annotations"]["a"]) == ("MODIFIED", "b")
    pools.client.kubectl("delete", "rqwp", "shop", "--wait=false")
    assert "DELETED" in (next(events)[0] for _ in range(3))


def worker(name: str) -> dict[str, Any]:
    """A pod that looks like one of the pool's."""
    says = "import signal; print('line 1'); print('line 2', flush=True); signal.pause()"
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    outer = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {
        "name": "worker",
        "image": PYTHON_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", says],
        "securityContext": restricted,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"rqk.dev/pool": "shop", "who": name}},
        "spec": {"containers": [container], "securityContext": outer, "terminationGracePeriodSeconds": 0},
    }


def test_logs_of_all_workers_and_of_those_that_come_later(pools: Pools) -> None:
    assert pools("logs", "shop") == 0
    assert "no workers at the moment" in pools.err
    pools.client.apply(worker("a"))
    pools.client.wait_ready("who=a")
    assert wait_for(lambda: pools("logs", "shop") == 0 and "line 2" in pools.out, 20, "the pod's words")
    assert pools.out == "[a] line 1\n[a] line 2\n"
    assert pools("logs", "shop", "--tail=1", "--no-prefix") == 0
    assert pools.out == "line 2\n"

    heard: list[tuple[str, str]] = []
    stop = threading.Event()
    place = Place(str(pools.client.kubeconfig), None, pools.client.namespace)
    follows = LogWish(follow=True)
    reader = threading.Thread(
        target=lambda: Cluster(place).logs("shop", follows, lambda *line: heard.append(line), stop)
    )
    reader.start()
    try:
        pools.client.apply(worker("b"))
        wait_for(lambda: {("a", "line 2"), ("b", "line 2")} <= set(heard), 30, "both pods' words")
    finally:
        stop.set()
        reader.join(10)


def test_kubectl_completes_commands_and_names(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    def completed(*words: str) -> list[str]:
        monkeypatch.setattr("sys.argv", ["kubectl_complete-rqk", *words])
        pools.forget()
        with pytest.raises(SystemExit):
            complete()
        return [line.partition("\t")[0] for line in pools.said().splitlines()]

    assert completed("pa") == ["pause", ":4"]
    assert completed(*pools.where, "pause", "sh") == [":4"]  # options go behind the command
    assert completed("pause", *pools.where, "sh") == ["shop", ":4"]
    assert completed("list", "-o", "j") == ["json", ":4"]


def test_a_server_that_is_not_there(pools: Pools, tmp_path: Any) -> None:
    text = pools.client.kubeconfig.read_text()
    wrong = yaml.safe_load(text)
    for it in wrong["clusters"]:
        it["cluster"]["server"] = "https://127.0.0.1:1"
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(wrong))
    pools.where = (f"--kubeconfig={file}",)
    assert pools("list") == 1
    assert "does not answer" in pools.err
    assert "Traceback" not in pools.err
