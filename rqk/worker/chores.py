"""What a worker does now and then beside its jobs: move due jobs, sweep for the fleet, look at its queues for the metrics."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from rqk.core.times import to_epoch
from rqk.errors import StoreFull
from rqk.store import snapshot, transitions
from rqk.store.connect import Client
from rqk.store.line import Line
from rqk.worker.heart import Heart
from rqk.worker.options import WorkerOptions

if TYPE_CHECKING:
    from rqk.worker.report import Report

_DUE_S = 1.0  # between looks at scheduled jobs, by the worker that holds the lock; the others ask seldom
_DUE_OTHERS_S = 5.0
_LOOK_S = 5.0
_NEWBORN_S = 15.0  # Redis may be back just now: who was away asks again at the latest after outage.LONGEST_WAIT_S, a quarter more and a timeout
LOCK_S = 10  # a scheduler lock outlives the worker that holds it by so much
_NEVER = float("inf")


class Chores:
    """Each chore and the moment (monotonic seconds) it is next due."""

    def __init__(
        self,
        client: Client,
        line: Line,
        options: WorkerOptions,
        heart: Heart,
        report: Report,
        clock: Callable[[], datetime],
    ) -> None:
        self._client, self._line, self._options = client, line, options
        self._heart, self._report, self._clock = heart, report, clock
        self.janitor_at = 0.0
        self._is_newborn = not options.burst  # a worker for one burst would leave without ever having looked
        self._schedule_at = 0.0 if options.with_scheduler else _NEVER
        self._look_at = 0.0 if options.metrics else _NEVER

    @property
    def due_at(self) -> float:
        """When the next one is due."""
        return min(self.janitor_at, self._schedule_at, self._look_at)

    def do(self, now: float) -> None:
        """Do what is due. Raises StoreError, but not for a server without room: jobs can be worked off, so no chore stops that."""
        if now >= self._schedule_at:
            self._schedule_at = now + _DUE_S
            with suppress(StoreFull):
                self._schedule(now)
        if now >= self.janitor_at:
            self.janitor_at = now + self._options.janitor_s * random.uniform(0.8, 1.2)
            with suppress(StoreFull):
                self._sweep(now)
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._report.queues(snapshot.snapshot(self._client, self._options.queues, workers=False))

    def _schedule(self, now: float) -> None:
        name, queues = self._options.name, self._options.queues
        wall = self._clock()
        owned, moved, soonest = transitions.move_due(self._line, name, queues, wall, lock_s=LOCK_S)
        if not owned:
            self._schedule_at = now + _DUE_OTHERS_S
        elif moved and soonest is not None and soonest <= to_epoch(wall):
            self._schedule_at = now  # more were due than are moved at once

    def _sweep(self, now: float) -> None:
        if self._is_newborn:
            # Others must have had the time to renew their leases before anyone may call them dead.
            self._is_newborn = False
            self.janitor_at = now + min(self._options.lease_s, _NEWBORN_S)
            return
        for found in self._heart.sweep():
            self._report.found(found)
