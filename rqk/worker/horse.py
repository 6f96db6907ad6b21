"""The horse: a forked process that runs one job, or up to ``recycle_after`` of them, and reports over its socket.

It leads a process group of its own, so that a hard kill takes along what the job has started. SIGINT is ignored (a
Ctrl-C at the terminal is the supervisor's affair), SIGTERM kills, SIGALRM is the soft time limit. stdin is empty.
Logging is left as the user's modules set it up. It ends by os._exit: no atexit handlers and no waiting for threads
that the job left behind.
"""

from __future__ import annotations

import _socket
import os
import sys
import zlib
from contextlib import closing
from typing import TYPE_CHECKING, Any

from rqk.core.verdict import EXIT_MUTE
from rqk.serializers import resolve_serializer
from rqk.worker import afterfork, memory, process
from rqk.worker.frames import Decoder, Frame, FrameError, Kind, PlainSocket, receive, send
from rqk.worker.messages import Order, order_fields, outcome_fields, read_order
from rqk.worker.perform import Tools, perform
from rqk.worker.watchers import wait_to_read

if TYPE_CHECKING:
    from rqk.worker.children import ChildSettings

REHEARSALS = 12  # Python 3.11 looks at a function again after eight calls
_OURS = frozenset({"rqk", "redis", "hiredis"})
_WITH_EFFECTS = frozenset({"antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter", "test", "lib2to3"})


def tools(settings: ChildSettings | None) -> Tools:
    """Return what jobs need, made once in the zygote. Raises what resolve_serializer raises."""
    if settings is None:
        return Tools()
    return Tools(resolve_serializer(settings.serializer), settings.connect, settings.raise_again_s)


class UserMetrics:
    """What the job's own metrics have gained: metrics/delta.py, which is imported only where prometheus_client is."""

    def __init__(self) -> None:
        self._baseline: Any = None

    def take(self) -> None:
        """Note what the metrics of preloaded modules say before the fork."""
        if "prometheus_client" in sys.modules:
            from rqk.metrics.delta import Baseline

            self._baseline = Baseline.take()

    def delta(self) -> bytes:
        """What has changed since then, or since the last call."""
        if "prometheus_client" not in sys.modules:
            return b""
        if self._baseline is None:
            from rqk.metrics.delta import Baseline

            self._baseline = Baseline()
        return bytes(self._baseline.delta())


def run(
    sock: PlainSocket, settings: ChildSettings, its_tools: Tools, metrics: UserMetrics, at_leisure: bool = False
) -> int:
    """Live as a horse; ``metrics`` know what those of preloaded modules said before the fork. Return the exit code.

    ``at_leisure``: no job is expected at once, so run one that does nothing first. The pages of memory that a job writes to
    are copied meanwhile, which takes a fresh fork longer than a small job itself.

    0: all jobs were reported, LEAVE came, or the supervisor is gone.
    """
    process.set_name(b"rqk-horse")
    afterfork.after_fork()
    if at_leisure and not wait_to_read([sock.fileno()], 0):
        rehearse(settings, its_tools, times=1)
    me = os.getpid()
    loaded = len(sys.modules)
    decoder = Decoder()
    waiting: list[Frame] = []
    left = max(1, settings.recycle_after)
    while left:
        try:
            frame = _next(sock, decoder, waiting)
        except OSError:
            return EXIT_MUTE
        if frame is None or frame.kind is Kind.LEAVE:
            return 0
        if frame.kind is not Kind.JOB:
            raise FrameError(f"a supervisor does not send {frame.kind.name} to a horse")
        order = read_order(frame.fields)
        if settings.job_memory_limit:
            memory.set_job_memory(settings.job_memory_limit)
        outcome = perform(order, its_tools)
        if os.getpid() != me:  # the job forked and its child came back here: it has nothing to report
            return 0
        if settings.job_memory_limit:
            memory.lift_job_memory()
        left = 0 if outcome.leaving else left - 1
        imported: tuple[str, ...] = ()
        if len(sys.modules) > loaded:
            imported = worth_inheriting(list(sys.modules)[loaded:])  # a dict keeps the order of insertion
            loaded = len(sys.modules)
        outcome = outcome._replace(
            leaving=left == 0, maxrss_kib=memory.peak_bytes() >> 10, metrics=metrics.delta(), imported=imported
        )
        process.flush()  # what the job printed comes before its outcome in the log
        try:
            send(sock, Kind.OUTCOME, outcome_fields(outcome))
        except ConnectionError:  # the supervisor is gone
            return 0
        except OSError:  # the job closed our descriptor, or put another file in its place
            return EXIT_MUTE
        if left:
            memory.reset_peak()  # now, while the supervisor is at work
    return 0


def rehearse(settings: ChildSettings, its_tools: Tools, times: int = REHEARSALS) -> None:
    """Run a few jobs that do nothing right here: in the zygote, before the first fork, and in a horse that has the time.

    Python specialises bytecode and fills its caches at the first calls, and each page of memory that it writes to in
    a horse must be copied there first: rehearsed code dirties a third less. Problems of a user's serializer show when
    a real job comes.
    """
    try:
        data = zlib.compress(its_tools.serializer.dumps(("builtins.len", None, ("",), {})))
        fields = {
            b"status": b"started",
            b"created_at": b"2026-01-01T00:00:00.000000Z",
            b"data": data,
            b"origin": b"rehearsal",
        }
        ours, theirs = _socket.socketpair()
        with closing(ours), closing(theirs):
            for number in range(times):
                send(ours, Kind.JOB, order_fields(Order(str(number), "", "rehearsal", "", 60.0, fields)))
            run(theirs, settings._replace(recycle_after=times, job_memory_limit=None), its_tools, UserMetrics())
    except Exception:  # noqa: S110 - only speed depends on it
        pass


def worth_inheriting(names: list[str]) -> tuple[str, ...]:
    """Of modules that a job has loaded those that any process may load without a visible effect: Python's own library,
    redis-py and rqk. The zygote loads them too, so that later horses need not. Users' modules are theirs to preload.
    """
    home = os.__file__.removesuffix("os.py")
    found = []
    for name in names:
        top = name.partition(".")[0]
        if top in _OURS:
            found.append(name)
        elif top in sys.stdlib_module_names and top not in _WITH_EFFECTS:
            file = getattr(sys.modules.get(name), "__file__", None)
            if file is None or file.startswith(home):  # else a user's module of the same name
                found.append(name)
    return tuple(found)


def _next(sock: PlainSocket, decoder: Decoder, waiting: list[Frame]) -> Frame | None:
    while not waiting:
        frames = receive(sock, decoder)
        if frames is None:
            return None
        waiting += frames
    return waiting.pop(0)
