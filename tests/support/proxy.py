"""A TCP proxy that misbehaves on request: cut, refused, silent, slow and half-open connections, and TLS in front."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_CHUNK = 1 << 16


class Proxy:
    """Passes bytes between clients and one server, until told otherwise.

    ``before`` is called with every piece a client sends, before it is passed on, in the connection's own thread: a
    test counts there, waits there, or kills somebody. ``after`` is called with every piece of the server's answers
    before the client gets it. A client that pipelines sends many commands in one piece, so the number of pieces is
    close to the number of round trips. With ``tls`` clients must speak TLS.
    """

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._target = (host, port)
        self._tls = tls
        self._flow = threading.Event()
        self._flow.set()
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener: socket.socket | None = None
        self.delay = 0.0
        self.pieces = 0
        self.connections = 0
        self.before: Callable[[bytes], None] | None = None
        self.after: Callable[[bytes], None] | None = None
        self.port = 0
        self.accept()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL at which clients reach the server through this proxy."""
        return f"{'rediss' if self._tls else 'redis'}://127.0.0.1:{self.port}/0"

    def accept(self) -> None:
        """Listen, again after ``refuse``, on the same port as before."""
        if self._listener is not None:
            return
        listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def refuse(self) -> None:
        """Cut everything and refuse new connections."""
        if self._listener is not None:
            # Closing alone would leave the thread in accept() with the socket still listening.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def cut(self) -> None:
        """End all present connections on both sides; the threads that pass their bytes close the sockets."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def silence(self) -> None:
        """Pass nothing on any more, in either direction, without closing anything: a half-open network."""
        self._flow.clear()

    def speak(self) -> None:
        """Pass everything on again, beginning with what was held back."""
        self._flow.set()

    def close(self) -> None:
        """Stop for good."""
        self.refuse()
        self._flow.set()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            server = socket.create_connection(self._target, timeout=10)
            server.settimeout(None)
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self.connections += 1
            self._pairs.append((client, server))
        threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()
        self._pump(client, server, True)

    def _pump(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        try:
            while piece := source.recv(_CHUNK):
                if from_client:
                    with self._lock:
                        self.pieces += 1
                hook = self.before if from_client else self.after
                if hook is not None:
                    hook(piece)
                if self.delay:
                    time.sleep(self.delay)
                self._flow.wait()
                target.sendall(piece)
        except OSError:
            pass
        finally:
            for end in (source, target):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._pairs = [pair for pair in self._pairs if source not in pair]
            source.close()
