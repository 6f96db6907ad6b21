"""A process's own memory: the limit of one job, its peak, and who goes first when memory runs out.

Which limit. RLIMIT_AS counts every mapping: shared libraries, memory-mapped files, address space that thread pools
and allocators merely reserve; numpy alone maps gigabytes it never uses, so a limit that fits real use cannot be told
with it. RLIMIT_RSS has no effect on Linux. RLIMIT_DATA counts private writable memory (heap and anonymous mappings,
since Linux 4.7), which is what a job allocates, so it is used. A job above it gets a MemoryError with a traceback and
fails normally; nothing is killed, no pod restarts. It counts allocated, not touched memory, and includes what
preloaded modules hold. macOS accepts the call and ignores it.
"""

from __future__ import annotations

import os
import resource
import sys

_EMPTY_BYTES = sys.getsizeof(b"")
_POOL_BYTES, _POOL_HEAD_BYTES = 16384, 48
_MOST_FILLED = 65536  # bytes of one size


def set_job_memory(limit: int) -> None:
    """Limit this process's private writable memory to ``limit`` bytes, softly: lift_job_memory can undo it for the
    report.

    A container's own hard limit below it stays as it is. Raises nothing: a system without the limit goes without.
    """
    try:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    except (OSError, ValueError):
        pass


def lift_job_memory() -> None:
    """Allow as much as the hard limit, so that a failure can be put into words after a MemoryError."""
    try:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    except (OSError, ValueError):
        pass


def private_bytes() -> int | None:
    """Return what RLIMIT_DATA counts of this process now; None where /proc does not say."""
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"VmData:"):
                    return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return None


def raise_oom_score(points: int) -> None:
    """Make the kernel prefer this process (0 to 1000 points) when memory runs out. Lowering needs rights and is
    left.
    """
    _write("/proc/self/oom_score_adj", str(max(0, min(points, 1000))).encode())


def reset_peak() -> None:
    """Start the peak of peak_bytes() anew, so that each job in a recycled horse has its own. No-op where it is
    impossible.
    """
    _write("/proc/self/clear_refs", b"5")


def peak_bytes() -> int:
    """Return this process's peak resident memory since it was forked or since reset_peak().

    Linux keeps the figure with the address space, so a fork starts at its parent's present size, not at the parent's
    peak (which ru_maxrss would show only after an exec); it costs 2 us where /proc/self/status costs 45.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def fill_gaps() -> list[bytes]:
    """Return objects that use up the free places between those that are there; keep them. What a fork makes afterwards then
    stands side by side in fresh memory instead of in gaps all over the old, each on a page that must be copied first.

    CPython keeps objects of up to 512 bytes in pools of one size each, a multiple of 16 bytes; since 3.10 a pool has 16 KiB,
    and its first object stands behind a head of 48 bytes. Three in a row from there on are in a new pool: no gap is left. Where
    memory is laid out in another way, this ends after 64 KiB of each size.
    """
    kept: list[bytes] = []
    for size in range(48, 513, 16):  # no bytes object is smaller
        expected = row = 0
        for _ in range(_MOST_FILLED // size):
            kept.append(bytes(size - _EMPTY_BYTES))
            place = id(kept[-1])
            row = row + 1 if place == expected else int(place % _POOL_BYTES == _POOL_HEAD_BYTES)
            if row == 3:
                break
            expected = place + size if row else 0
    return kept


def _write(path: str, data: bytes) -> None:
    try:
        fileno = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # a file object takes as long again
    except OSError:
        return
    try:
        os.write(fileno, data)
    except OSError:
        pass
    finally:
        os.close(fileno)
