"""Real forks for tests of what crosses them; the parent's process-wide registry stays as it was."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence

from rqk.metrics.delta import Baseline
from rqk.metrics.merge import MergedCollector
from tests.metrics.reading import page

Job = Callable[[], object]


def in_fork(work: Callable[[], bytes]) -> bytes:
    """What ``work`` returns, run in a child process; an exception there is an AssertionError here."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            with open(writing, "wb") as pipe:
                pipe.write(work())
            code = 0
        except BaseException:  # noqa: BLE001 - the child must not return into pytest
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"the forked child ended with {status}; see its traceback above"
    return answer


def deltas(jobs: Sequence[Job], preload: Job = lambda: None, *, recycled: bool = False) -> list[bytes]:
    """Each job's delta. As in a worker: a zygote preloads and takes the baseline, then forks a horse for each job, or
    one that runs them all."""

    def zygote() -> bytes:
        preload()
        baseline = Baseline.take()

        def run(job: Job) -> bytes:
            job()
            return baseline.delta()

        if recycled:
            return in_fork(lambda: b"\n".join([run(job) for job in jobs]))
        return b"\n".join([in_fork(lambda job=job: run(job)) for job in jobs])  # type: ignore[misc]

    return in_fork(zygote).split(b"\n")


def merged(sent: Sequence[bytes], collector: MergedCollector | None = None) -> dict[str, float]:
    """The page that results from these deltas, parsed from the text format: ``name{label=value,…}`` to value."""
    collector = collector or MergedCollector()
    for delta in sent:
        if delta:
            collector.add(delta)
    return page(collector)
