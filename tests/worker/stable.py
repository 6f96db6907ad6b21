"""A trivial supervisor for the tests of zygote and horse: it asks for horses, hands them orders, reads what comes
back.
"""

from __future__ import annotations

import pickle
import select
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rqk.worker.children import ChildSettings
from rqk.worker.frames import Decoder, Kind, receive, receive_all, send
from rqk.worker.messages import Mode, Order, Outcome, order_fields, read_outcome
from rqk.worker.zygote import Event, Exited, Forked, Ready, ZygoteHandle

JOBS = "tests.worker.jobs_horse"
PATIENCE_S = 20.0
_Event = TypeVar("_Event", Ready, Forked, Exited)


def order(
    func: str,
    *args: Any,
    timeout: float | None = 30.0,
    mode: Mode = Mode.PERFORM,
    exc_kind: str = "",
    exc_text: str = "",
    dumps: Any = pickle.dumps,
    **fields: str,
) -> Order:
    """Return an order for a function of jobs_horse (or a full dotted name); ``fields`` go into the job hash."""
    name = func if "." in func else f"{JOBS}.{func}"
    job = {
        b"status": b"started",
        b"created_at": b"2026-08-02T10:00:00.000000Z",
        b"origin": b"default",
        b"data": zlib.compress(dumps((name, None, args, {}))),
    }
    job |= {key.encode(): value.encode() for key, value in fields.items()}
    return Order("job-1", "e" * 32, "default", "worker-1", timeout, job, mode, exc_kind, exc_text)


@dataclass
class Birth:
    """How zygotes begin: as a fork of the tests' process, or as a new interpreter."""

    fresh: bool = False


BIRTH = Birth()


@dataclass
class Stable:
    """A zygote with its horses."""

    zygote: ZygoteHandle
    seen: list[Event] = field(default_factory=list)

    def wait(self, kind: type[_Event], pid: int | None = None) -> _Event:
        """Return the next event of a kind (about a process), reading until it comes."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for event in self.seen:
                if isinstance(event, kind) and (pid is None or getattr(event, "pid", None) == pid):
                    self.seen.remove(event)
                    return event
            assert not self.zygote.closed, f"the zygote is gone; seen {self.seen}"
            assert time.monotonic() < deadline, f"no {kind.__name__}; seen {self.seen}"
            select.select([self.zygote.sock], [], [], 1.0)
            self.seen += self.zygote.events()

    def horse(self) -> Forked:
        """Return a new horse, its socket blocking with a limit."""
        self.zygote.request_fork()
        forked = self.wait(Forked)
        forked.sock.settimeout(PATIENCE_S)
        return forked

    def ask(self, horse: Forked, what: Order) -> Outcome | None:
        """Hand an order over and return the outcome; None if the horse ended without one."""
        send(horse.sock, Kind.JOB, order_fields(what))
        return self.answer(horse)

    def answer(self, horse: Forked) -> Outcome | None:
        """Return the outcome of an order that was sent; None if the horse ended without one."""
        decoder = Decoder()
        while True:
            frames = receive(horse.sock, decoder)
            if frames is None:
                return None
            if frames:
                assert [frame.kind for frame in frames] == [Kind.OUTCOME]
                return read_outcome(frames[0].fields)

    def run(self, what: Order) -> Outcome:
        """Run one order in a new horse, which must report."""
        horse = self.horse()
        with horse.sock:
            outcome = self.ask(horse, what)
        assert outcome is not None, self.wait(Exited, horse.pid)
        return outcome

    def run_to_death(self, what: Order) -> Exited:
        """Run one order in a new horse, which must end without a report."""
        horse = self.horse()
        with horse.sock:
            assert self.ask(horse, what) is None
            exited = self.wait(Exited, horse.pid)
            horse.sock.setblocking(False)
            assert receive_all(horse.sock, Decoder()) == ([], True)
        return exited


@contextmanager
def stable(settings: ChildSettings | None = None, close: Sequence[Any] = ()) -> Iterator[Stable]:
    """Start a zygote (as BIRTH says), and take it and all its horses away at the end."""
    chosen = settings or ChildSettings()
    handle = ZygoteHandle.start(chosen._replace(fresh=chosen.fresh or BIRTH.fresh), close)
    keeper = Stable(handle)
    try:
        yield keeper
    finally:
        handle.stop()
        for event in keeper.seen:
            if isinstance(event, Forked):
                event.sock.close()


def result(outcome: Outcome) -> Any:
    """Return the value of a finished job."""
    assert outcome.kind == "finished", outcome.exc_string
    return pickle.loads(outcome.result) if outcome.has_result else None
