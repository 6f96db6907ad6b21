"""What the endpoint serves: a complete HTTP request's bytes in, a complete response's bytes out.

The standard library's BaseHTTPRequestHandler reads and writes HTTP, prometheus_client's own WSGI app chooses format
(Prometheus text or OpenMetrics, as ``Accept`` asks), compression and ``name[]`` selection. No socket is touched here.
"""

from __future__ import annotations

import html
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CollectorRegistry, make_wsgi_app

log = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Health:
    """How a process is. live: its loop turns (else it should be restarted); ready: it would take work now;
    reason: one short sentence for a person."""

    live: bool
    ready: bool
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """A response, ready to be sent; `last`: the connection is to be closed after it."""

    raw: bytes
    last: bool


class Pages:
    """The pages of one process.

    registry: what /metrics shows. health: asked at each probe, from the endpoint's thread; it must be quick and should
    look at the process only: a probe that asks Redis restarts a whole fleet when Redis hiccups. title: of the index.
    """

    def __init__(self, registry: CollectorRegistry, health: Callable[[], Health], title: str = "rqk") -> None:
        self.health = health
        self.title = title
        self.metrics_app = make_wsgi_app(registry)

    def is_slow(self, request: bytes) -> bool:
        """Whether answering may take long (collecting metrics may; the probes never wait behind it)."""
        words = request.split(None, 2)
        return len(words) > 1 and words[1].split(b"?", 1)[0] == b"/metrics"

    def answer(self, request: bytes) -> Answer:
        """The response to a request whose head is complete. Never raises: a defect is a logged 500."""
        try:
            exchange = _Exchange(request, self)
        except Exception:
            # This thread also answers the liveness probe: if it died of a defect in a page, Kubernetes would kill the
            # pod and the job in it.
            log.exception("a page of the metrics endpoint failed; answering 500 and going on")
            body = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            return Answer(body, last=True)
        return Answer(exchange.wfile.getvalue(), last=exchange.close_connection)


class _Exchange(BaseHTTPRequestHandler):
    """One request and its response, in memory."""

    protocol_version = "HTTP/1.1"
    server_version = "rqk"
    sys_version = ""
    default_request_version = "HTTP/1.0"  # the base class' 0.9 would answer garbage with a body and no status
    wfile: BytesIO

    def __init__(self, request: bytes, pages: Pages) -> None:  # the base class' would want a socket
        self.pages = pages
        self.rfile = BytesIO(request)
        self.wfile = BytesIO()
        self.client_address = ("", 0)
        self.close_connection = True
        self.handle_one_request()
        if self._has_body():
            self.close_connection = True  # we do not read bodies, so the next bytes would not be a request

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/metrics":
            self._metrics(url.query)
        elif url.path in ("/healthz", "/livez"):
            health = self.pages.health()
            self._health(health, health.live)
        elif url.path == "/readyz":
            health = self.pages.health()
            self._health(health, health.live and health.ready)
        elif url.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self._index())
        else:
            self._send(HTTPStatus.NOT_FOUND, _TEXT, "not found; there are /metrics, /healthz and /readyz\n")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.close_connection = True
        allow = [("Allow", "GET, HEAD")]
        self._send(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, "only GET and HEAD\n", allow)

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)

    def _metrics(self, query: str) -> None:
        status = ""
        headers: list[tuple[str, str]] = []

        def start_response(line: str, fields: list[tuple[str, str]]) -> None:
            nonlocal status
            status = line
            headers.extend(fields)

        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/metrics",
            "QUERY_STRING": query,
            "HTTP_ACCEPT": self.headers.get("Accept", ""),
            "HTTP_ACCEPT_ENCODING": self.headers.get("Accept-Encoding", ""),
        }
        body = b"".join(self.pages.metrics_app(environ, start_response))
        content_type = dict(headers).pop("Content-Type", _TEXT)
        others = [(name, value) for name, value in headers if name != "Content-Type"]
        self._send(HTTPStatus(int(status.split(maxsplit=1)[0])), content_type, body, others)

    def _health(self, health: Health, good: bool) -> None:
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "verbose" in query or "application/json" in self.headers.get("Accept", ""):
            self._send(status, "application/json", json.dumps(asdict(health)) + "\n")
        else:
            self._send(status, _TEXT, "ok\n" if good else f"{health.reason or 'not ready'}\n")

    def _index(self) -> str:
        title = html.escape(self.pages.title)
        links = "".join(f'<li><a href="{path}">{path}</a></li>' for path in ("/metrics", "/healthz", "/readyz"))
        return f"<!doctype html><title>{title}</title><h1>{title}</h1><ul>{links}</ul>\n"

    def _send(
        self, status: HTTPStatus, content_type: str, body: str | bytes, headers: list[tuple[str, str]] | None = None
    ) -> None:
        raw = body.encode("utf-8", "replace") if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        for name, value in headers or []:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        if self.close_connection or self._has_body():
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def _has_body(self) -> bool:
        headers = getattr(self, "headers", None)
        if headers is None:
            return True  # not even a readable head
        return "Transfer-Encoding" in headers or headers.get("Content-Length", "0").strip() != "0"
