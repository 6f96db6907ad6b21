"""An HTTP server that gives the answers of an API server as they were recorded, for what a real one does seldom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes.aio.client import Configuration
from rqk_operator.kube import Kube

Answer = tuple[int, Any]  # HTTP status, and what becomes JSON; bytes are sent as they are
Script = Callable[[str, str, Any], Answer | Awaitable[Answer]]  # method, path, body
Stream = Callable[
    [str], list[Any]
]  # the version asked for ("": all that is there) to events; what is no event ends the stream


@dataclass
class Answers:
    """``asked`` is what was asked, in order: method, path, body."""

    kube: Kube
    asked: list[tuple[str, str, Any]] = field(default_factory=list)

    def count(self, method: str, end: str = "") -> int:
        """How often it was asked for a path with this end."""
        return sum(it[0] == method and it[1].endswith(end) for it in self.asked)


@asynccontextmanager
async def answering(script: Script, stream: Stream | None = None) -> AsyncIterator[Answers]:
    """A server on a free port, and a way to ask it. Without ``stream`` it is one that cannot stream what is there."""
    asked: list[tuple[str, str, Any]] = []

    async def watched(request: web.Request) -> web.StreamResponse:
        version = request.query["resourceVersion"]
        asked.append(("WATCH", request.path, version))
        if stream is None:
            status, answer = refusal(422, "Invalid", "sendInitialEvents is forbidden for watch")
            return web.json_response(answer, status=status)
        response = web.StreamResponse()
        await response.prepare(request)
        for event in stream(version):
            await response.write(json.dumps(event).encode() + b"\n")
        return response

    async def handle(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query or (stream is not None and "watch" in request.query):
            return await watched(request)
        raw = await request.read()
        body = json.loads(raw) if raw else None
        asked.append((request.method, request.path, body))
        found = script(request.method, request.path, body)
        status, answer = found if isinstance(found, tuple) else await found
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return web.Response(status=status, body=text, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    kube = Kube(configuration)
    try:
        yield Answers(kube, asked)
    finally:
        await kube.close()
        await runner.cleanup()


def refusal(status: int, reason: str, message: str, causes: tuple[dict[str, str], ...] = ()) -> Answer:
    """A Status object, as the API server words its refusals."""
    return status, {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": status,
        "details": {"causes": list(causes)},
    }  # fmt: skip
