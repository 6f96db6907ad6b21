"""A small web site on loopback that takes its time, as web sites do."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

FASTEST_S = 0.1
SLOWEST_S = 0.4


def answer_time(path: str) -> float:
    """How long a page takes, in seconds: always the same for one page, different from page to page."""
    return FASTEST_S + (SLOWEST_S - FASTEST_S) * (zlib.crc32(path.encode()) % 1000) / 1000


class Site:
    """Serves pages while it is open. ``url`` is where."""

    def __init__(self, pages: Mapping[str, str]) -> None:
        self._server = _server(pages)
        self._thread = threading.Thread(target=self._server.serve_forever, name="site", daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _server(pages: Mapping[str, str]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = pages.get(self.path)
            if text is None:
                self.send_error(404)
                return
            time.sleep(answer_time(self.path))
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A page more or less is no news."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    return Server(("127.0.0.1", 0), Handler)
