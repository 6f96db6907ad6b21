"""What a pool's targets ask for, before any bound: the arithmetic, with its numbers kept so that a person can redo it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING

from rqk.autoscale.history import History
from rqk.autoscale.seen import Observation

if TYPE_CHECKING:
    from rqk.autoscale.model import Scaling

# A tenth of a worker is not worth one: an estimate of 3.05 would else flap between 3 and 4.
TOLERANCE = 0.1
# A started job without a live worker this long is no hiccup between two reads.
ABANDONED_S = 15.0
# A pool whose oldest job waits for so many times the target, with nobody idle, grows by this part of its size at each
# decision. Starting workers takes time too: merely late is what a burst is at its end.
LATE_AFTER = 1.5
LATE_GROWTH = 0.25


class Reason(str, Enum):
    """Why a pool has the size it has; what the REASON column shows."""

    DEPTH_TARGET = "DepthTarget"
    WAIT_TARGET = "WaitTarget"
    LATE = "Late"
    ABANDONED_JOBS = "AbandonedJobs"
    MINIMUM = "Minimum"
    STEADY = "Steady"
    SURPLUS = "Surplus"
    IDLE = "Idle"
    STABILIZING = "Stabilizing"
    BUSY_WORKERS = "BusyWorkers"
    KEPT_WARM = "KeptWarm"
    UNREADABLE = "Unreadable"
    PAUSED = "Paused"
    SUSPENDED = "Suspended"
    MANUAL = "Manual"


@dataclass(frozen=True, slots=True)
class Inputs:
    """The numbers that went into a decision; None where unknown or not asked for."""

    waiting: int | None
    due: int
    busy: int | None
    idle: int | None
    starting: int | None
    oldest_wait_seconds: float | None
    job_seconds: float | None
    arrivals_per_second: float | None
    by_depth: int | None = None
    by_wait: int | None = None

    def texts(self) -> dict[str, str]:
        """For ``status.lastDecision.inputs``: camelCase names, three digits that count, unknown ones left out."""
        found: dict[str, str] = {}
        for name, camel in _TEXTS:
            value = getattr(self, name)
            if value is not None:
                found[camel] = f"{value:.3g}" if isinstance(value, float) else str(value)
        return found


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


_TEXTS = [(field.name, _camel(field.name)) for field in fields(Inputs)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many workers, for this reason."""

    workers: int
    reason: Reason
    message: str
    inputs: Inputs


def wanted(scaling: Scaling, seen: Observation, history: History, now: float) -> Wanted:
    """What the targets ask for. Queues that could not be read count as what is known of them: nothing."""
    depth = scaling.target_depth_per_worker
    target = scaling.target_wait_seconds
    job_seconds = history.job_seconds(seen.busy, now)
    arrivals = history.arrivals_per_second()
    answers: list[tuple[int, Reason, str]] = []
    by_depth = by_wait = None
    if depth is not None:
        by_depth, message = _by_depth(seen, depth)
        answers.append((by_depth, Reason.DEPTH_TARGET, message))
    # With both targets, depth answers alone until the first job has shown how long jobs take.
    if target is not None and (job_seconds is not None or depth is None):
        by_wait, message = _by_wait(seen, target, job_seconds, arrivals or 0.0)
        answers.append((by_wait, Reason.WAIT_TARGET, message))
    if target is not None and (late := _late(seen, target)):
        answers.append(late)
    if history.abandoned_since is not None and now - history.abandoned_since >= ABANDONED_S:
        message = f"{seen.abandoned} started jobs have lost their worker; one is needed to find them"
        answers.append((1, Reason.ABANDONED_JOBS, message))
    workers, reason, message = max(answers, key=lambda answer: answer[0])
    crew = seen.workers
    inputs = Inputs(
        waiting=seen.waiting if seen.readable else None,
        due=seen.due,
        busy=crew.busy if crew else None,
        idle=crew.idle if crew else None,
        starting=crew.starting if crew else None,
        oldest_wait_seconds=seen.oldest_wait,
        job_seconds=job_seconds,
        arrivals_per_second=arrivals,
        by_depth=by_depth,
        by_wait=by_wait,
    )
    return Wanted(workers, reason, message, inputs)


def _by_depth(seen: Observation, target: int) -> tuple[int, str]:
    jobs = seen.waiting + seen.due + seen.busy
    workers = math.ceil(jobs / target)
    return workers, f"{_jobs(seen)}, {target} per worker: ceil({jobs} / {target}) = {workers}"


def _by_wait(seen: Observation, target: int, job_seconds: float | None, arrivals: float) -> tuple[int, str]:
    waiting = seen.waiting + seen.due
    if job_seconds is None:
        workers = waiting + seen.busy
        return workers, f"{_jobs(seen)}, and how long jobs take is not known yet: a worker for each = {workers}"
    steady = arrivals * job_seconds
    # Within the target's time a worker can do target / job seconds of them, but a job never needs two workers.
    share = min(1.0, job_seconds / target)
    beyond = max(0.0, seen.busy - steady) + waiting
    exact = steady + beyond * share
    workers = max(math.ceil(exact - TOLERANCE), 1 if waiting or seen.busy else 0)
    return workers, (
        f"{_jobs(seen)}, {arrivals:.3g} jobs/s of {job_seconds:.3g} s each, to start within {target} s: "
        f"{steady:.3g} + {beyond:.3g} x {share:.3g} = {workers}"
    )


def _late(seen: Observation, target: int) -> tuple[int, Reason, str] | None:
    """Jobs wait too long though nobody is idle or on the way: whatever was measured, it was too little."""
    oldest, crew = seen.oldest_wait, seen.workers
    if (
        oldest is None
        or oldest <= LATE_AFTER * target
        or crew is None
        or crew.idle
        or crew.starting
        or seen.replicas == 0
    ):
        return None
    # One job can use one worker, so never more than there are jobs.
    size = min(seen.replicas + math.ceil(seen.replicas * LATE_GROWTH), crew.busy + seen.waiting + seen.due)
    message = f"a job waits for {oldest:.0f} s, the target is {target} s, and nobody is idle: {seen.replicas} to {size}"
    return size, Reason.LATE, message


def _jobs(seen: Observation) -> str:
    due = f" + {seen.due} due" if seen.due else ""
    return f"{seen.waiting} waiting{due} + {seen.busy} running"
