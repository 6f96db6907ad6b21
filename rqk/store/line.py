"""One connection of one's own, outside any pool: for the worker, which waits on it with a selector and asks thousands of times a second.

redis-py makes the connection (addresses, TLS, Sentinel, credentials, database); after that, packing and parsing are hiredis's alone,
which takes a third of the time of redis-py's command path.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
import redis
from redis import exceptions as wire

from rqk.errors import StoreError, StoreUnavailable
from rqk.store.connect import SOCKET_TIMEOUT_S, Client, describe, translated

_READ = 1 << 16
_MOST_READS = 64  # at a time: whoever publishes without end must not keep a worker from its jobs
_NOTHING = False  # hiredis's word for "not enough yet"; RESP2 has no booleans
_TOO_LATE = "timed out"


def _error(text: str) -> wire.ResponseError:
    """An error answer as redis-py would raise it."""
    if text.startswith("NOSCRIPT"):
        return wire.NoScriptError(text)
    return wire.ResponseError(text)


def _limit(sock: socket.socket, timeout_s: float | None) -> None:
    """Let the system watch the time a call takes. Python's own time limits ask poll() before each call."""
    limit = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6)) if timeout_s is not None else bytes(16)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, option, limit)


class Line:
    """A connection for one thread. Reconnects on the next command after an error; that command itself is never repeated unasked."""

    def __init__(self, client: Client, timeout_s: float | None = SOCKET_TIMEOUT_S) -> None:
        self._pool: Any = client.connection_pool
        self._timeout = timeout_s
        self._connection: Any = None
        self._reader: Any = None
        self._due: deque[Callable[[Any], None]] = deque()  # who gets the answers that come first
        self._is_plain = True  # not encrypted
        self.sock: socket.socket | None = None  # to be closed in a forked child; None when not connected
        self.where = describe(client)

    def _open(self) -> socket.socket:
        # The second version of the protocol has no pushes, so that every answer belongs to a question.
        kwargs = {
            **self._pool.connection_kwargs,
            "protocol": 2,
            "socket_timeout": self._timeout,
            "decode_responses": False,
        }
        self._connection = self._pool.connection_class(**kwargs)
        # The worker decides itself what is safe to repeat.
        self._connection.retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        self._connection.connect()
        self._reader = hiredis.Reader(replyError=_error, protocolError=wire.InvalidResponse)
        self.sock = self._connection._sock
        self._is_plain = not isinstance(self.sock, ssl.SSLSocket)
        if self._is_plain:
            self.sock.settimeout(None)
            _limit(self.sock, self._timeout)
        else:
            self.sock.settimeout(self._timeout)
        return self.sock

    def execute_command(self, *args: Any) -> Any:
        """Send one command and wait for its answer."""
        self.send(*args)
        return self.read()

    def post(self, *args: Any, then: Callable[[Any], None]) -> None:
        """Send one command and do not wait: ``then`` gets the answer when the line is read next.

        If the connection breaks before, or the answer is an error (which breaks it too: other commands may be under way
        behind it), ``then`` is not called; whoever posts keeps note of what is open.
        """
        self.send(*args)
        self._due.append(then)

    @property
    def is_owed(self) -> bool:
        """Whether answers to posted commands are still to come."""
        return bool(self._due)

    def collect(self, *, wait: bool = True) -> None:
        """Read the answers to all posted commands, waiting for them; or only those that have come."""
        try:
            while self._due:
                reply = self._next(wait=wait)
                if reply is _NOTHING:
                    return
                self._hand_over(reply)
        except (wire.RedisError, OSError) as error:
            raise self._failed(error) from error

    def _hand_over(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            raise wire.ConnectionError(str(reply))
        self._due.popleft()(reply)

    def send(self, *args: Any) -> None:
        """Send one command (text, bytes, ints and floats); its answer is read later with :meth:`read`."""
        try:
            (self.sock or self._open()).sendall(hiredis.pack_command(args))
        except BlockingIOError as error:
            raise self._failed(TimeoutError(_TOO_LATE)) from error
        except (wire.RedisError, OSError) as error:
            raise self._failed(error) from error

    def read(self) -> Any:
        """The next answer; error answers are raised."""
        try:
            while self._due:
                self._hand_over(self._next())
            reply = self._next()
            if isinstance(reply, Exception):
                raise reply
        except wire.NoScriptError:
            raise
        except (wire.RedisError, OSError) as error:
            raise self._failed(error) from error
        return reply

    def _next(self, *, wait: bool = True) -> Any:
        """The next answer; _NOTHING if it has not come whole and is not waited for."""
        if self.sock is None:
            raise wire.ConnectionError("not connected")
        reply = self._reader.gets()
        while reply is _NOTHING and self._receive(wait=wait):
            reply = self._reader.gets()
        return reply

    def _receive(self, *, wait: bool = True) -> bool:
        """Read once; whether there was anything. Raises TimeoutError if it waited in vain."""
        sock: Any = self.sock
        try:
            if self._is_plain:
                data = sock.recv(_READ, 0 if wait else socket.MSG_DONTWAIT)
            elif wait:
                data = sock.recv(_READ)
            else:
                sock.settimeout(0)
                try:
                    data = sock.recv(_READ)
                finally:
                    sock.settimeout(self._timeout)
        except (BlockingIOError, ssl.SSLWantReadError) as error:
            if wait:
                raise TimeoutError(_TOO_LATE) from error
            return False
        if not data:
            raise wire.ConnectionError("the server closed the connection")
        self._reader.feed(data)
        return True

    def arrived(self) -> list[Any]:
        """What a subscription has brought, whole messages only, without waiting. Raises StoreUnavailable."""
        if self.sock is None:
            return []
        try:
            for _ in range(_MOST_READS):
                if not self._receive(wait=False):
                    break
        except (wire.RedisError, OSError) as error:
            raise self._failed(error) from error
        return list(iter(self._reader.gets, _NOTHING))

    def _failed(self, error: Exception) -> StoreError:
        ours = translated(error, self.where)
        if isinstance(ours, StoreUnavailable):
            self.close()
        return ours

    def fileno(self) -> int:
        """For selectors; -1 when not connected."""
        return self.sock.fileno() if self.sock is not None else -1

    def close(self) -> None:
        """Drop the connection; the next command opens a new one."""
        if self._connection is not None:
            self._connection.disconnect()
        self._due.clear()
        self._connection = self._reader = self.sock = None
