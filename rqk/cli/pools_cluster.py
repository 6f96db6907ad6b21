"""Pools on a cluster, for ``rqk pool``: the only place of the command line that speaks with an API server.

The official client is imported with the first question: it takes a third of a second, and is not there without
``pip install 'rqk[operator]'``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rqk.errors import RqkError

GROUP, VERSION, PLURAL = "rqk.dev", "v1beta1", "rqworkerpools"
POOL_LABEL = f"{GROUP}/pool"
FIELD_MANAGER = "kubectl-rqk"
CONTAINER = "worker"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_PATIENCE_S = 30.0  # for an answer
_WATCH_S = 300  # the server ends a watch after this long, and the next one begins

Pool = dict[str, Any]


class ClusterError(RqkError):
    """The API server refused, or cannot be reached."""


class NoSuchPool(ClusterError):
    """There is no pool with this name in this namespace."""


@dataclass(frozen=True)
class Place:
    """Which cluster and which namespace, as kubectl's options say it. ``everywhere``: all namespaces."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    everywhere: bool = False


@dataclass(frozen=True)
class LogWish:
    """How logs are wanted: ``tail`` lines a pod (None: all), not older than ``since`` seconds, and whether to stay."""

    follow: bool = False
    tail: int | None = None
    since: int | None = None
    timestamps: bool = False


class Cluster:
    """Pools as plain mappings. Every method raises ClusterError with what the API server says."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def everywhere(self) -> bool:
        """Whether all namespaces are meant."""
        return self._place.everywhere

    @cached_property
    def namespace(self) -> str:
        """The one asked for, else that of kubectl's context, else that of the pod, else ``default``."""
        if self._place.namespace:
            return self._place.namespace
        config = _kubernetes().config
        try:
            contexts, active = config.list_kube_config_contexts(self._place.kubeconfig)
        except config.ConfigException:
            return _ACCOUNT.read_text().strip() if _ACCOUNT.exists() else "default"
        chosen = next((it for it in contexts if it["name"] == self._place.context), active)
        return str(chosen["context"].get("namespace") or "default")

    @cached_property
    def _api(self) -> Any:
        kubernetes = _kubernetes()
        made = kubernetes.client.Configuration()
        made.retries = False
        try:
            kubernetes.config.load_kube_config(
                config_file=self._place.kubeconfig, context=self._place.context, client_configuration=made
            )
        except kubernetes.config.ConfigException as error:
            if self._place.kubeconfig or self._place.context:
                raise ClusterError(str(error)) from error
            try:
                kubernetes.config.load_incluster_config(client_configuration=made)
            except kubernetes.config.ConfigException:
                raise ClusterError(
                    f"{error}. --kubeconfig or KUBECONFIG names a file; `kubectl cluster-info` must work here"
                ) from error
        return kubernetes.client.ApiClient(made)

    @cached_property
    def _pools(self) -> Any:
        return _kubernetes().client.CustomObjectsApi(self._api)

    @cached_property
    def _core(self) -> Any:
        return _kubernetes().client.CoreV1Api(self._api)

    def _list(self, **query: Any) -> Any:
        if self.everywhere:
            return self._pools.list_cluster_custom_object(GROUP, VERSION, PLURAL, **query)
        return self._pools.list_namespaced_custom_object(GROUP, VERSION, self.namespace, PLURAL, **query)

    def pools(self, selector: str = "") -> list[Pool]:
        """All pools, by namespace and name."""
        return self._look(selector)[0]

    def _look(self, selector: str) -> tuple[list[Pool], str]:
        with _translated():
            found = self._list(label_selector=selector, _request_timeout=_PATIENCE_S)
        rows = sorted(found["items"], key=lambda it: (it["metadata"]["namespace"], it["metadata"]["name"]))
        # Members of a list do not say what they are.
        full = [{"apiVersion": f"{GROUP}/{VERSION}", "kind": "RQWorkerPool", **row} for row in rows]
        return full, str(found["metadata"]["resourceVersion"])

    def pool(self, name: str) -> Pool:
        """One pool. Raises NoSuchPool."""
        with _translated():
            found: Pool = self._pools.get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, name, _request_timeout=_PATIENCE_S
            )
        return found

    def changes(self, selector: str = "") -> Iterator[tuple[str, Pool]]:
        """``ADDED``, ``MODIFIED`` or ``DELETED`` with the pool, for ever; first all that are there as ``ADDED``."""
        rows, version = self._look(selector)
        yield from (("ADDED", row) for row in rows)
        watch = _kubernetes().watch.Watch()
        while True:
            try:
                with _translated():
                    for event in watch.stream(
                        self._list, label_selector=selector, resource_version=version, timeout_seconds=_WATCH_S
                    ):
                        version = event["object"]["metadata"]["resourceVersion"]
                        yield event["type"], event["object"]
            except Expired:
                rows, version = self._look(selector)
                yield from (("MODIFIED", row) for row in rows)

    def annotate(self, name: str, key: str, value: str | None) -> Pool:
        """Set an annotation, or take it away with None. Raises NoSuchPool."""
        body = {"metadata": {"annotations": {key: value}}}
        with _translated():
            found: Pool = self._pools.patch_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, name, body,
                field_manager=FIELD_MANAGER, _content_type="application/merge-patch+json", _request_timeout=_PATIENCE_S,
            )  # fmt: skip
        return found

    def pods(self, pool: str) -> list[tuple[str, bool]]:
        """The pool's pods, by name, and whether each has begun to run."""
        with _translated():
            found = self._core.list_namespaced_pod(
                self.namespace, label_selector=f"{POOL_LABEL}={pool}", _request_timeout=_PATIENCE_S
            )
        return [(it.metadata.name, it.status.phase != "Pending") for it in found.items]

    def logs(self, pool: str, wish: LogWish, tell: Callable[[str, str], None], stop: threading.Event) -> None:
        """Call ``tell`` with pod and line, for all pods; with ``follow`` until ``stop``, those that come later included."""
        readers: dict[str, threading.Thread] = {}
        troubles: list[ClusterError] = []

        def read(pod: str) -> None:
            try:
                for line in self._lines(pod, wish):
                    tell(pod, line)
            except ClusterError as error:
                troubles.append(error)

        while True:
            for pod, begun in self.pods(pool):
                if begun and pod not in readers:
                    readers[pod] = threading.Thread(target=read, args=(pod,), daemon=True)
                    readers[pod].start()
            if not wish.follow or stop.wait(1.0):
                break
        if not wish.follow:
            for reader in readers.values():
                reader.join()
        if troubles:
            raise troubles[0]

    def _lines(self, pod: str, wish: LogWish) -> Iterator[str]:
        with _translated():
            answer = self._core.read_namespaced_pod_log(
                pod, self.namespace, container=CONTAINER, follow=wish.follow, timestamps=wish.timestamps,
                _preload_content=False,
                **({"tail_lines": wish.tail} if wish.tail is not None else {}),
                **({"since_seconds": wish.since} if wish.since is not None else {}),
            )  # fmt: skip
            rest = b""
            for piece in answer.stream(8192, decode_content=False):
                *lines, rest = (rest + piece).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
            if rest:
                yield rest.decode(errors="replace")


