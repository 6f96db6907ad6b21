"""The zygote as its supervisor sees it: settings, events, and the handle. The process itself is in zygote_main.py.

How to use it: start, poll ``handle.sock`` for reading, ``events()``; ``request_fork()`` early enough that a horse is
there when the next job is ("one ahead"). ``Exited`` may come before the outcome that the horse wrote just before it
ended was read from its own socket: judge only after frames.receive_all on that one. And judge by Exited, not by the
end of the horse's socket, which a process that the job left behind may hold open.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from rqk.core.payload import Serializer
from rqk.worker import process
from rqk.worker.frames import Decoder, Frame, FrameError, Kind, encode


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """What zygote and horses need to know. Handed over by the fork, so objects of any kind are fine."""

    preload: tuple[str, ...] = ()  # modules to import once, in this order
    path: tuple[str, ...] = ()  # put in front of sys.path, first one first
    serializer: Serializer | str | None = (
        None  # None = pickle; a dotted path is imported in the zygote, after the preload
    )
    recycle_after: int = 1  # jobs per horse; 1 = a fork of its own for every job
    job_memory_limit: int | None = None  # bytes of private memory, preloaded modules included; None = no limit
    oom_score_adj: int = 500  # zygote and horses; 0 = like the supervisor, 1000 = the first to go
    connect: Callable[[], Any] | None = None  # makes a Redis client in a horse when the user's code asks for one
    raise_again_s: float = 5.0  # a job that swallowed JobTimeoutException gets it once more after this; 0 = never


class Closable(Protocol):
    """A socket, a selector, or whatever else of the supervisor's must not stay open in the zygote."""

    def close(self) -> None:
        """Close this process's copy, without a word to the other side."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that went wrong before the first fork."""

    what: str  # "preload", "serializer", "memory", "connections" or "threads"
    name: str  # the module or setting
    error: str  # one line for people
    fatal: bool  # True: no job can run, so the worker should stop and say so


@dataclass(frozen=True, slots=True)
class Ready:
    """The preload is over; forks asked for are made from now on."""

    preloaded: tuple[str, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Forked:
    """A horse waits for a job on ``sock`` (the supervisor's end, non-blocking; the receiver owns and closes it)."""

    pid: int
    sock: socket.socket
    fork_s: float


@dataclass(frozen=True, slots=True)
class ForkFailed:
    """The system refused a process (a pids limit, no memory); asking again later may help."""

    error: str


@dataclass(frozen=True, slots=True)
class Exited:
    """A horse is dead and reaped; if it died by a signal or with an exit code, so is its whole process group."""

    pid: int
    status: int  # as waitpid returns it
    maxrss_kib: int  # the largest of the horse, over all its jobs
    utime_s: float
    stime_s: float
    crash_text: str  # what faulthandler wrote; "" for an ordinary end


Event = Ready | Forked | ForkFailed | Exited


class ZygoteHandle:
    """The supervisor's view of its zygote."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        """Not for callers; see start."""
        self.pid = pid
        self.sock = sock
        self.closed = False  # the zygote is gone or talks nonsense: stop(), then start another
        self.horses: set[int] = set()  # process groups that may be alive
        self._decoder = Decoder()
        self._sockets: list[socket.socket] = []
        self._refused: list[Event] = []
        self._reaped = False

    @classmethod
    def start(cls, settings: ChildSettings, close: Iterable[Closable] = ()) -> ZygoteHandle:
        """Fork a zygote. ``close``: what this process has open and the zygote must not keep (it is closed there only).

        The caller should have no other thread at this moment. Raises OSError when the system refuses a process.
        """
        ours, theirs = socket.socketpair()
        supervisor = os.getpid()

        def child() -> int:
            process.die_with_parent(supervisor)
            from rqk.worker.zygote_main import Zygote  # it imports what is here

            ours.close()
            for thing in close:
                thing.close()
            return Zygote(settings, theirs).run()

        # No handler of the supervisor may run in the child, where it would write into the supervisor's wake-up pipe.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = process.spawn(child, group=False)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        ours.setblocking(False)
        return cls(pid, ours)

    def fileno(self) -> int:
        """For selectors."""
        return self.sock.fileno()

    def request_fork(self) -> None:
        """Ask for one more horse; Forked or ForkFailed answers. On a dead zygote it only sets ``closed``."""
        # The pair is made here, not in the zygote: after each fork, every page that the zygote writes to is copied.
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:  # no free file descriptor
            self._refused.append(ForkFailed(f"{type(error).__name__}: {error}"))
            return
        ours.setblocking(False)
        self._sockets.append(ours)
        with theirs:
            try:
                socket.send_fds(self.sock, [encode(Kind.FORK)], [theirs.fileno()])
            except OSError:  # ten bytes always fit, unless the zygote has not read for thousands of requests
                self.closed = True

    def events(self) -> list[Event]:
        """Read what the zygote has said, without blocking; sets ``closed`` at its end."""
        refused, self._refused = self._refused, []
        return refused + self._read()

    def _read(self) -> list[Event]:
        try:
            data = self.sock.recv(1 << 16)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return []
        try:
            return [self._event(frame) for frame in self._decoder.feed(data)]
        except (FrameError, ValueError, TypeError, IndexError):  # only preloaded code can have written that
            self.closed = True
            return []

    def _event(self, frame: Frame) -> Event:
        fields = frame.fields
        if frame.kind is Kind.FORKED:
            pid = int(fields[0])
            self.horses.add(pid)
            return Forked(pid, self._sockets.pop(0), float(fields[1]))  # requests are answered in order
        if frame.kind is Kind.EXITED:
            pid, status, maxrss = (int(field) for field in fields[:3])
            self.horses.discard(pid)
            return Exited(pid, status, maxrss, float(fields[3]), float(fields[4]), fields[5].decode("utf-8", "replace"))
        if frame.kind is Kind.FORK_FAILED:
            self._sockets.pop(0).close()
            return ForkFailed(fields[0].decode("utf-8", "replace"))
        if frame.kind is Kind.READY:
            return Ready(tuple(json.loads(fields[0])), tuple(Problem(**problem) for problem in json.loads(fields[1])))
        raise FrameError(f"a zygote does not send {frame.kind.name}")

    def note_exit(self) -> None:
        """Tell that somebody else (a reaper of orphans) has waited for the zygote's pid already."""
        self._reaped = True
        self.closed = True

    def stop(self) -> int | None:
        """Kill the zygote and every horse with its group, reap the zygote, and return its wait status (None if reaped
        before).

        At once: a zygote has nothing to save, and which jobs may die was decided before. May be called twice.
        """
        self.closed = True
        status = None
        for pid in self.horses:  # first, while nobody but the zygote can free their numbers
            process.kill_group(pid)
        if not self._reaped:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            status = process.reap(self.pid)
            self._reaped = True
        self.horses.clear()
        for sock in (self.sock, *self._sockets):
            sock.close()
        self._sockets.clear()
        return status
