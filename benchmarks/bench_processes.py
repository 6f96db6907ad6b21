"""What forking costs by itself, without Redis: jobs per second through zygote, horse and frames, against a trivial
loop.

    python benchmarks/bench_processes.py [seconds per case, default 3]

Prints the bare cost of fork and wait, then no-op jobs per second with a fork for each job (one horse ahead) and with
recycled horses.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import sys
import time
import zlib
from dataclasses import dataclass

from rqk.worker.children import ChildSettings
from rqk.worker.frames import Decoder, Kind, receive, send
from rqk.worker.messages import Order, order_fields, read_outcome
from rqk.worker.zygote import Exited, Forked, Ready, ZygoteHandle


def job_hash() -> dict[bytes, bytes]:
    """Return a job hash as a producer writes it: some twenty small fields."""
    call = zlib.compress(pickle.dumps(("time.time", None, (), {}), 5))
    date = b"2026-08-02T10:00:00.000000Z"
    return {
        b"status": b"started",
        b"created_at": date,
        b"enqueued_at": date,
        b"started_at": date,
        b"ended_at": b"",
        b"last_heartbeat": date,
        b"worker_name": b"w" * 32,
        b"data": call,
        b"origin": b"default",
        b"description": b"time.time()",
        b"timeout": b"180",
        b"result_ttl": b"500",
        b"success_callback_name": b"",
        b"failure_callback_name": b"",
        b"stopped_callback_name": b"",
        b"group_id": b"",
    }


@dataclass
class Tally:
    """What one case measured."""

    jobs: int = 0
    seconds: float = 0.0
    fork_s: float = 0.0
    forks: int = 0

    def line(self, name: str) -> str:
        """Return a line for people."""
        fork = f", fork {1e3 * self.fork_s / self.forks:.2f} ms" if self.forks else ""
        return (
            f"{name:<28} {self.jobs / self.seconds:8.0f} jobs/s  ({1e6 * self.seconds / self.jobs:.0f} us a job{fork})"
        )


def through_horses(recycle_after: int, seconds: float) -> Tally:
    """Run no-op jobs for some seconds as a worker would: one at a time, one horse ahead."""
    zygote = ZygoteHandle.start(ChildSettings(recycle_after=recycle_after))
    poller, tally, spare = select.poll(), Tally(), list[socket.socket]()
    poller.register(zygote.sock, select.POLLIN)
    fields = job_hash()

    def look(timeout_ms: int | None) -> None:
        while any(poller.poll(timeout_ms)):
            for event in zygote.events():
                match event:
                    case Forked():
                        event.sock.setblocking(True)
                        spare.append(event.sock)
                        tally.fork_s += event.fork_s
                        tally.forks += 1
                    case Exited() if event.status:
                        raise SystemExit(f"a horse died: {event}")
                    case Ready() | Exited():
                        pass
                    case _:
                        raise SystemExit(f"unexpected: {event}")
            if zygote.closed:
                raise SystemExit("the zygote died")
            if timeout_ms is None:
                return

    zygote.request_fork()
    began, number = 0.0, 0
    while not began or time.perf_counter() - began < seconds:
        while not spare:
            look(None)
        horse, decoder = spare.pop(0), Decoder()
        zygote.request_fork()
        began = began or time.perf_counter()
        leaving = False
        while not leaving:
            number += 1
            send(horse, Kind.JOB, order_fields(Order(f"job-{number}", "0" * 32, "default", "bench", 180.0, fields)))
            frames = receive(horse, decoder)
            if not frames:
                raise SystemExit("a horse ended without an outcome")
            outcome = read_outcome(frames[0].fields)
            if outcome.kind != "finished":
                raise SystemExit(outcome.exc_string)
            leaving = outcome.leaving
            tally.jobs += 1
            look(0)
        horse.close()
    tally.seconds = time.perf_counter() - began
    zygote.stop()
    return tally


def bare_fork(seconds: float) -> float:
    """Return the seconds of one fork and wait of this process, with nothing done in the child."""
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        count += 1
    return (time.perf_counter() - began) / count


def main() -> None:
    """Measure and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    print(f"bare fork + wait             {1e3 * bare_fork(seconds / 3):8.2f} ms")
    print(through_horses(1, seconds).line("a fork per job"))
    print(through_horses(100, seconds).line("recycled after 100 jobs"))
    print(through_horses(10_000, seconds).line("recycled after 10,000 jobs"))


if __name__ == "__main__":
    main()
