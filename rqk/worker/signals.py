"""Signals become flags and a byte in a pipe; nothing else happens in a handler."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

from rqk.worker.watchers import wait_to_read

_STOP = (signal.SIGTERM, signal.SIGINT)
_SAME_REQUEST_S = 1.0  # a terminal and a parent process both pass a Ctrl-C on; as in RQ, that is one request


class StopRequests:
    """Counts requests to stop: one is warm, two is cold."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.asked = 0
        self._monotonic = monotonic
        self._last = float("-inf")
        self._before: dict[int, Any] = {}
        self.reader, self._writer = socket.socketpair()
        for end in (self.reader, self._writer):
            end.setblocking(False)
        self._old_wakeup = -1

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        now = self._monotonic()
        if self.asked == 0 or now - self._last >= _SAME_REQUEST_S:
            self.asked += 1
        self._last = now

    def install(self) -> None:
        """Take over SIGTERM, SIGINT and SIGCHLD; for the main thread only."""
        for number in _STOP:
            self._before[number] = signal.signal(number, self)
        # A handler must exist for the wake-up byte to be written.
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._old_wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def restore(self) -> None:
        """Give the signals back."""
        signal.set_wakeup_fd(self._old_wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until asked to stop. What else wakes us up, a child's end, its socket tells later, too."""
        until = self._monotonic() + seconds
        while not self.asked and (left := until - self._monotonic()) > 0:
            wait_to_read([self.reader.fileno()], left)
            self.drain()

    def drain(self) -> None:
        """Forget the wake-up bytes."""
        try:
            while self.reader.recv(4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close the pipe (in a forked child: this process's copy)."""
        self.reader.close()
        self._writer.close()
