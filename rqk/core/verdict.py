"""How a horse ended, in words: from a wait status and what is known around it to an outcome and a text for the job's
record.

Pure. The beginning of the text of an unexpected death is RQ's sentence, because people and tools search for it.
"""

from __future__ import annotations

import signal
from typing import Literal, NamedTuple

KilledFor = Literal["timeout", "stop", "grace", "lease", "memory"] | None
"""Why the supervisor itself killed the horse; None = it did not."""

Outcome = Literal["timeout", "oom", "crashed", "stopped"]

STOPPED_TEXT = "Job stopped by user, work-horse terminated."  # RQ's words

# Exit codes of our own processes: above 64 and apart from a shell's 126-255, hence hardly ever a user's choice.
EXIT_BROKEN = 70  # our own code raised; the traceback is in the worker's log
EXIT_ORPHAN = 71  # the parent was gone before the child could start
EXIT_MUTE = 72  # the horse could not report: its socket was closed

NEAR_LIMIT = 0.9  # a peak from this part of the limit on makes "out of memory" the likely reason
CRASH_TEXT_CHARS = 8192

_EXIT_WORDS = {
    0: "the job ended its process with exit code 0 before it could report; os._exit(0), or an exec, does that",
    EXIT_BROKEN: f"exit code {EXIT_BROKEN}: rqk's own code failed in the work-horse; see the worker's log",
    EXIT_ORPHAN: f"exit code {EXIT_ORPHAN}: the worker's parent process was already gone",
    EXIT_MUTE: f"exit code {EXIT_MUTE}: the job closed the file descriptor over which the work-horse reports",
}
_NATIVE = "native code crashed (a C extension, ctypes, or a damaged installation of one)"
_SIGNAL_WORDS = {
    "SIGSEGV": f"invalid memory access: {_NATIVE}",
    "SIGBUS": f"bus error: {_NATIVE}, or a memory-mapped file shrank or its disk is full",
    "SIGILL": "illegal instruction: a native library was built for another processor",
    "SIGFPE": f"arithmetic error: {_NATIVE}",
    "SIGABRT": "a native library called abort(); its own words are in the worker's log",
    "SIGSYS": "a forbidden system call: a seccomp profile of the container refused it",
    "SIGXCPU": "the CPU time limit (ulimit -t) is used up",
    "SIGXFSZ": "the file size limit (ulimit -f) was exceeded",
    "SIGALRM": "an alarm that the job set went off unhandled",
    "SIGPIPE": "the job wrote into a closed pipe after it had set SIGPIPE to its default",
}


class Verdict(NamedTuple):
    """An outcome for the metrics and a text for the job's failure record."""

    outcome: Outcome
    text: str


def explain(
    wait_status: int | None,
    *,
    killed_for: KilledFor = None,
    timeout_s: float | None = None,
    oom_kills_before: int | None = None,
    oom_kills_after: int | None = None,
    peak_bytes: int | None = None,
    memory_limit_bytes: int | None = None,
    crash_text: str = "",
) -> Verdict:
    """Judge the end of a horse that did not report an outcome.

    ``wait_status`` is what waitpid gave (not an exit code), None if nobody could wait for the horse (its zygote died
    first). ``oom_kills_*`` are limits.oom_kills() when the job began and after the horse was reaped; ``peak_bytes``
    the horse's peak memory; ``memory_limit_bytes`` the tighter of the job's and the container's limit; ``crash_text``
    what faulthandler wrote.

    "stopped" covers every end that was asked for (stop, grace, lease); the caller knows which and may record the job
    otherwise.
    """
    if killed_for == "stop":
        return Verdict("stopped", STOPPED_TEXT)
    signal_number = None if wait_status is None else wait_status & 0x7F
    shown = (
        "None" if wait_status is None or killed_for == "timeout" else str(wait_status)
    )  # None: as RQ shows its own kill
    signalled = f" (signal {signal_number})" if signal_number and shown != "None" else ""
    opening = f"Work-horse terminated unexpectedly; waitpid returned {shown}{signalled}; "
    outcome, reason = _reason(
        wait_status,
        killed_for,
        timeout_s,
        _grew(oom_kills_before, oom_kills_after),
        _near(peak_bytes, memory_limit_bytes),
    )
    parts = [f"{opening}{reason}."]
    memory = _memory(peak_bytes, memory_limit_bytes)
    if memory:
        parts.append(f" {memory}")
    if crash_text.strip():
        parts.append(f"\n\n{_cut(crash_text.strip())}")
    return Verdict(outcome, "".join(parts))


