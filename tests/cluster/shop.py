"""A namespace with a Valkey, an app pod that enqueues, and pools: what the tests of the operator play with."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tests.cluster.images import APP
from tests.kube.client import Client, condition, wait_for
from tests.kube.errors import CommandFailed
from tests.kube.versions import VALKEY_IMAGE

POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# Runs in the app pod: code comes as a line of standard input, its `answer` goes back as JSON.
_DRIVER = """
import json, sys, time, redis
from rqk import Queue
from rqk.job import Job
url = sys.argv[1]
client = redis.Redis.from_url(url)
def queue(name="default"): return Queue(name, connection=client)
answer = None
exec(sys.stdin.read())
print(json.dumps(answer))
"""
QUICK = {"stabilizationSeconds": 2, "toZeroAfterSeconds": 2}


def merged(under: Any, over: Any) -> Any:
    """Mappings merged key by key; anything else is replaced."""
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        return {key: merged(under.get(key), over[key]) if key in over else under[key] for key in {**under, **over}}
    return over


@dataclass
class Pool:
    """One pool, as a user sees it."""

    client: Client
    name: str

    def get(self) -> dict[str, Any]:
        return self.client.get("rqwp", self.name)

    @property
    def status(self) -> dict[str, Any]:
        return self.get().get("status") or {}

    def condition(self, kind: str) -> tuple[str, str, str]:
        found = [it for it in self.status.get("conditions", []) if it["type"] == kind]
        return (found[0]["status"], found[0]["reason"], found[0]["message"]) if found else ("Unknown", "", "")

    def wait_condition(self, kind: str, status: str, timeout: float = 60.0) -> tuple[str, str, str]:
        def look() -> tuple[str, str, str] | None:
            found = self.condition(kind)
            return found if found[0] == status else None

        return wait_for(look, timeout, f"condition {kind}={status} of pool {self.name}")

    def replicas(self) -> int:
        deployment = self.client.find("deployment", self.name)
        return int(deployment["spec"]["replicas"]) if deployment is not None else -1

    def wait_replicas(self, wanted: int | Callable[[int], bool], timeout: float = 60.0) -> int:
        def look() -> str | None:
            found = self.replicas()
            fits = wanted(found) if callable(wanted) else found == wanted
            return str(found) if fits else None

        return int(wait_for(look, timeout, f"{wanted} replicas of pool {self.name}"))

    def pods(self) -> list[dict[str, Any]]:
        return self.client.items("pods", f"rqk.dev/pool={self.name}")

    def live_pods(self) -> list[dict[str, Any]]:
        return [pod for pod in self.pods() if "deletionTimestamp" not in pod["metadata"]]

    def wait_ready(self, count: int, timeout: float = 90.0) -> list[dict[str, Any]]:
        def look() -> list[dict[str, Any]] | None:
            found = [pod for pod in self.live_pods() if condition(pod, "Ready") == "True"]
            return found if len(found) == count else None

        return wait_for(look, timeout, f"{count} ready workers of pool {self.name}")

    def wait_gone(self, timeout: float = 90.0) -> None:
        wait_for(lambda: not self.pods(), timeout, f"no pod of pool {self.name}")

    def patch(self, **spec: Any) -> None:
        self.client.kubectl("patch", "rqwp", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def delete(self, *flags: str) -> None:
        self.client.kubectl("delete", "rqwp", self.name, "--wait=false", *flags)


@dataclass
class Shop:
    """One namespace."""

    client: Client
    url: str = "redis://redis:6379/0"
    servers: list[str] = field(default_factory=list)

    def open(self) -> Shop:
        """Valkey and app, ready to use."""
        self.start_redis("redis", wait=False)
        self.client.apply(
            _pod("app", APP, ["python3", "-c", "import signal; signal.pause()"], env={"RQ_REDIS_URL": self.url})
        )
        self.client.wait_ready("app=app")
        self.client.wait_ready("app=redis")
        self.run("client.ping()")
        return self

    def start_redis(self, name: str, *options: str, wait: bool = True) -> str:
        words = (
            "valkey-server",
            "--bind",
            "0.0.0.0",
            "--protected-mode",
            "no",
            "--save",
            "",
            "--dir",
            "/tmp",
            *options,
        )
        server = _deployment(name, VALKEY_IMAGE, list(words))
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 6379}]},
        }
        self.client.apply([server, service])
        self.servers.append(name)
        if wait:
            self.client.wait_ready(f"app={name}")
        return f"redis://{name}.{self.client.namespace}.svc:6379/0"

    def run(self, code: str, url: str | None = None, timeout: float = 60.0) -> Any:
        """Run Python in the app pod. Names there: client, queue(name), Job, time, and `answer`, which comes back."""
        words = ("exec", "-i", "app", "--", "python3", "-c", _DRIVER, url or self.url)
        return json.loads(self.client.kubectl(*words, input=code, timeout=timeout).splitlines()[-1])

    def enqueue(
        self,
        count: int,
        seconds: float,
        *,
        queue: str = "default",
        func: str = "nap",
        url: str | None = None,
        **options: Any,
    ) -> list[str]:
        """Ids of so many new jobs, each known by a word of its own."""
        code = f"""
