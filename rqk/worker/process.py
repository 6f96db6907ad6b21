"""Processes: the only fork of the house, and what a child must do before anything else.

Linux gives a child the signal SIGKILL when its parent dies (die_with_parent). Elsewhere (macOS) there is no such
thing: there the zygote kills its horses when the supervisor's socket closes, and a horse leaves when its own socket
does, but a horse whose zygote and supervisor are both killed finishes the job it has.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from rqk.core.verdict import EXIT_BROKEN, EXIT_ORPHAN

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_SIGKILL = int(signal.SIGKILL)  # the enum member is found and turned into a number by Python code, in each horse

# Looked up in the parent, once: a child should not search libraries for it.
_prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None

# CPython's signal.signal and getsignal turn each number into an enum member; the functions below them, in the C module,
# do not. In a fresh fork that saves fifty pages of memory from being copied, which is five per cent of a small job.
_plain: Any = sys.modules.get("_signal", signal)
set_signal: Callable[[int, Any], Any] = _plain.signal
get_signal: Callable[[int], Any] = _plain.getsignal


def spawn(child: Callable[..., int], *args: Any, group: bool, flushed: bool = False) -> int:
    """Fork; run ``child(*args)`` in the new process and end it with the returned exit code. Return its pid.

    The child never returns into this stack: an exception ends it with EXIT_BROKEN, its traceback on stderr. No atexit
    handlers run in it. With ``group`` it leads a process group of its own, set by both sides so that neither can be
    too early. ``flushed``: flush() was called before, and nothing has been printed since. Raises OSError when the system
    refuses a process (EAGAIN: a pids limit; ENOMEM).
    """
    if not flushed:
        flush()  # or the child would write the parent's buffered text once more
    pid = os.fork()
    if pid:
        if group:
            try:
                os.setpgid(pid, pid)
            except OSError:  # the child has done it, or is gone already
                pass
        return pid
    code = EXIT_BROKEN
    try:
        if group:
            os.setpgid(0, 0)
        code = child(*args)
    except BaseException:  # the traceback goes to stderr, the exit code says so
        import traceback

        traceback.print_exc()
    finally:
        flush()
        os._exit(code)


def flush() -> None:
    """Write out what standard output and error hold back. Raises nothing."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # None in a daemon, a closed pipe, a closed file
            pass


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent dies; ``parent`` is the pid the parent had before the fork.

    A parent that died before the request was made is noticed by its pid, so there is no window. No-op where it does
    not exist. Children of this process do not inherit it.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXIT_ORPHAN)


def set_name(name: bytes) -> None:
    """Set the name that ``top`` and ``ps -o comm`` show, cut to 15 bytes. No-op off Linux."""
    if _prctl is not None:
        _prctl(_PR_SET_NAME, name, 0, 0, 0)


def reset_signals() -> None:
    """Give every signal that the parent handles in Python its default back, and unblock all; before any code of users
    runs.
    """
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)) and number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def kill_group(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal to a whole process group; return whether anybody was there. Refuses pid 0 and 1: they would mean
    ourselves.

    Raises ValueError for such a pid.
    """
    if pid <= 1:
        raise ValueError(f"{pid} is not the process group of a horse")
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so for a group of zombies; a job that changed its user also causes it
        return False
    return True


def reap(pid: int) -> int | None:
    """Wait for a child that is dead or about to be; return its wait status, None if somebody else has reaped it."""
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return None
