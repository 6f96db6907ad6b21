"""The endpoint's connections: bytes in, bytes out, never waiting for anybody in particular."""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from queue import SimpleQueue

from rqk.metrics.pages import Answer, Pages

MOST_CONNECTIONS = 64
LONGEST_HEAD = 16 * 1024
SILENCE_S = 10.0
"""How long a connection may send or take nothing in the middle of a request or a response. Probes time out sooner."""
IDLE_S = 120.0
"""How long an idle connection is kept for its next request: Prometheus scrapes each minute at most."""

_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Connection:
    """One client."""

    sock: socket.socket
    since: float
    """When it last sent or took a byte (monotonic)."""
    received: bytearray = field(default_factory=bytearray)
    to_send: bytearray = field(default_factory=bytearray)
    working: bool = False
    """The collecting thread has its request."""
    last: bool = False
    """To be closed once everything is sent."""

    def patience(self) -> float:
        """How long it may be silent from now on, in seconds."""
        return SILENCE_S if self.received or self.to_send else IDLE_S


class Loop:
    """One stretch of serving, between a resume and the next pause; all in one thread.

    Requests that `pages` calls slow go into `requests`; whoever answers them hands the answers to `take`.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        connections: set[Connection],
        pages: Pages,
        requests: SimpleQueue[tuple[Connection, bytes] | None],
    ) -> None:
        self._selector = selector
        self._listener = listener
        self._connections = connections
        self._pages = pages
        self._requests = requests
        for connection in list(connections):
            self._advance(connection)

    def timeout(self) -> float | None:
        """Seconds until the first connection runs out of patience; None (nobody is there) costs nothing."""
        waiting = [connection.since + connection.patience() for connection in self._connections]
        return max(min(waiting) - time.monotonic(), 0.0) if waiting else None

    def accept(self) -> None:
        """Take one new connection; the one that was silent longest makes room if there are too many."""
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._make_room()
            log.debug("a connection to the metrics endpoint was not accepted: %s", error)
            return
        sock.setblocking(False)
        if len(self._connections) >= MOST_CONNECTIONS:
            self._make_room()
        connection = Connection(sock, time.monotonic())
        self._connections.add(connection)
        self._watch(connection, selectors.EVENT_READ)

    def move(self, connection: Connection, events: int) -> None:
        """Receive what has come and send what is possible, without waiting."""
        if connection not in self._connections:
            return  # it made room for another one in this very round
        if events & selectors.EVENT_READ:
            try:
                data = connection.sock.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close(connection)
                return
            connection.since = time.monotonic()
            connection.received += data
        self._advance(connection)

    def take(self, answers: deque[tuple[Connection, Answer]]) -> None:
        """Send what the collecting thread has finished."""
        while answers:
            connection, answer = answers.popleft()
            if connection in self._connections:
                connection.working = False
                self._put(connection, answer)
                self._advance(connection)

    def expire(self) -> None:
        """Close whoever was silent for too long; who waits for us is not silent."""
        now = time.monotonic()
        for connection in list(self._connections):
            if connection.working:
                connection.since = now
            elif now - connection.since > connection.patience():
                self._close(connection)

    def _advance(self, connection: Connection) -> None:
        """Answer and send until this connection has to wait for its client or for the collecting thread."""
        while True:
            if connection.to_send and not self._send(connection):
                return
            if connection.last:
                self._close(connection)
                return
            if connection.working:
                # Not read from meanwhile: a client must not fill our memory while it waits.
                self._watch(connection, 0)
                return
            end = connection.received.find(b"\r\n\r\n")
            if end < 0 and len(connection.received) <= LONGEST_HEAD:
                self._watch(connection, selectors.EVENT_READ)
                return
            if end < 0:
                self._put(connection, Answer(_TOO_LONG, last=True))
                continue
            request = bytes(connection.received[: end + 4])
            del connection.received[: end + 4]
            if self._pages.is_slow(request):
                connection.working = True
                self._requests.put((connection, request))
            else:
                self._put(connection, self._pages.answer(request))

    def _put(self, connection: Connection, answer: Answer) -> None:
        connection.to_send += answer.raw
        connection.last = answer.last
        connection.since = time.monotonic()

    def _send(self, connection: Connection) -> bool:
        """Whether everything is sent; if not, the rest follows when the client takes it, or it is gone."""
        try:
            while connection.to_send:
                sent = connection.sock.send(connection.to_send)
                del connection.to_send[:sent]
                connection.since = time.monotonic()
        except BlockingIOError:
            self._watch(connection, selectors.EVENT_WRITE)
            return False
        except OSError:
            self._close(connection)
            return False
        return True

    def _watch(self, connection: Connection, events: int) -> None:
        """Wake up for these events only; selectors know no empty set, so 0 takes the socket out."""
        known = self._selector.get_map().get(connection.sock)
        if known is not None and known.events != events:
            self._selector.unregister(connection.sock)
            known = None
        if known is None and events:
            self._selector.register(connection.sock, events, connection)

    def _make_room(self) -> None:
        if self._connections:
            self._close(min(self._connections, key=lambda connection: connection.since))
        else:
            time.sleep(0.1)  # no file descriptor in the whole process: nobody to serve until there is one

    def _close(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._watch(connection, 0)
        connection.sock.close()