q = queue({queue!r})
answer = [q.enqueue("shop.{func}", f"{queue}-{{time.time_ns()}}-{{n}}", {seconds!r}, **{options!r}).id for n in range({count})]
"""
        found: list[str] = self.run(code, url=url)
        return found

    def hold(self, count: int) -> list[str]:
        """Ids of so many new jobs that last until they are let go."""
        return self.enqueue(count, 0, func="hold")

    def let_go(self) -> None:
        self.run('client.xadd("shop:go", {"go": "1"})')

    def statuses(self, ids: list[str], url: str | None = None) -> dict[str, str]:
        """The status of each job, `gone` for those that are not there."""
        code = f"""
answer = {{}}
pipe = client.pipeline()
ids = {ids!r}
for one in ids: pipe.hget("rq:job:" + one, "status")
for one, status in zip(ids, pipe.execute()): answer[one] = status.decode() if status else "gone"
"""
        found: dict[str, str] = self.run(code, url=url)
        return found

    def wait_statuses(self, ids: list[str], wanted: str, timeout: float = 120.0, url: str | None = None) -> None:
        def look() -> bool:
            found = set(self.statuses(ids, url=url).values())
            return found == {wanted}

        wait_for(look, timeout, f"{len(ids)} jobs {wanted}", pause=0.5)

    def ran(self, what: str = "ran") -> dict[str, int]:
        """How often each word was counted."""
        words: list[str] = self.run(f'answer = [it.decode().split()[0] for it in client.smembers("shop:{what}")]')
        return dict(Counter(words))

    def moments(self, what: str) -> dict[tuple[str, str], float]:
        """When each word was ``started`` or ``ended``, by word and pod."""
        rows: list[str] = self.run(f'answer = [it.decode() for it in client.smembers("shop:{what}")]')
        return {(word, pod): float(at) for word, pod, at, _ in (row.split() for row in rows)}

    def pool(self, name: str = "pool", *, wait: bool = True, **changes: Any) -> Pool:
        """Apply a pool; ``changes`` are merged into its spec."""
        self.client.apply(self.manifest(name, **changes))
        pool = Pool(self.client, name)
        if wait:
            pool.wait_condition("Ready", "True", 30)
        return pool

    def manifest(self, name: str = "pool", **changes: Any) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "queues": ["default"],
            "redis": {"url": f"redis://redis.{self.client.namespace}.svc:6379/0"},
            "scaling": {"maxReplicas": 20, "targetDepthPerWorker": 1, "scaleDown": QUICK},
            "worker": {"image": APP, "graceSeconds": 60, "resources": {"requests": {"cpu": "1m"}}},
            "template": {"spec": {"containers": [{"name": "worker", "imagePullPolicy": "Never"}]}},
        }
        return {
            "apiVersion": "rqk.dev/v1beta1",
            "kind": "RQWorkerPool",
            "metadata": {"name": name},
            "spec": merged(spec, changes),
        }

    def events(self, reason: str) -> list[dict[str, Any]]:
        return [it for it in self.client.items("events") if it["reason"] == reason]


class Departures:
    """Watches the workers' pods: when each was told to go. Whoever was at work at that moment was a victim."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._told: dict[str, float] = {}
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        client = self._shop.client
        path = "jsonpath={.metadata.name} {.metadata.deletionTimestamp}{'\\n'}"
        self._process = subprocess.Popen(
            [client.kubectl_program, f"--kubeconfig={client.kubeconfig}", f"--namespace={client.namespace}",
             "get", "pods", "--selector=rqk.dev/pool", "--watch", "-o", path],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._thread.start()
        return self

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            name, *deleted = line.split()
            if deleted:
                self._told.setdefault(name, time.time())

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._thread.join()

    @property
    def pods(self) -> set[str]:
        """Those that were told to go."""
        return set(self._told)

    def victims(self) -> list[str]:
        """Jobs that ran in a pod when it was told to go, whatever became of them within the grace period."""
        ended = self._shop.moments("ended")
        return [
            f"{word} in {pod}"
            for (word, pod), begun in self._shop.moments("started").items()
            if pod in self._told and begun < self._told[pod] < ended.get((word, pod), float("inf"))
        ]


def steady(look: Callable[[], Any], seconds: float, what: str) -> Any:
    """The answer of ``look``, which must stay the same for so long."""
    first = look()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            assert look() == first, f"{what} changed"
        except CommandFailed:
            continue
        time.sleep(0.25)
    return first


def _spec(image: str, command: list[str], env: Mapping[str, str]) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": command,
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _pod(name: str, image: str, command: list[str], env: Mapping[str, str]) -> dict[str, Any]:
    meta = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": _spec(image, command, env)}


def _deployment(name: str, image: str, command: list[str]) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": labels}, "spec": _spec(image, command, {})},
        },
    }
