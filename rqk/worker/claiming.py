"""Waiting for work: one blocking move per queue, each on a connection of its own, all in the worker's selector.

Redis has no blocking read of several lists that does not pop, and a pop into the void loses jobs. So while idle each queue has a
``BLMOVE queue -> its intermediate list`` under way. The first answer wins, the others are ended with ``CLIENT UNBLOCK``; whatever
they moved meanwhile is handed to claim.lua together with the first, which puts all of it back at the head of its queue and then
takes the best job by priority, in one atomic step. One push wakes one worker (Redis serves the longest waiter), whatever the
number of idle workers and queues, and at no instant is an id outside Redis.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from rqk.core import keys
from rqk.errors import StoreError, StoreUnavailable
from rqk.store.connect import Client, Executor
from rqk.store.line import Line
from rqk.store.transitions import Held
from rqk.worker.options import WorkerOptions

BLOCK_S = 60  # then the pop is asked anew, so that a connection that died without a word is noticed
# A line is only read when its answer has come or has been called for; the waiting itself is a selector's.
_ANSWER_S = 5.0


@dataclass(slots=True)
class _Watch:
    queue: str
    line: Line
    client_id: int = 0
    asked: bool = False


class Waiter:
    """The blocking pops of one worker."""

    def __init__(self, client: Client, queues: Sequence[str]) -> None:
        self._watches = [_Watch(queue, Line(client, _ANSWER_S)) for queue in queues]
        self.waiting = False
        self.held: list[Held] = []  # moved by the pops, and not yet given back or started: whoever does that clears it

    def arm(self) -> None:
        """Begin to wait on every queue. Raises StoreUnavailable; then nothing waits."""
        try:
            for watch in self._watches:
                self._ask(watch)
        except StoreError:
            self.drop()
            raise
        self.waiting = True

    def _ask(self, watch: _Watch) -> None:
        if watch.line.fileno() < 0:
            watch.client_id = int(watch.line.execute_command("CLIENT", "ID"))
        source, target = keys.queue(watch.queue), keys.intermediate(watch.queue)
        watch.line.send("BLMOVE", source, target, "LEFT", "RIGHT", BLOCK_S)
        watch.asked = True

    def filenos(self) -> dict[int, Callable[[], None]]:
        """What to select on, and what to call when one is readable: it adds to ``held``. Raises StoreError."""
        return {watch.line.fileno(): partial(self._answer, watch) for watch in self._watches if watch.asked}

    def _answer(self, watch: _Watch) -> None:
        """Read one answer; an empty one is asked anew."""
        if not self._read(watch):
            self._ask(watch)

    def _read(self, watch: _Watch) -> bool:
        """Whether the answer was an id."""
        watch.asked = False
        reply = watch.line.read()
        with suppress(UnicodeDecodeError):  # no id: it stays in the intermediate list, and a sweep drops it there
            if isinstance(reply, bytes):
                self.held.append(Held(watch.queue, reply.decode()))
                return True
        return False

    def stop(self, executor: Executor) -> None:
        """End all waiting; what was moved meanwhile is in ``held``. Raises StoreError, after which nothing waits either.

        A connection that is dead costs a moment, and not what the others have brought.
        """
        self.waiting = False
        busy = [watch for watch in self._watches if watch.asked]
        try:
            for watch in busy:
                executor.execute_command("CLIENT", "UNBLOCK", watch.client_id)
            for watch in busy:
                with suppress(StoreUnavailable):  # it is closed then, and opened anew by the next wait
                    self._read(watch)
        except StoreError:
            self.drop()
            raise

    def drop(self) -> None:
        """Close all connections; ids that were in flight are found in the intermediate lists by a sweep."""
        self.waiting = False
        for watch in self._watches:
            watch.asked = False
            watch.line.close()

    @property
    def lines(self) -> list[Line]:
        """All connections."""
        return [watch.line for watch in self._watches]


class Turns:
    """In which order queues are asked: as named, each in turn, or any."""

    def __init__(self, options: WorkerOptions) -> None:
        self._strategy = options.strategy
        self._queues = list(options.queues)

    def order(self) -> list[str]:
        """The order of the next claim."""
        if self._strategy == "random":
            random.shuffle(self._queues)
        return self._queues

    def served(self, queue: str) -> None:
        """A job of this queue was taken."""
        if self._strategy == "round_robin" and queue in self._queues:
            next_one = self._queues.index(queue) + 1
            self._queues = self._queues[next_one:] + self._queues[:next_one]
