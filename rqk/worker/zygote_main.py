"""The zygote: a process that imports the users' modules once and forks horses from that state on request.

It is an interpreter of its own (``rqk worker``), or forked from the supervisor before any thread or connection exists
(a worker that a program of the user's starts, so that horses have what that program has loaded). It stays
single-threaded and never talks to Redis. It ignores SIGINT, SIGTERM, SIGHUP and SIGQUIT, for the supervisor decides when things end; it dies with the
supervisor (process.die_with_parent), and its horses die with it. A horse that ended badly takes its whole process
group along: a job that failed must not go on in part.

macOS: no memfd (an unlinked temporary file instead) and no parent-death signal; see process.py.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import pickle
import select
import signal
import socket
import struct
import sys
import time
from importlib import import_module
from typing import Any

from rqk.worker import afterfork, horse, memory, process
from rqk.worker.children import ChildSettings, Problem
from rqk.worker.frames import (
    HEAD_BYTES,
    Decoder,
    FrameError,
    Kind,
    PlainSocket,
    encode,
    rest_of,
    send,
    text_fields,
)
from rqk.worker.watchers import wait_to_read

CRASH_BYTES = 8192  # of faulthandler's text; it starts with the most recent call
_QUIET_S = 0.02  # how long the ordinary end of a horse may wait for company on its way to the supervisor
_FAREWELL_S = 0.05  # for a supervisor that has other things to do
_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_INT_BYTES = struct.calcsize("i")
_ANCILLARY_BYTES = socket.CMSG_LEN(64 * _INT_BYTES)  # in one read; a supervisor asks for a few horses at a time
_DEFAULT = int(signal.SIG_DFL)
_FAMILY, _TYPE = int(socket.AF_UNIX), int(socket.SOCK_STREAM)
_DEFAULT_IN_HORSES = tuple(map(int, (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)))
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Zygote:
    """The process between supervisor and horses."""

    def __init__(self, settings: ChildSettings, sock: socket.socket) -> None:
        self.settings = settings
        self.sock = sock
        self.horses: dict[int, int] = {}  # pid -> descriptor of its crash file
        self.problems: list[Problem] = []
        self.metrics = horse.UserMetrics()
        # Of the next horses; they come with the first bytes of a request, whose rest may come with the next read.
        self.sockets: list[int] = []
        self.filling: list[bytes] = []  # memory.fill_gaps
        self.unsaid: list[bytes] = []  # frames; ordinary ends of horses need not wake the supervisor each

    def run(self) -> int:
        """Live as a zygote; return the exit code."""
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        process.reset_signals()
        # Horses inherit it, which saves each of them the call; of two with the same points the kernel takes the larger,
        # which is the horse.
        memory.raise_oom_score(self.settings.oom_score_adj)
        _stdin_from_nowhere()
        faulthandler.enable(file=2)
        wake_read, self.wake_write = socket.socketpair()
        for end in (wake_read, self.wake_write):
            end.setblocking(False)
        preloaded = self.preload()
        self.wake_read = wake_read
        self.pid, self.child = os.getpid(), self.become_horse
        self.descriptors = tuple(end.fileno() for end in (self.sock, wake_read, self.wake_write))
        signal.signal(signal.SIGCHLD, _on_child)
        signal.set_wakeup_fd(self.wake_write.fileno(), warn_on_full_buffer=False)
        words = [str(len(preloaded)), *preloaded]
        for problem in self.problems:
            words += (problem.what, problem.name, problem.error, "1" if problem.fatal else "0")
        try:
            send(self.sock, Kind.READY, text_fields(words))
            self.serve()
        except (ConnectionError, FrameError):  # the supervisor is gone
            pass
        for pid in self.horses:  # where the kernel does not do it
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
            except BaseException as error:  # user code: SystemExit included, and it must not take the worker down
                if not (isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")):
                    import traceback

                    traceback.print_exc()  # it happened inside of the module
                self.problems.append(Problem("preload", name, _one_line(error), fatal=False))
        try:
            self.tools = horse.tools(self.settings)
        except BaseException as error:  # as above
            name = str(self.settings.serializer)
            ours = isinstance(error, (ImportError, NotImplementedError))  # they name it and say what would be right
            said = str(error) if ours else f"serializer {name!r} cannot be imported: {_one_line(error)}"
            self.problems.append(Problem("serializer", name, said, fatal=True))
            self.tools = horse.tools(None)
        self.metrics.take()
        self.problems += [Problem("connections", "", text, fatal=False) for text in afterfork.before_forks()]
        used, limit = memory.private_bytes(), self.settings.job_memory_limit
        if used and limit and used >= limit:
            self.problems.append(
                Problem(
                    "memory",
                    "job_memory_limit",
                    fatal=True,
                    error=(
                        f"the job memory limit of {limit} bytes is below the {used} bytes that the worker and its "
                        "preloaded modules hold already"
                    ),
                )
            )
        horse.rehearse(self.settings, self.tools)
        process.set_name(b"rqk-zygote")
        threading: Any = sys.modules.get(
            "threading"
        )  # who has not imported it has no threads, and a fork without it is cheaper
        if threading is not None and threading.active_count() > 1:
            names = ", ".join(
                sorted(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
            )
            self.problems.append(
                Problem(
                    "threads",
                    names,
                    fatal=False,
                    error=(
                        "a preloaded module started threads; they do not exist in forked jobs, "
                        "and locks they hold there stay locked"
                    ),
                )
            )
        gc.collect()
        self.filling = memory.fill_gaps()
        gc.freeze()  # a collection in a horse then leaves the shared pages alone
        return preloaded

    def serve(self) -> None:
        """Fork and reap until the supervisor is gone."""
        decoder, poller = Decoder(), select.poll()
        poller.register(self.sock, select.POLLIN)
        poller.register(self.wake_read, select.POLLIN)
        wake = self.wake_read.fileno()
        while True:
            ready = poller.poll(1000 * _QUIET_S if self.unsaid else None)
            if not ready:
                self.say()
            for descriptor, _ in ready:
                if descriptor == wake:
                    self.reap()
                    continue
                data, more = _receive(self.sock)
                self.sockets += more
                if not data:
                    return
                wanted: list[bool] = []
                for frame in decoder.feed(data):
                    if frame.kind is Kind.IMPORT:
                        self.inherit(frame.fields)
                        continue
                    if frame.kind is not Kind.FORK or len(wanted) == len(self.sockets):
                        raise FrameError(f"a supervisor does not send {frame.kind.name} like this to a zygote")
                    wanted.append(frame.fields == [b"1"])
                if wanted:
                    self.fork(wanted)
                if self.unsaid:
                    self.say()

    def fork(self, wanted: list[bool]) -> None:
        """Make a horse for each entry, which says whether it may prepare itself; each talks over the next socket.

        One right after the other, and told of later: what is written to between two forks must be copied for each.
        """
        process.flush()
        made: list[tuple[int, float] | OSError] = []
        for sock, at_leisure in zip(self.sockets, wanted, strict=False):
            began = time.perf_counter()
            crash = -1
            try:
                crash = _crash_file()
                pid = process.spawn(self.child, sock, crash, at_leisure, group=True, flushed=True)
            except OSError as error:
                if crash >= 0:
                    os.close(crash)
                made.append(error)
                continue
            self.horses[pid] = crash
            made.append((pid, time.perf_counter() - began))
        for sock in self.sockets[: len(wanted)]:
            os.close(sock)
        del self.sockets[: len(wanted)]
        for found in made:
            if isinstance(found, OSError):
                self.unsaid.append(encode(Kind.FORK_FAILED, [_one_line(found).encode()]))
            else:
                self.unsaid.append(encode(Kind.FORKED, [b"%d" % found[0], b"%.6f" % found[1]]))

    def say(self) -> None:
        """Tell the supervisor what was kept back."""
        words, self.unsaid = b"".join(self.unsaid), []
        self.sock.sendall(words)

    def inherit(self, names: list[bytes]) -> None:
        """Load what jobs have loaded; what cannot be had here is loaded by each job again."""
        for name in names:
            try:
                import_module(name.decode())
            except Exception:  # noqa: S112 - only speed depends on it
                continue
        gc.collect()
        self.filling += memory.fill_gaps()
        gc.freeze()

    def become_horse(self, sock: int, crash: int, at_leisure: bool) -> int:
        """Go on as a horse, in the new process."""
        process.die_with_parent(self.pid)
        signal.set_wakeup_fd(-1)
        for number in _DEFAULT_IN_HORSES:
            process.set_signal(number, _DEFAULT)
        # What stays open here would keep the others from noticing an end.
        for descriptor in self.descriptors:
            os.close(descriptor)
        for pid in self.horses:
            os.close(self.horses[pid])
        for descriptor in self.sockets:
            if descriptor != sock:
                os.close(descriptor)
        faulthandler.enable(crash)
        own = PlainSocket(_FAMILY, _TYPE, 0, sock)
        code = horse.run(own, self.settings, self.tools, self.metrics, at_leisure)
        if code == 0:
            # The end of a process takes as long as a small job, and the supervisor, which was just woken, may have to wait for
            # it on this processor: it goes first, and says when it has what it needs by closing its end.
            wait_to_read([sock], _FAREWELL_S)
        own.detach()  # it ends with the process; Python would think about a warning first
        return code

    def reap(self) -> None:
        """Wait for the horses that have ended, and tell about each."""
        try:
            while self.wake_read.recv(4096):
                pass
        except BlockingIOError:
            pass
        while True:
            try:
                state = os.waitid(os.P_ALL, 0, _ENDED)
            except ChildProcessError:
                return
            if state is None:
                return
            if state.si_pid not in self.horses:
                break
            self.bury(state)
        # The first in line is a child of a preloaded module, which is theirs to wait for: look at each of ours.
        for pid in list(self.horses):
            state = os.waitid(os.P_PID, pid, _ENDED)
            if state is not None:
                self.bury(state)

    def bury(self, state: os.waitid_result) -> None:
        """A horse has ended and is still a zombie."""
        pid = state.si_pid
        if state.si_code != os.CLD_EXITED or state.si_status != 0:
            process.kill_group(pid)  # before it is reaped: until then nobody else can have this number
        _, status, usage = os.wait4(pid, 0)
        crash = self.horses.pop(pid)
        text = _read_crash(crash) if status else b""
        os.close(crash)
        peak = usage.ru_maxrss >> 10 if sys.platform == "darwin" else usage.ru_maxrss
        self.unsaid.append(encode(Kind.EXITED, [b"%d" % pid, b"%d" % status, b"%d" % peak, text]))
        if status:
            self.say()


def _on_child(number: int, frame: object) -> None:
    """A handler must exist for the wake-up byte to be written. A function of the module, as horses would have to free another."""


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Read requests and the descriptors that came with them, in order; b"" at the end."""
    try:
        # Not socket.recv_fds, which drops the flag (Python 3.11).
        data, ancillary, _, _ = sock.recvmsg(4096, _ANCILLARY_BYTES, _CLOSE_ON_EXEC)
    except ConnectionError:
        return b"", []
    descriptors: list[int] = []
    for _, _, packed in ancillary:  # nothing else than descriptors comes here
        descriptors += struct.unpack(f"{len(packed) // _INT_BYTES}i", packed)
    return data, descriptors


def _stdin_from_nowhere() -> None:
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    if nowhere != 0:
        os.close(nowhere)
    # The supervisor's object may have buffered something, or be replaced.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - stays open


def _crash_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rqk-crash")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _read_crash(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, CRASH_BYTES, 0)
    except OSError:
        return b""


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def main(descriptor: str, supervisor: str) -> None:
    """Begin as a new interpreter: ``descriptor`` is our end of the socket pair, ``supervisor`` the pid of who started us."""
    process.die_with_parent(int(supervisor))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, int(descriptor))
    sock.set_inheritable(False)
    sys.argv[:] = ["rqk worker"]
    try:
        frame = _first_frame(sock)
    except ConnectionError:
        os._exit(0)
    code = Zygote(pickle.loads(frame), sock).run()
    sys.stdout.flush()
    os._exit(code)


def _first_frame(sock: socket.socket) -> bytes:
    """The only field of SETTINGS. Byte by byte as it were, for the descriptors that follow must not be read along."""
    head = _exactly(sock, HEAD_BYTES)
    frames = Decoder().feed(head + _exactly(sock, rest_of(head)))
    return frames[0].fields[0]


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = sock.recv(size)
        if not part:
            raise ConnectionResetError("the supervisor is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