class Expired(ClusterError):
    """The API server no longer knows the state that was seen last."""


def _kubernetes() -> Any:
    """The client's package. Raises ClusterError with the way to install it."""
    try:
        import kubernetes
        import kubernetes.client
        import kubernetes.config
        import kubernetes.watch
    except ImportError as error:
        raise ClusterError("the Kubernetes client is not installed; pip install 'rqk[operator]' brings it") from error
    return kubernetes


@contextmanager
def _translated() -> Iterator[None]:
    """The client's exceptions as ours."""
    _kubernetes()
    import urllib3
    from kubernetes.client import ApiException

    try:
        yield
    except ApiException as error:
        raise _refusal(error.status, error.reason, error.body) from error
    except urllib3.exceptions.HTTPError as error:
        raise ClusterError(f"the API server does not answer: {error}") from error


def _refusal(status: int | None, reason: str | None, body: Any) -> ClusterError:
    try:
        said: Mapping[str, Any] = json.loads(body)
    except (TypeError, ValueError):
        said = {}
    word, text = said.get("reason") or reason or str(status), said.get("message") or ""
    if status == 410:
        return Expired(text)
    if status == 404 and not (said.get("details") or {}).get("name"):
        return ClusterError(
            f"the server doesn't have a resource type {PLURAL!r}: rqk is not installed on this cluster (docs/install.md)"
        )
    kind = NoSuchPool if status == 404 else ClusterError
    return kind(f"from server ({word}): {text}" if text else f"from server: {status} {word}")


def names_of(pools: Sequence[Pool]) -> list[str]:
    """Their names."""
    return [pool["metadata"]["name"] for pool in pools]
