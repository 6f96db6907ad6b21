"""The zygote: a process that imports the users' modules once and forks horses from that state on request.

It is forked from the supervisor before any thread or connection exists, stays single-threaded and never talks to Redis. It ignores
SIGINT, SIGTERM and SIGHUP, for the supervisor decides when things end; it dies with the supervisor (process.die_with_parent), and
its horses die with it. A horse that ended badly takes its whole process group along: a job that failed must not go on in part.

Supervisor's side (ZygoteHandle): start, poll ``handle.sock`` for reading, ``events()``; ``request_fork()`` early enough that a horse
is there when the next job is ("one ahead"). ``Exited`` may come before the outcome that the horse wrote just before it ended was read
from its own socket: judge only after frames.receive_all on that one. And judge by Exited, not by the end of the horse's socket, which a
process that the job left behind may hold open.

macOS: no memfd (an unlinked temporary file instead) and no parent-death signal; see process.py.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from rqk.core.payload import Serializer
from rqk.metrics.delta import Baseline
from rqk.worker import afterfork, limits, process
from rqk.worker.frames import Decoder, Frame, FrameError, Kind, encode, receive, send

CRASH_BYTES = 8192            # of faulthandler's text; it starts with the most recent call
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """What zygote and horses need to know. Handed over by the fork, so objects of any kind are fine."""

    preload: tuple[str, ...] = ()             # modules to import once, in this order
    path: tuple[str, ...] = ()                # put in front of sys.path, first one first
    serializer: Serializer | str | None = None  # None = pickle; a dotted path is imported in the zygote, after the preload
    recycle_after: int = 1                    # jobs per horse; 1 = a fork of its own for every job
    job_memory_limit: int | None = None       # bytes of private memory, preloaded modules included; None = no limit
    oom_score_adj: int = 500                  # zygote and horses; 0 = like the supervisor, 1000 = the first to go
    connect: Callable[[], Any] | None = None  # makes a Redis client in a horse when the user's code asks for one
    raise_again_s: float = 5.0                # a job that swallowed JobTimeoutException gets it once more after this; 0 = never


class Closable(Protocol):
    """A socket, a selector, or whatever else of the supervisor's must not stay open in the zygote."""

    def close(self) -> None:
        """Close this process's copy, without a word to the other side."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that went wrong before the first fork."""

    what: str       # "preload", "serializer", "memory", "connections" or "threads"
    name: str       # the module or setting
    error: str      # one line for people
    fatal: bool     # True: no job can run, so the worker should stop and say so


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
    status: int            # as waitpid returns it
    maxrss_kib: int        # the largest of the horse, over all its jobs
    utime_s: float
    stime_s: float
    crash_text: str        # what faulthandler wrote; "" for an ordinary end


Event = Ready | Forked | ForkFailed | Exited


