"""How often a pool's worker that ends right away is started again. In a made-up time, without processes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis import Redis

from rqk.local import pool as local
from rqk.local.workers import Listener, LocalWorker
from rqk.store.snapshot import QueueSnapshot, Snapshot
from tests.local.pools import pool

CRASHED = 1


class Deaf(Listener):
    """There is nothing to hear."""

    def add(self, worker: LocalWorker) -> None:
        pass

    def bury(self, worker: LocalWorker) -> None:
        pass


class Town:
    """A pool of two workers that are always wanted. ``codes`` are how they end, in the order of their births; None: not."""

    def __init__(self, redis: Redis, monkeypatch: pytest.MonkeyPatch, codes: list[int | None]) -> None:
        self.births: list[float] = []
        self.notes: list[str] = []
        self.codes = codes
        self.now = 0.0
        monkeypatch.setattr(local, "start", self._start)
        self.pool = local.LocalPool(
            pool(queues=("q",), least=2),
            "redis://r",
            redis,
            Deaf(lambda worker, line: None),
            self.notes.append,
            embedded=False,
        )

    def _start(self, command: object, *, name: str, slot: int, now: float, **more: object) -> LocalWorker:
        code = self.codes.pop(0) if self.codes else CRASHED
        self.births.append(now)
        process = cast("Any", SimpleNamespace(pid=len(self.births), returncode=code, poll=lambda: code))
        return LocalWorker(name, slot, process, now)

    def live_for(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.pool.reap(self.now)
            self.pool.tick(Snapshot(self.now, {"q": QueueSnapshot("q")}), None, self.now, lambda: 0)
            self.now += 0.5


def test_a_healthy_worker_does_not_make_the_others_start_more_often(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town(redis, monkeypatch, [None])
    town.live_for(120.0)
    assert 5 < len(town.births) < 15
    assert "may start in 30.0 s" in town.notes[-1]


def test_after_one_that_stays_well_the_pauses_are_short_again(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town(redis, monkeypatch, [None, *[CRASHED] * 5, None])
    town.live_for(60.0)
    assert len(town.births) == 7
    town.notes.clear()
    town.pool.workers[-1].process.poll = lambda: CRASHED  # type: ignore[method-assign]
    town.pool.workers[-1].process.returncode = CRASHED
    town.live_for(1.0)
    assert "may start in 0.5 s" in town.notes[0]
