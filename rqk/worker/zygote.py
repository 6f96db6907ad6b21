"""The zygote as its supervisor sees it: settings, events, and the handle. The process itself is in zygote_main.py.

How to use it: start, poll ``handle.sock`` for reading, ``events()``; ``request_fork()`` early enough that a horse is
there when the next job is. ``Exited`` may come before the outcome that the horse wrote just before it
ended was read from its own socket: judge only after frames.receive_all on that one. And judge by Exited, not by the
end of the horse's socket, which a process that the job left behind may hold open.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from rqk.worker import process
from rqk.worker.children import ChildSettings, Problem
from rqk.worker.frames import Decoder, Frame, FrameError, Kind, encode
from rqk.worker.settings import inherited

_REST_S = 5.0  # for a zygote that imports something large at this moment
# sys.path comes first, so that the same rqk is found.
_FRESH = "import sys; sys.path[:] = sys.argv[3:]; from rqk.worker.zygote_main import main; main(*sys.argv[1:3])"


class Closable(Protocol):
    """A socket, a selector, or whatever else of the supervisor's must not stay open in the zygote."""

    def close(self) -> None:
        """Close this process's copy, without a word to the other side."""


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
        """Start a zygote: a new interpreter if the settings say so and there is one to start, else a fork of this process.

        ``close``: what this process has open and a forked zygote must not keep (it is closed there only). For a fork, the
        caller should have no other thread at this moment. Raises OSError when the system refuses a process.
        """
        if settings.fresh and sys.executable:
            return cls._start_fresh(settings)
        return cls._fork(settings, close)

    @classmethod
    def _start_fresh(cls, settings: ChildSettings) -> ZygoteHandle:
        """Descriptors close by themselves at the exec, signal handlers end; the signal mask and ignored signals do not."""
        words = encode(Kind.SETTINGS, [pickle.dumps(settings)])
        ours, theirs = socket.socketpair()
        untyped: Any = subprocess
        flags: list[str] = (
            untyped._args_from_interpreter_flags()
        )  # -O, -W, -X and the like; multiprocessing uses it too
        with theirs:
            theirs.set_inheritable(True)
            command = [sys.executable, *flags, "-c", _FRESH, str(theirs.fileno()), str(os.getpid()), *sys.path]
            try:
                pid = os.posix_spawn(sys.executable, command, inherited(), setsigmask=signal.valid_signals())
            except OSError:
                ours.close()
                raise
        try:
            ours.sendall(words)
        except OSError:  # it has died at once: the first look at it says so
            pass
        ours.setblocking(False)
        return cls(pid, ours)

    @classmethod
    def _fork(cls, settings: ChildSettings, close: Iterable[Closable]) -> ZygoteHandle:
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

    def request_fork(self, count: int = 1, *, at_leisure: bool = True) -> None:
        """Ask for more horses; Forked or ForkFailed answers each. On a dead zygote it only sets ``closed``.

        ``at_leisure``: they will not be needed at once and may prepare themselves (horse.run).
        """
        # The pairs are made here, not in the zygote: after each fork, every page that the zygote writes to is copied.
        ends: list[socket.socket] = []
        for _ in range(count):
            try:
                ours, theirs = socket.socketpair()
            except OSError as error:  # no free file descriptor
                self._refused.append(ForkFailed(f"{type(error).__name__}: {error}"))
                break
            ours.setblocking(False)
            self._sockets.append(ours)
            ends.append(theirs)
        frame = encode(Kind.FORK, [b"1" if at_leisure else b"0"])
        try:
            if ends:
                words = frame * len(ends)
                sent = socket.send_fds(self.sock, [words], [end.fileno() for end in ends])
                if sent < len(words):
                    self._send_rest(words[sent:])
        except OSError:  # some bytes always fit, unless the zygote has not read for thousands of requests
            self.closed = True
        finally:
            for end in ends:
                end.close()

    def request_import(self, names: Iterable[str]) -> None:
        """Tell that later horses shall have these modules from the start. Nothing answers."""
        words = encode(Kind.IMPORT, [name.encode() for name in names])
        try:
            sent = self.sock.send(words)
        except OSError:  # dead, or it has not read for long: only speed depends on it
            return
        if sent < len(words):
            self._send_rest(words[sent:])

    def _send_rest(self, words: bytes) -> None:
        """Half a frame would spoil all that follow: wait a moment for the zygote to take the rest."""
        self.sock.settimeout(_REST_S)
        try:
            self.sock.sendall(words)
        except OSError:
            self.closed = True
        finally:
            self.sock.setblocking(False)

    def has_news(self, readable: Collection[int]) -> bool:
        """Whether events() would return anything; ``readable``: descriptors that a selector has reported."""
        return bool(self._refused) or self.sock.fileno() in readable

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
            return Exited(pid, status, maxrss, fields[3].decode("utf-8", "replace"))
        if frame.kind is Kind.FORK_FAILED:
            self._sockets.pop(0).close()
            return ForkFailed(fields[0].decode("utf-8", "replace"))
        if frame.kind is Kind.READY:
            count = int(fields[0])
            texts = [field.decode("utf-8", "replace") for field in fields[1:]]
            told = texts[count:]
            problems = [
                Problem(told[at], told[at + 1], told[at + 2], fatal=told[at + 3] == "1")
                for at in range(0, len(told), 4)
            ]
            return Ready(tuple(texts[:count]), tuple(problems))
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