class ZygoteHandle:
    """The supervisor's view of its zygote."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        """Not for callers; see start."""
        self.pid = pid
        self.sock = sock
        self.closed = False             # the zygote is gone or talks nonsense: stop(), then start another
        self.horses: set[int] = set()   # process groups that may be alive
        self._decoder = Decoder()
        self._sockets: list[socket.socket] = []
        self._reaped = False

    @classmethod
    def start(cls, settings: ChildSettings, close: Iterable[Closable] = ()) -> ZygoteHandle:
        """Fork a zygote. ``close``: what this process has open and the zygote must not keep (it is closed there only).

        The caller should have no other thread at this moment. Raises OSError when the system refuses a process.
        """
        ours, theirs = socket.socketpair()
        supervisor = os.getpid()

        def child() -> int:
            ours.close()
            for thing in close:
                thing.close()
            return _Zygote(settings, theirs, supervisor).run()

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
        try:
            self.sock.send(encode(Kind.FORK))   # ten bytes: they fit, or the zygote has not read for thousands of requests
        except OSError:
            self.closed = True

    def events(self) -> list[Event]:
        """Read what the zygote has said, without blocking; sets ``closed`` at its end."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.sock, 1 << 16, 16)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            horse = socket.socket(fileno=descriptor)
            horse.setblocking(False)
            self._sockets.append(horse)
        if not data:
            self.closed = True
            return []
        try:
            return [self._event(frame) for frame in self._decoder.feed(data)]
        except (FrameError, ValueError, KeyError, TypeError, IndexError):   # only preloaded code can have written that
            self.closed = True
            return []

    def _event(self, frame: Frame) -> Event:
        fields = frame.fields
        if frame.kind is Kind.FORKED:
            pid = int(fields[0])
            self.horses.add(pid)
            return Forked(pid, self._sockets.pop(0), float(fields[1]))   # they arrive in order, not later than the frame
        if frame.kind is Kind.EXITED:
            pid, status, maxrss = (int(field) for field in fields[:3])
            self.horses.discard(pid)
            return Exited(pid, status, maxrss, float(fields[3]), float(fields[4]), fields[5].decode("utf-8", "replace"))
        if frame.kind is Kind.FORK_FAILED:
            return ForkFailed(fields[0].decode("utf-8", "replace"))
        if frame.kind is Kind.READY:
            return Ready(tuple(json.loads(fields[0])), tuple(Problem(**problem) for problem in json.loads(fields[1])))
        raise FrameError(f"a zygote does not send {frame.kind.name}")

    def note_exit(self) -> None:
        """Tell that somebody else (a reaper of orphans) has waited for the zygote's pid already."""
        self._reaped = True
        self.closed = True

    def stop(self) -> int | None:
        """Kill the zygote and every horse with its group, reap the zygote, and return its wait status (None if reaped before).

        At once: a zygote has nothing to save, and which jobs may die was decided before. May be called twice.
        """
        self.closed = True
        status = None
        for pid in self.horses:         # first, while nobody but the zygote can free their numbers
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