def _reason(
    wait_status: int | None, killed_for: KilledFor, timeout_s: float | None, oom_seen: bool | None, near_limit: bool
) -> tuple[Outcome, str]:
    if killed_for == "timeout":
        limit = (
            "its maximum timeout value"
            if timeout_s is None
            else f"maximum timeout value ({seconds_text(timeout_s)} seconds)"
        )
        return "timeout", (
            f"Task exceeded {limit} and did not react to JobTimeoutException, so its process group was killed "
            "(a long call into native code, or code that catches BaseException, does that)"
        )
    if killed_for == "memory":
        return "oom", "out of memory: the job used more than its memory limit and was killed by its worker"
    if killed_for == "grace":
        return "stopped", "its worker was told to stop, and the job did not end within the grace period"
    if killed_for == "lease":
        return (
            "stopped",
            "its worker had lost the lease on the job (no heartbeat reached Redis in time), so the job was killed",
        )
    if wait_status is None:
        return "crashed", "the process that would have waited for it was killed, and the work-horse died with it"
    number = wait_status & 0x7F
    if number == 0:
        code = wait_status >> 8
        return "crashed", _EXIT_WORDS.get(
            code, f"the job ended its process with exit code {code}; os._exit({code}) does that"
        )
    name = _signal_name(number)
    if name == "SIGKILL":
        return _killed(oom_seen, near_limit)
    words = _SIGNAL_WORDS.get(name, "sent from outside, by a person, a script or the job itself")
    if near_limit and name in {"SIGSEGV", "SIGABRT", "SIGBUS"}:
        return "oom", f"{name}, most likely out of memory: native code that could not allocate memory crashes like this"
    return "crashed", f"{name}, {words}"


def _killed(oom_seen: bool | None, near_limit: bool) -> tuple[Outcome, str]:
    if oom_seen:
        return "oom", "SIGKILL, out of memory: the kernel counted an out-of-memory kill in this container meanwhile"
    if near_limit:
        return "oom", "SIGKILL, most likely out of memory: the peak was close to the limit"
    if oom_seen is None:
        return (
            "crashed",
            "SIGKILL, from outside: a person, a script, or the kernel out of memory (no counter could be read)",
        )
    return "crashed", (
        "SIGKILL, from outside: a person, a script, or a node out of memory (this container's own counter did not move)"
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _grew(before: int | None, after: int | None) -> bool | None:
    return None if before is None or after is None else after > before


def _near(peak: int | None, limit: int | None) -> bool:
    return bool(peak and limit and peak >= NEAR_LIMIT * limit)


def _memory(peak: int | None, limit: int | None) -> str:
    if not peak:
        return f"The memory limit was {size_text(limit)}." if limit else ""
    return f"Peak memory {size_text(peak)}{f' of {size_text(limit)} allowed' if limit else ''}."


def size_text(size: int) -> str:
    """Return a number of bytes for people: ``512.0 MiB``."""
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def seconds_text(seconds: float) -> str:
    """Return a number of seconds without needless decimals or exponents: ``180``, ``0.5``."""
    return str(int(seconds)) if seconds == int(seconds) else str(seconds)


def _cut(text: str) -> str:
    """Keep the beginning: faulthandler writes the most recent call first."""
    return text if len(text) <= CRASH_TEXT_CHARS else text[:CRASH_TEXT_CHARS] + "\n..."
