"""The API server, as plain dictionaries: the only module that talks to it, except for kopf's watch of the pools.

The official client finds the server and the credentials; requests go through one aiohttp session, since building and
checking its typed models costs five times as much as the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from rqk_operator.errors import Conflict, KubeError, OperatorError

Body = Mapping[str, Any]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
_FULL = "application/json"
_LIGHT = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
TIMEOUT_S = 15.0
EXPRESS_S = 3.0  # the same for what would come too late after that
MOST_AT_A_TIME = 32
PAGE = 200  # objects of one list request; as JSON they are small, in memory they are not
_TRIES = 3
_WATCH_S = 290  # the server ends a watch after this long, and we begin the next one
_SILENCE_S = 75.0  # bookmarks come every minute; a watch that is silent for longer is dead
_STREAM_SILENCE_S = 10.0  # what is there comes without a pause, but for a server whose etcd cannot say how far it is
_INITIAL = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
_LONGEST_LINE = 1 << 24  # an object has 1.5 MiB at most, events carry one


class Kube:
    """A session with one API server. ``asked`` is told each request's verb and HTTP status (0: no answer)."""

    def __init__(self, configuration: Configuration, asked: Callable[[str, int], None] | None = None) -> None:
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)
        connector = aiohttp.TCPConnector(ssl=self._rest.ssl_context, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, read_bufsize=_LONGEST_LINE)
        self.gate: asyncio.Semaphore | None = asyncio.Semaphore(MOST_AT_A_TIME)
        self.timeout_s = TIMEOUT_S
        self._asked = asked or (lambda verb, status: None)
        self.streams: bool | None = None  # whether the server can stream what is there; None: it was not asked yet

    @classmethod
    async def connect(cls, asked: Callable[[str, int], None] | None = None) -> Self:
        """By the pod's service account, or else by KUBECONFIG. Raises OperatorError if there is neither."""
        configuration = Configuration()
        config: Any = kubernetes_config  # untyped
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            try:
                await config.load_kube_config(client_configuration=configuration)
            except config.ConfigException as error:
                raise OperatorError(
                    f"neither in a pod with a service account nor given a kubeconfig: {error}"
                ) from error
        return cls(configuration, asked)

    def express(self) -> Kube:
        """The same session without its queue, and less patient: for the Lease, which must be renewed while thousands of writes
        wait, and asked for again in time if one request hangs."""
        twin = copy.copy(self)
        twin.gate, twin.timeout_s = None, EXPRESS_S
        return twin

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()
        await self._rest.close()

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """One object, or one page of a list. Raises KubeError, as all of these do."""
        return (await self._send("GET", path, query))[0]

    async def find(self, path: str) -> dict[str, Any] | None:
        """Like get, but what does not exist is an answer and no error."""
        try:
            return await self.get(path)
        except KubeError as error:
            if error.is_missing:
                return None
            raise

    async def create(self, path: str, body: Body, manager: str) -> dict[str, Any]:
        """Make an object; ``path`` is its collection. 409 if it is there already."""
        return (await self._send("POST", path, {"fieldManager": manager}, body, "application/json"))[0]

    async def replace(self, path: str, body: Body, manager: str) -> dict[str, Any]:
        """Put the whole object; 409 if its resourceVersion is not the current one."""
        return (await self._send("PUT", path, {"fieldManager": manager}, body, "application/json"))[0]

    async def apply(
        self, path: str, body: Body, manager: str, *, force: bool = False, dry_run: bool = False
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Server-side apply; returns the object and the server's warnings."""
        query = {
            "fieldManager": manager,
            **({"force": "true"} if force else {}),
            **({"dryRun": "All"} if dry_run else {}),
        }
        return await self._send("PATCH", path, query, body, APPLY)

    async def merge(self, path: str, body: Body, manager: str) -> dict[str, Any]:
        """A JSON merge patch: null takes a field away, lists are replaced."""
        return (await self._send("PATCH", path, {"fieldManager": manager}, body, MERGE))[0]

    async def patch(self, path: str, steps: list[dict[str, Any]], manager: str) -> dict[str, Any]:
        """A JSON patch; a ``test`` step that does not hold is a KubeError with status 422."""
        return (await self._send("PATCH", path, {"fieldManager": manager}, steps, JSON))[0]

    async def delete(self, path: str, *, uid: str | None = None) -> None:
        """Delete; that it is gone already is fine. ``uid`` spares a namesake."""
        body = {"propagationPolicy": "Background", **({"preconditions": {"uid": uid}} if uid else {})}
        try:
            await self._send("DELETE", path, {}, body, "application/json")
        except KubeError as error:
            if not error.is_missing:
                raise

    async def pages(self, path: str, *, light: bool = False, **query: str) -> AsyncIterator[dict[str, Any]]:
        """A list, in pieces; a ``light`` one has the objects' metadata only."""
        token = ""
        accept = _LIGHT if light else _FULL
        while True:
            words = {"limit": str(PAGE), **({"continue": token} if token else {}), **query}
            page, _ = await self._send("GET", path, words, accept=accept)
            yield page
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                return

    async def present(self, path: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        """All that is there, as a watch tells it: ADDED, now and then MODIFIED or DELETED for what happens meanwhile, and in the
        end a BOOKMARK with the version from which on to watch. After a broken stream there is a RESTART, and things are told
        once more: what was told before it may be gone without a word.

        Streamed by servers that can (Kubernetes 1.34 or newer), from their memory, and each object is gone before the next one
        comes; else listed in pages.
        """
        if self.streams is not False:
            told = False
            try:
                async with contextlib.aclosing(self.watch(path, "", _STREAM_SILENCE_S, **_INITIAL, **query)) as events:
                    async for event in events:
                        if event["type"] == "BOOKMARK":
                            self.streams = True
                            yield event
                            return
                        told = True
                        yield event
            except KubeError as error:
                if error.status in (401, 403, 404):
                    raise
                # Else it does not know how, or its etcd does not (older than 3.4.25: a status of 500, in the stream).
            self.streams = self.streams or False  # one that has done so before has only broken off
            if told:
                yield {"type": "RESTART", "object": {"metadata": {"resourceVersion": ""}}}
        async for page in self.pages(path, light=False, **query):
            for item in page.get("items") or ():
                yield {"type": "ADDED", "object": item}
        yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": page["metadata"]["resourceVersion"]}}}

    async def watch(
        self, path: str, version: str, silence_s: float = _SILENCE_S, **query: str
    ) -> AsyncGenerator[dict[str, Any]]:
        """Events since ``version``, bookmarks included, until the server ends it. Raises KubeError (410: too old)."""
        words = {**query, "watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
        words["timeoutSeconds"] = str(_WATCH_S)
        patience = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=silence_s)
        try:
            async with self._session.get(
                self._url(path), params=words, headers=await self._headers(), timeout=patience
            ) as answer:
                self._asked("watch", answer.status)
                if answer.status != 200:
                    raise _refusal(answer.status, await answer.read())
                async for line in answer.content:
                    event = _decoded(line, path)
                    if not ("type" in event and isinstance(event.get("object"), dict)):
                        raise ValueError(f"this is no event: {line[:80]!r}")
                    if event["type"] == "ERROR":
                        raise _refusal(int(event["object"].get("code", 500)), json.dumps(event["object"]).encode())
                    yield event
        except (
            aiohttp.ClientError,
            TimeoutError,
            OSError,
            ValueError,
        ) as error:  # ValueError: an endless line, or no event
            raise KubeError(
                0, "NoAnswer", f"the watch of {path} broke: {str(error) or type(error).__name__}"
            ) from error

    async def _send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str],
        body: Any = None,
        kind: str | None = None,
        accept: str = _FULL,
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        headers = await self._headers() | {"Accept": accept} | ({"Content-Type": kind} if kind else {})
        data = json.dumps(body, separators=(",", ":")).encode() if body is not None else None
        for attempt in range(1, _TRIES + 1):
            async with self.gate or contextlib.nullcontext():
                status, raw, answer = await self._once(verb, path, query, data, headers)
            if status < 400:
                return (_decoded(raw, path) if raw else {}), answer
            if status != 429 or attempt == _TRIES:
                break
            # Told to slow down: the server says for how long.
            await asyncio.sleep(min(_seconds(answer), 10.0) * random.uniform(1.0, 1.3))
        raise _refusal(status, raw)

    async def _once(
        self, verb: str, path: str, query: Mapping[str, str], data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, tuple[str, ...]]:
        """Status, body, and the warnings (of a 429: the seconds to wait)."""
        patience = aiohttp.ClientTimeout(total=self.timeout_s)
        try:
            async with self._session.request(
                verb, self._url(path), params=query, data=data, headers=headers, timeout=patience
            ) as answer:
                raw = await answer.read()
                self._asked(verb.lower(), answer.status)
                if answer.status == 429:
                    return answer.status, raw, (answer.headers.get("Retry-After", "1"),)
                return answer.status, raw, tuple(map(_warning, answer.headers.getall("Warning", [])))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._asked(verb.lower(), 0)
            raise KubeError(
                0, "NoAnswer", f"no answer from the API server: {str(error) or type(error).__name__}"
            ) from error

    def _url(self, path: str) -> str:
        return f"{self._configuration.host}{path}"

    async def _headers(self) -> dict[str, str]:
        # Asked for each time: a service account's token is renewed every hour.
        settings: Any = await self._configuration.auth_settings()
        token = settings.get("BearerToken", {}).get("value")
        return {"Accept": _FULL, **({"Authorization": token} if token else {})}


def path_of(api: str, plural: str, namespace: str | None = None, name: str | None = None, sub: str = "") -> str:
    """``/apis/apps/v1/namespaces/shop/deployments/web/scale``; ``api`` is ``v1`` or ``group/version``."""
    root = f"/api/{api}" if "/" not in api else f"/apis/{api}"
    inside = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    one = f"/{quote(name, safe='')}" if name else ""
    return f"{root}{inside}/{plural}{one}{f'/{sub}' if sub else ''}"


def _decoded(raw: bytes, path: str) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        # Half an answer of a server that goes, or the page of a proxy: asking again may help.
        raise KubeError(0, "NoAnswer", f"the answer to {path} is not JSON: {raw[:80]!r}")
    return found


def _refusal(status: int, raw: bytes) -> KubeError:
    try:
        said = json.loads(raw)
        reason, message = str(said.get("reason") or "Unknown"), str(said.get("message") or "no message")
        causes = (said.get("details") or {}).get("causes") or ()
    except (ValueError, AttributeError):
        reason, message, causes = "Unknown", raw[:300].decode("utf-8", "replace") or f"HTTP status {status}", ()
    conflicts = tuple(
        Conflict(_quoted(cause.get("message", "")), cause.get("field", ""))
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict"
    )
    return KubeError(status, reason, message, conflicts)


def _quoted(message: str) -> str:
    """``conflict with "kubectl-edit" using apps/v1`` -> ``kubectl-edit``."""
    parts = message.split('"')
    return parts[1] if len(parts) > 2 else message


def _warning(header: str) -> str:
    """``299 - "text"`` -> ``text``."""
    _, _, text = header.partition('"')
    return (text.removesuffix('"') or header).replace('\\"', '"')


def _seconds(words: tuple[str, ...]) -> float:
    try:
        return float(words[0])
    except (IndexError, ValueError):
        return 1.0
