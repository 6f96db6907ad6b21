"""The HTTP endpoint of a process: /metrics for Prometheus, /healthz and /readyz for Kubernetes.

One thread moves the bytes of all connections and answers the probes; a second one collects metrics. So a client that
is slow, silent or half gone costs a file descriptor and delays nobody, and a scrape that takes long (the exporter's
asks Redis) does not make the liveness probe wait.

The supervisor forks now and then, and a fork must not happen while threads run. `pause()` ends both threads and leaves
the listening socket and the open connections as they are: the kernel queues who comes, `resume()` goes on. The forked
child closes `sockets()` without a word on them.
"""

from __future__ import annotations

import errno
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from prometheus_client import CollectorRegistry

from rqk.errors import RqkError
from rqk.metrics.connections import Connection, Loop
from rqk.metrics.pages import Answer, Health, Pages

__all__ = ["Endpoint", "EndpointError", "Health"]

DEFAULT_PORT = 9727

_BACKLOG = 128


class EndpointError(RqkError, ValueError):
    """The metrics endpoint cannot listen on this host and port."""


class Endpoint:
    """The pages of one process on one address.

    host: name or address to listen on ("0.0.0.0", "::", "127.0.0.1", …; "::" takes IPv4 too). port: 0 for any free one.
    registry: what /metrics shows. health: asked at each probe, see `Pages`. title: of the index page.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        health: Callable[[], Health],
        *,
        title: str = "rqk",
    ) -> None:
        self._host = host
        self._port = port
        self._pages = Pages(registry, health, title)
        self._listener: socket.socket | None = None
        self._connections: set[Connection] = set()
        self._requests: SimpleQueue[tuple[Connection, bytes] | None] = SimpleQueue()
        self._answers: deque[tuple[Connection, Answer]] = deque()
        self._threads: list[threading.Thread] = []
        self._leave = threading.Event()
        self._wake: socket.socket | None = None

    def start(self, *, any_port: bool = True) -> int:
        """Listen and serve; returns the port, which is another one than asked for if that was taken (the caller tells
        people). With ``any_port=False`` a taken port is an error too. Raises EndpointError."""
        try:
            self._listener = self._listen(self._port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not any_port:
                raise EndpointError(self._complaint(error)) from error
            try:
                self._listener = self._listen(0)
            except OSError as second:
                raise EndpointError(self._complaint(second)) from second
        self.resume()
        port: int = self._listener.getsockname()[1]
        return port

    def pause(self) -> None:
        """End our threads (a collection under way is waited for) and keep every socket. No effect if paused."""
        if not self._threads:
            return
        self._leave.set()
        self._requests.put(None)
        self._ring()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def resume(self) -> None:
        """Serve again after `pause`. No effect if serving, or not started."""
        if self._threads or self._listener is None:
            return
        self._leave.clear()
        asleep, self._wake = socket.socketpair()
        for end in (asleep, self._wake):
            end.setblocking(False)
        self._threads = [
            threading.Thread(target=self._serve, args=(self._listener, asleep, self._wake), name="rqk-endpoint"),
            threading.Thread(target=self._collect, name="rqk-metrics"),
        ]
        for thread in self._threads:
            thread.daemon = True  # a process whose main thread is done must not hang on us
            thread.start()

    def stop(self) -> None:
        """End our threads and close every socket. The endpoint may be started again."""
        self.pause()
        for sock in self.sockets():
            sock.close()
        self._listener = None
        self._connections.clear()
        self._answers.clear()

    def sockets(self) -> tuple[socket.socket, ...]:
        """Everything open while paused: what a child forked now has to close, silently."""
        listener = () if self._listener is None else (self._listener,)
        return (*listener, *(connection.sock for connection in self._connections))

    # --- listening

    def _listen(self, port: int) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(
            self._host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # Without this a restarted worker would not get its port back for a minute after the last scrape.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6 and self._host == "::":
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(address)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener

    def _complaint(self, error: OSError) -> str:
        shown = f"[{self._host}]" if ":" in self._host else self._host
        return f"cannot serve metrics on {shown}:{self._port}: {error.strerror or error}"

    # --- the thread that collects

    def _collect(self) -> None:
        while not self._leave.is_set():
            item = self._requests.get()
            if item is None:
                continue  # only to look at the flag
            connection, request = item
            if connection.sock.fileno() < 0:
                continue  # closed while waiting its turn
            self._answers.append((connection, self._pages.answer(request)))
            self._ring()

    def _ring(self) -> None:
        wake = self._wake
        if wake is not None:
            try:
                wake.send(b"!")
            except OSError:
                pass  # full: it is awake anyway; closed: the loop has ended

    # --- the thread that moves bytes

    def _serve(self, listener: socket.socket, asleep: socket.socket, wake: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, asleep, wake:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(asleep, selectors.EVENT_READ)
            loop = Loop(selector, listener, self._connections, self._pages, self._requests)
            while not self._leave.is_set():
                loop.take(self._answers)
                for key, events in selector.select(loop.timeout()):
                    if key.fileobj is listener:
                        loop.accept()
                    elif key.fileobj is asleep:
                        asleep.recv(4096)
                    else:
                        loop.move(key.data, events)
                loop.expire()
