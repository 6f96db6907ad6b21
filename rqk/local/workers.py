"""Worker processes of ``rqk up``: started tied to our life, listened to, asked to leave, and buried."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rqk.local.command import tied

_TAIL = 12  # lines of a worker's last words that are kept
_LONGEST_LINE = 4_000


@dataclass(slots=True)
class LocalWorker:
    """One process. Times are of the monotonic clock."""

    name: str
    slot: int
    process: subprocess.Popen[bytes]
    born: float
    leaving_since: float | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL))
    partial: bytes = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def leaving(self) -> bool:
        return self.leaving_since is not None

    def leave(self, now: float) -> None:
        """SIGTERM: finish the job in hand, then go. Once more is: now, and put the job back."""
        self.leaving_since = now if self.leaving_since is None else self.leaving_since
        self.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """A signal to the worker alone; it looks after its own children."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def last_words(self) -> str:
        """The last line it said that is not empty."""
        return next((line for line in reversed(self.tail) if line.strip()), "it said nothing")


def start(
    command: Sequence[str], *, name: str, slot: int, env: Mapping[str, str], now: float, signal_name: str
) -> LocalWorker:
    """A worker process. ``signal_name``: what it gets should we die, TERM to finish its job or KILL."""
    process = subprocess.Popen(
        tied(list(command), os.getpid(), signal_name=signal_name),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(env),
        # Ctrl-C in a terminal goes to the whole foreground group; workers must hear of it from us alone, once.
        process_group=0,
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return LocalWorker(name, slot, process, now)


class Listener:
    """Reads what workers say, so that none of them ever waits for a full pipe."""

    def __init__(self, said: Callable[[str, str], None]) -> None:
        self._said = said
        self.selector = selectors.DefaultSelector()

    def add(self, worker: LocalWorker) -> None:
        assert worker.process.stdout is not None
        self.selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    def read(self, worker: LocalWorker) -> None:
        """All there is to read just now."""
        pipe = worker.process.stdout
        assert pipe is not None
        if pipe.closed:
            return
        while True:
            try:
                data = os.read(pipe.fileno(), 65_536)
            except BlockingIOError:
                return
            if not data:
                self._close(worker)
                return
            self._lines(worker, data)

    def bury(self, worker: LocalWorker) -> None:
        """The process has ended: hear its last words. A child of it that still holds the pipe is not waited for."""
        self.read(worker)
        self._close(worker)

    def close(self) -> None:
        self.selector.close()

    def _lines(self, worker: LocalWorker, data: bytes) -> None:
        *whole, worker.partial = (worker.partial + data).split(b"\n")
        if len(worker.partial) > _LONGEST_LINE:
            whole, worker.partial = [*whole, worker.partial], b""
        for line in whole:
            self._say(worker, line)

    def _say(self, worker: LocalWorker, line: bytes) -> None:
        text = line[:_LONGEST_LINE].decode(errors="replace").rstrip()
        worker.tail.append(text)
        self._said(worker.name, text)

    def _close(self, worker: LocalWorker) -> None:
        pipe = worker.process.stdout
        if pipe is None or pipe.closed:
            return
        if worker.partial:
            self._say(worker, worker.partial)
            worker.partial = b""
        self.selector.unregister(pipe)
        pipe.close()
