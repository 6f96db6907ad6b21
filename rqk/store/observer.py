"""Snapshots for someone who looks again and again: one round trip a look, since the workers of the last look are asked along,
and little work for queues at rest, which are only glanced at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis import exceptions as wire

from rqk.errors import StoreError
from rqk.store import scripts
from rqk.store.aio import Remote
from rqk.store.connect import errors_of
from rqk.store.glance import glance_commands, read_glance
from rqk.store.snapshot import LOOKS, Snapshot, WorkerSnapshot, look_commands, read_look, read_workers, worker_commands


class Observer:
    """Looks at one server. Never writes. ``round_trips`` counts how often it was asked."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._known: list[str] = []
        self.round_trips = 0

    async def look(self, queues: Iterable[str], resting: Iterable[str] = ()) -> Snapshot:
        """The given queues and all workers, as :func:`rqk.store.snapshot.snapshot` has them. Raises StoreError.

        Of queues ``resting`` it is only found out whether they still are at rest. All is read in the same round trip;
        workers that were not there before cost a second one.
        """
        names, quiet = sorted(set(queues)), sorted(set(resting))
        known = self._known
        looks, glances = look_commands(names), glance_commands(quiet)
        replies = await self._ask([*looks, *glances, *worker_commands(known)])
        seen, listed = read_look(names, replies[: len(looks)])
        glance = read_glance(quiet, replies[len(looks) : len(looks) + len(glances)])
        alive = set(listed)
        found = [it for it in read_workers(known, replies[len(looks) + len(glances) :]) if it.name in alive]
        fresh = sorted(alive.difference(known))
        if fresh:
            found += read_workers(fresh, await self._ask(worker_commands(fresh)))
        self._known = listed
        at = seen.at or glance.at or await self._time()
        return Snapshot(at, seen.queues, _by_name(found), seen.suspended, seen.unreadable, glance)

    async def _ask(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        with errors_of(self._remote.where):
            for attempt in (1, 2):
                self.round_trips += 1
                async with self._remote.client.pipeline(transaction=False) as pipe:
                    for command in commands:
                        pipe.execute_command(*command)
                    replies = list(await pipe.execute(raise_on_error=False))
                if not any(isinstance(reply, wire.NoScriptError) for reply in replies):
                    for reply in replies:
                        if isinstance(reply, Exception):
                            raise reply
                    return replies
                if attempt == 2:
                    raise StoreError(f"{self._remote.where} forgets scripts at once")
                for name in LOOKS:
                    await self._remote.client.script_load(scripts.source(name))
        raise AssertionError("unreachable")

    async def _time(self) -> float:
        with errors_of(self._remote.where):
            seconds, micros = await self._remote.client.time()
        return int(seconds) + int(micros) / 1e6


def _by_name(workers: Iterable[WorkerSnapshot]) -> tuple[WorkerSnapshot, ...]:
    return tuple(sorted(workers, key=lambda worker: worker.name))
