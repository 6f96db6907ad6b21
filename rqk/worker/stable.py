"""The stable: the zygote, the horse that runs, and those that wait, so that a fork's cost overlaps a running job."""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from rqk.worker.children import ChildSettings
from rqk.worker.frames import Decoder, FrameError, Kind, Outgoing, receive, receive_all
from rqk.worker.messages import Outcome, read_outcome
from rqk.worker.process import kill_group
from rqk.worker.zygote import Closable, Exited, Forked, ForkFailed, Ready, ZygoteHandle

log = logging.getLogger("rqk.worker")

_AHEAD = 2  # one would still be preparing itself when a job comes right after the last
_AHEAD_IN_A_HURRY = 4
_MOST_LEARNED = 3000  # modules; what a horse says is not trusted to end


@dataclass(slots=True)
class Horse:
    """One forked process that waits for a job or runs one."""

    pid: int
    sock: socket.socket
    decoder: Decoder = field(default_factory=Decoder)
    outgoing: Outgoing = field(default_factory=Outgoing)
    fork_s: float = 0.0
    silent: bool = False  # its socket has ended, though it may live: what became of it is told by the zygote

    def give(self, frame: list[bytes]) -> None:
        """Hand a job over; what the socket does not take now is flushed later. Raises OSError when the horse is gone."""
        self.outgoing.push(frame)
        self.outgoing.flush(self.sock)

    def outcome(self, *, last_words: bool = False) -> Outcome | None:
        """The outcome if it has arrived whole. Nonsense from user code counts as silence: the horse's end is judged then."""
        try:
            frames = receive_all(self.sock, self.decoder)[0] if last_words else receive(self.sock, self.decoder)
            self.silent = frames is None
            for frame in frames or ():
                if frame.kind is Kind.OUTCOME:
                    return read_outcome(frame.fields)
        except FrameError as error:
            log.warning("the work-horse %d sent what is no outcome (%s); it is killed", self.pid, error)
            kill_group(self.pid)
        return None

    def close(self) -> None:
        """Let it go: it leaves when it reads the end of its socket."""
        self.sock.close()


class Stable:
    """Keeps a zygote alive and a horse ready."""

    def __init__(self, settings: ChildSettings) -> None:
        self.settings = settings
        self.zygote: ZygoteHandle | None = None
        self.waiting: list[Horse] = []  # the last one runs next: a horse that has run a job before a fresh one
        self.asked = 0  # forks under way
        self.ready: Ready | None = None
        self._learned: set[str] = set()
        self._lost: set[int] = set()

    def start(self, close: Iterable[Closable] = ()) -> None:
        """Fork the zygote and ask for the first horse. The caller has no other thread now. Raises OSError."""
        self.zygote = ZygoteHandle.start(self.settings, close)
        self.asked = 0
        self.ready = None
        if self._learned:
            self.zygote.request_import(sorted(self._learned))
        self.ask()

    @property
    def is_broken(self) -> bool:
        """Whether the zygote is gone and another one is needed."""
        return self.zygote is None or self.zygote.closed

    @property
    def has_horse(self) -> bool:
        """Whether a horse waits, or is about to be there."""
        return bool(self.waiting) or (self.asked > 0 and not self.is_broken)

    def ask(self, *, hurry: bool = False) -> None:
        """Ask for a horse unless enough wait or come; in a ``hurry`` (jobs follow each other) for some at a time.

        Several in a row cost the zygote less than one by one: what it wakes up for, and the memory it has to copy for
        itself after a fork, is shared by them.
        """
        if self.zygote is None or self.zygote.closed:
            return
        there = len(self.waiting) + self.asked
        if self.settings.recycle_after > 1:  # the one that runs comes back
            count = 1 - there
        elif hurry:
            count = _AHEAD_IN_A_HURRY - there if there <= 1 else 0
        else:
            count = _AHEAD - there
        if count > 0:
            self.asked += count
            self.zygote.request_fork(count, at_leisure=not hurry)

    def take(self) -> Horse | None:
        """A waiting horse; the caller has it now, and asks for others when it has given it a job."""
        return self.waiting.pop() if self.waiting else None

    def keep(self, horse: Horse) -> None:
        """A horse that may run further jobs is the next to run one; the fresh one stays in reserve for its end."""
        self.waiting.append(horse)

    def learn(self, names: Iterable[str]) -> None:
        """Let later horses have what a job has imported, once."""
        new = set(names) - self._learned
        if new and len(self._learned) + len(new) <= _MOST_LEARNED and self.zygote is not None:
            self._learned |= new
            self.zygote.request_import(name for name in names if name in new)

    def events(self, readable: Collection[int]) -> list[Ready | Forked | ForkFailed | Exited]:
        """What the zygote has said, if it has; horses are put into the stable on the way."""
        if self.zygote is None or not self.zygote.has_news(readable):
            return []
        events = self.zygote.events()
        for event in events:
            if isinstance(event, Forked):
                self.asked = max(self.asked - 1, 0)
                self.waiting.insert(0, Horse(event.pid, event.sock, fork_s=event.fork_s))
            elif isinstance(event, ForkFailed):
                self.asked = max(self.asked - 1, 0)
            elif isinstance(event, Ready):
                self.ready = event
            elif isinstance(event, Exited):
                for horse in [horse for horse in self.waiting if horse.pid == event.pid]:
                    horse.close()
                    self.waiting.remove(horse)
                    self._lost.add(event.pid)
        return events

    def has_lost(self, pid: int) -> bool:
        """Whether this horse died while it waited; said once."""
        lost = pid in self._lost
        self._lost.discard(pid)
        return lost

    def stop(self) -> int | None:
        """Kill zygote and horses; returns the zygote's wait status if it could be had."""
        for horse in self.waiting:
            horse.close()
        self.waiting.clear()
        self.asked = 0
        status = self.zygote.stop() if self.zygote is not None else None
        self.zygote = None
        return status

    def note_exit(self, pid: int) -> bool:
        """Tell that a pid was reaped elsewhere; True if it was the zygote."""
        if self.zygote is not None and pid == self.zygote.pid:
            self.zygote.note_exit()
            return True
        return False