class _Zygote:
    """The zygote's own side."""

    def __init__(self, settings: ChildSettings, sock: socket.socket, supervisor: int) -> None:
        self.settings = settings
        self.sock = sock
        self.supervisor = supervisor
        self.horses: dict[int, int] = {}    # pid -> descriptor of its crash file
        self.problems: list[Problem] = []

    def run(self) -> int:
        process.die_with_parent(self.supervisor)
        process.reset_signals()
        # Horses inherit it, which saves each of them the call; of two with the same points the kernel takes the larger, the horse.
        limits.raise_oom_score(self.settings.oom_score_adj)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        _stdin_from_nowhere()
        faulthandler.enable(file=2)
        wake_read, self.wake_write = socket.socketpair()
        for end in (wake_read, self.wake_write):
            end.setblocking(False)
        preloaded = self.preload()
        self.wake_read = wake_read
        signal.signal(signal.SIGCHLD, lambda number, frame: None)    # a handler must exist for the wake-up byte to be written
        signal.set_wakeup_fd(self.wake_write.fileno(), warn_on_full_buffer=False)
        problems = [{"what": p.what, "name": p.name, "error": p.error, "fatal": p.fatal} for p in self.problems]
        try:
            send(self.sock, Kind.READY, [json.dumps(preloaded).encode(), json.dumps(problems).encode()])
            self.serve()
        except (ConnectionError, FrameError):     # the supervisor is gone
            pass
        for pid in self.horses:                   # where the kernel does not do it
            process.kill_group(pid)
        return 0

    def preload(self) -> list[str]:
        """Import everything that horses should not import each time, then make it cheap to fork."""
        sys.path[:0] = self.settings.path
        preloaded = []
        for name in self.settings.preload:
            try:
                import_module(name)
                preloaded.append(name)
            except BaseException as error:  # noqa: BLE001 - user code: SystemExit included, and it must not take the worker down
                traceback.print_exc()
                self.problems.append(Problem("preload", name, _one_line(error), fatal=False))
        # Also ours: imported here, or each horse would do it.
        from rqk.worker import horse

        try:
            self.tools = horse.tools(self.settings)
        except Exception as error:  # noqa: BLE001 - the traceback goes to stderr, the exit code says so
            self.problems.append(Problem("serializer", str(self.settings.serializer), _one_line(error), fatal=True))
            self.tools = horse.tools(None)
        self.baseline = Baseline.take()
        self.problems += [Problem("connections", "", text, fatal=False) for text in afterfork.before_forks()]
        used, limit = limits.private_bytes(), self.settings.job_memory_limit
        if used and limit and used >= limit:
            self.problems.append(Problem("memory", "job_memory_limit", fatal=True, error=(
                f"the job memory limit of {limit} bytes is below the {used} bytes that the worker and its preloaded modules hold already")))
        horse.rehearse(self.settings, self.tools)
        process.set_name("rqk-zygote")
        if threading.active_count() > 1:
            names = ", ".join(sorted(thread.name for thread in threading.enumerate() if thread is not threading.main_thread()))
            self.problems.append(Problem("threads", names, fatal=False, error=(
                "a preloaded module started threads; they do not exist in forked jobs, and locks they hold there stay locked")))
        gc.collect()
        gc.freeze()                               # a collection in a horse then leaves the shared pages alone
        return preloaded

    def serve(self) -> None:
        decoder, poller = Decoder(), select.poll()
        poller.register(self.sock, select.POLLIN)
        poller.register(self.wake_read, select.POLLIN)
        wake = self.wake_read.fileno()
        while True:
            for descriptor, _ in poller.poll():
                if descriptor == wake:
                    self.reap()
                    continue
                frames = receive(self.sock, decoder)
                if frames is None:
                    return
                for frame in frames:
                    if frame.kind is not Kind.FORK:
                        raise FrameError(f"a supervisor does not send {frame.kind.name} to a zygote")
                    self.fork()

    def fork(self) -> None:
        began = time.perf_counter()
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            send(self.sock, Kind.FORK_FAILED, [_one_line(error).encode()])
            return
        with ours, theirs:
            try:
                crash = _crash_file()
                zygote = os.getpid()
                pid = process.spawn(lambda: self.become_horse(theirs, ours, crash, zygote), group=True)
            except OSError as error:
                send(self.sock, Kind.FORK_FAILED, [_one_line(error).encode()])
                return
            self.horses[pid] = crash
            fields = [b"%d" % pid, b"%.6f" % (time.perf_counter() - began)]
            socket.send_fds(self.sock, [encode(Kind.FORKED, fields)], [ours.fileno()])

    def become_horse(self, sock: socket.socket, other_end: socket.socket, crash: int, zygote: int) -> int:
        from rqk.worker import horse

        process.die_with_parent(zygote)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        # What stays open here would keep the others from noticing an end.
        for end in (other_end, self.sock, self.wake_read, self.wake_write):
            end.close()
        for descriptor in self.horses.values():
            os.close(descriptor)
        faulthandler.enable(file=crash)
        return horse.run(sock, self.settings, self.tools, self.baseline)

    def reap(self) -> None:
        try:
            while self.wake_read.recv(4096):
                pass
        except BlockingIOError:
            pass
        for pid in list(self.horses):             # by pid: children of preloaded modules are theirs to wait for
            state = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if state is None:
                continue
            if state.si_code != os.CLD_EXITED or state.si_status != 0:
                process.kill_group(pid)           # before it is reaped: until then nobody else can have this number
            _, status, usage = os.wait4(pid, 0)
            crash = self.horses.pop(pid)
            text = _read_crash(crash) if status else b""
            os.close(crash)
            maxrss = usage.ru_maxrss >> 10 if sys.platform == "darwin" else usage.ru_maxrss
            send(self.sock, Kind.EXITED, [b"%d" % pid, b"%d" % status, b"%d" % maxrss,
                                          b"%.6f" % usage.ru_utime, b"%.6f" % usage.ru_stime, text])


def _stdin_from_nowhere() -> None:
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    if nowhere != 0:
        os.close(nowhere)


def _crash_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rqk-crash")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _read_crash(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, CRASH_BYTES, 0)
    except OSError:
        return b""


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
