"""What happens to the operator while the stage plays: a thread that ends a round twice a second."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import Self

from rqk.autoscale.decide import Observation
from rqk.autoscale.seen import QueueSeen, WorkersSeen
from tests.monitoring.operator_page import OperatorPage, pool_of
from tests.monitoring.pool_story import PoolStory, Seen

ROUND_SECONDS = 0.5
BURST_EVERY = 45.0


class OperatorStory:
    """A leader with five pools and a standby. Calm until `bursts` is set: one pool then gets jobs in bursts, and one
    is late. From `trouble` on each of the others shows one kind of it."""

    def __init__(self) -> None:
        self.leader = OperatorPage(leads=True)
        self.standby = OperatorPage(leads=False)
        self.trouble = threading.Event()
        self.bursts = threading.Event()
        self.stand_still = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="operator story")
        self._mail = PoolStory(pool_of("jobs", "mail", "default", most=4, wait=10, depth=5), job_seconds=1.0)
        self._late = PoolStory(pool_of("jobs", "reports", "reports", most=2, wait=5, depth=20), job_seconds=30.0)
        self._no_pods = PoolStory(
            pool_of("media", "thumbnails", "thumbnails", most=6, wait=30, depth=2), job_seconds=1.0, stuck=True
        )
        self._retiring = PoolStory(pool_of("media", "video", "video", most=3, wait=30, depth=1), job_seconds=1.0)
        self._blind = PoolStory(pool_of("media", "audio", "audio", most=3, wait=30, depth=1), job_seconds=1.0)
        self._last_burst: float | None = None

    def __enter__(self) -> Self:
        self.leader.__enter__()
        self.standby.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self.leader.__exit__(kind, error, trace)
        self.standby.__exit__(kind, error, trace)

    @property
    def back_at_zero(self) -> bool:
        """Whether the mail pool has worked off its first burst and has no pod any more."""
        return bool(self._mail.done) and not self._mail.pods and not self._mail.waiting

    def _run(self) -> None:
        while not self._end.wait(ROUND_SECONDS):
            if not self.stand_still.is_set():
                self._round()

    def _round(self) -> None:
        start = time.monotonic()
        self._play_mail(start)
        self._play_late(start)
        self._play_others(start)
        if self.trouble.is_set():
            self.leader.metrics.failed("kubernetes")
            self.leader.metrics.failed("redis")
            self.leader.metrics.polled(False)
            self.leader.metrics.requested("PATCH", 409)
        self.leader.round(time.monotonic() - start)

    def _play_mail(self, now: float) -> None:
        due = self._last_burst is None or now - self._last_burst > BURST_EVERY
        if self.bursts.is_set() and due:
            self._mail.come(40, now)
            self._last_burst = now
        seen = self._mail.look(now)
        if seen.decision.change > 0:
            self.leader.metrics.reacted((seen.observation.oldest_wait or 0.0) + (time.monotonic() - now))
        self._show(self._mail, seen)

    def _play_late(self, now: float) -> None:
        if self.bursts.is_set() and not self._late.waiting:
            self._late.come(12, now - 60)
        self._show(self._late, self._late.look(now))

    def _play_others(self, now: float) -> None:
        troubled = self.trouble.is_set()
        if troubled and not self._no_pods.waiting:
            self._no_pods.come(7, now)
        self._show(self._no_pods, self._no_pods.look(now))
        seen = self._retiring.look(now)
        crew = WorkersSeen(retiring=1)
        self._show(self._retiring, seen, replace(seen.observation, workers=crew) if troubled else None)
        seen = self._blind.look(now)
        blind = Observation(seen.observation.replicas, (QueueSeen("audio", None),), None)
        self._show(self._blind, seen, blind if troubled else None)

    def _show(self, story: PoolStory, seen: Seen, observation: Observation | None = None) -> None:
        self.leader.show(
            story.pool, observation or seen.observation, seen.decision, actual=seen.actual, ready=seen.ready
        )
