"""What one observation adds to what is known about a pool: how long jobs take, how fast they come, when it was last active.

A value, not an object with a life: :func:`learn` takes one and returns the next. :mod:`rqk.autoscale.decide` keeps its
wishes in it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

from rqk.autoscale.seen import Observation

SLICE_S = 10.0  # arrivals are counted in slices of this length...
SLICES = 6  # ...and the rate is the median of so many of them: two slices of a burst do not make a rate
LEAST_SLICES = 3
# Weight of a job's duration falls to a third in this time: long enough to average, short enough to follow a new release.
SERVICE_MEMORY_S = 600.0
# A pool that was not looked at for longer is seen for the first time again: nobody knows what was needed meanwhile.
# One at rest, at zero, is looked at about once a minute.
OUT_OF_SIGHT_S = 120.0


class History(NamedTuple):
    """Start with ``History()``. Times are seconds on the clock that ``now`` is read from."""

    # Sizes wished for within the stabilisation window; older ones that a later, larger one covers are left out.
    wishes: tuple[tuple[float, int], ...] = ()
    last_scale: float | None = None
    # When a job last waited, ran, came or ended.
    last_active: float | None = None
    abandoned_since: float | None = None
    # Since when jobs run without one of them ending.
    no_end_since: float | None = None
    # Mean seconds of a job, recent ones weighing more; None until one has ended.
    service_seconds: float | None = None
    jobs_weight: float = 0.0
    seconds_weight: float = 0.0
    last_seen: float | None = None
    counters: Mapping[str, tuple[int, float]] = MappingProxyType({})
    # Jobs waiting, due or running at the last look; None if it could not be told then.
    in_system: int | None = None
    # (number of the slice, jobs that came in it), the newest last; the first and the newest are incomplete.
    slices: tuple[tuple[int, int], ...] = ()
    # Workers added since about a second ago, and when the first of them were: for maxPerTick.
    growth: tuple[float, int] | None = None

    @classmethod
    def resumed(cls, *, service_seconds: float | None = None, last_scale: float | None = None) -> History:
        """After a restart: with what was reported before it, so that the mean need not be learnt again."""
        known = service_seconds is not None
        return cls(
            service_seconds=service_seconds,
            last_scale=last_scale,
            jobs_weight=1.0 if known else 0.0,
            seconds_weight=service_seconds or 0.0,
        )

    def if_in_sight(self, now: float) -> History:
        """The same; of a pool that was out of sight for long, only what does not grow old so soon."""
        if self.last_seen is None or now - self.last_seen <= OUT_OF_SIGHT_S:
            return self
        return History.resumed(service_seconds=self.service_seconds, last_scale=self.last_scale)

    def arrivals_per_second(self) -> float | None:
        """Jobs that come per second; None until half a minute has been seen.

        The median of slices, since a burst is a backlog and not a rate: it is counted where it waits, not twice.
        """
        whole = [count for _, count in self.slices[1:-1]][-SLICES:]
        return max(0.0, median(whole) / SLICE_S) if len(whole) >= LEAST_SLICES else None

    def job_seconds(self, busy: int, now: float) -> float | None:
        """How long a job takes: the measured mean, or longer if none of the running ones has ended for longer."""
        if busy == 0 or self.no_end_since is None:
            return self.service_seconds
        without_end = now - self.no_end_since
        if self.service_seconds is None:
            return without_end if without_end > 0 else None
        return max(self.service_seconds, without_end)


def learn(history: History, seen: Observation, now: float) -> History:
    """The history with one more observation in it."""
    jobs, seconds, counters = _ended(history, seen)
    known = seen.readable and seen.workers is not None
    in_system = seen.waiting + seen.due + seen.busy if known else None
    came = None
    if in_system is not None and history.in_system is not None:
        came = in_system - history.in_system + jobs
    active = bool(seen.waiting or seen.due or seen.busy or seen.abandoned or jobs)
    # What cannot be seen may be at work.
    unsure = history.last_seen is None or not known
    history = _learn_service(history, jobs, seconds, now)
    return history._replace(
        last_active=now if active or unsure or history.last_active is None else history.last_active,
        abandoned_since=_since(history.abandoned_since, seen.abandoned > 0, now),
        no_end_since=_since(None if jobs else history.no_end_since, seen.busy > 0, now),
        last_seen=now,
        counters=counters,
        in_system=in_system,
        slices=history.slices if came is None else _counted(history.slices, came, now),
    )


def _since(before: float | None, holds: bool, now: float) -> float | None:
    if not holds:
        return None
    return now if before is None else before


def _ended(history: History, seen: Observation) -> tuple[int, float, Mapping[str, tuple[int, float]]]:
    """Jobs ended since the last look and the seconds they took, by the workers' own counters."""
    if seen.workers is None:
        return 0, 0.0, history.counters
    first = history.last_seen is None
    jobs, seconds = 0, 0.0
    for counter in seen.workers.counters:
        # A worker that was not there before has done all of it since; at the first look nobody knows since when.
        jobs_before, seconds_before = history.counters.get(
            counter.worker, (counter.jobs, counter.seconds) if first else (0, 0.0)
        )
        if counter.jobs > jobs_before:
            jobs += counter.jobs - jobs_before
            seconds += max(0.0, counter.seconds - seconds_before)
    return jobs, seconds, {counter.worker: (counter.jobs, counter.seconds) for counter in seen.workers.counters}


def _learn_service(history: History, jobs: int, seconds: float, now: float) -> History:
    if jobs == 0:
        return history  # nothing new: the mean stays, however long ago
    gone = max(0.0, now - history.last_seen) if history.last_seen is not None else 0.0
    keep = math.exp(-gone / SERVICE_MEMORY_S)
    jobs_weight = history.jobs_weight * keep + jobs
    seconds_weight = history.seconds_weight * keep + seconds
    return history._replace(
        jobs_weight=jobs_weight, seconds_weight=seconds_weight, service_seconds=seconds_weight / jobs_weight
    )


def _counted(slices: tuple[tuple[int, int], ...], came: int, now: float) -> tuple[tuple[int, int], ...]:
    number = math.floor(now / SLICE_S)
    if not slices or number < slices[-1][0] or number > slices[-1][0] + SLICES:
        return ((number, came),)  # the first, or after a gap or a clock set back: begin anew
    if slices[-1][0] == number:
        return (*slices[:-1], (number, slices[-1][1] + came))
    silent = tuple((quiet, 0) for quiet in range(slices[-1][0] + 1, number))
    return (*slices, *silent, (number, came))[-(SLICES + 2) :]
