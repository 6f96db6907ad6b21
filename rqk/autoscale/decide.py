"""How many workers a pool gets. Pure: callers look before and act after.

The rules, in the order in which they are asked (docs/scaling.md works them through by hand):

1. A number set by hand (``spec.replicas``) rules; else ``paused`` and suspended work keep the size.
2. What the targets ask for, the larger of the two:
   depth   ``ceil((waiting + due + busy) / targetDepthPerWorker)``
   wait    ``steady + (max(0, busy - steady) + waiting + due) * min(1, job seconds / targetWaitSeconds)``
           with ``steady = arrivals per second * job seconds`` (Little's law), rounded up
3. Between ``minReplicas`` and ``maxReplicas``.
4. Larger than now: at once, in one step (or ``scaleUp.maxPerTick`` a second).
5. Smaller than now: the largest size wished for in the stabilisation window; never below the busy workers; the last
   worker leaves only ``toZeroAfterSeconds`` after the last sign of life.
6. Whatever could not be read forbids shrinking. What could be read may still ask for more.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rqk.autoscale.history import History, learn
from rqk.autoscale.seen import Observation
from rqk.autoscale.wanted import Inputs, Reason, Wanted, wanted

if TYPE_CHECKING:
    from rqk.autoscale.model import PoolSpec, Scaling

__all__ = ["Decision", "History", "Inputs", "Limit", "Observation", "Reason", "decide"]

# For maxPerTick: decisions come once a second, give or take, and in between when there is news of anything.
_SECOND_S = 0.9


class Limit(str, Enum):
    """What kept a pool from the size that its targets ask for."""

    MAX_REPLICAS = "maxReplicas"
    MIN_REPLICAS = "minReplicas"
    MAX_PER_TICK = "maxPerTick"
    BUSY_WORKERS = "busyWorkers"


@dataclass(frozen=True, slots=True)
class Decision:
    """The size that the pool should have now, and why.

    ``wanted`` is what the targets ask for before any bound. ``message`` is a sentence with the arithmetic in it.
    """

    replicas: int
    before: int
    wanted: int
    reason: Reason
    message: str
    inputs: Inputs
    limited: Limit | None = None

    @property
    def change(self) -> int:
        """Workers to add, or to take away if negative."""
        return self.replicas - self.before


def decide(
    spec: PoolSpec, seen: Observation, history: History, now: float, *, paused: bool = False
) -> tuple[Decision, History]:
    """The decision for this instant, and the history to hand in next time.

    ``now`` is seconds on any clock that does not go back. ``paused`` adds to ``spec.scaling.paused``: the annotation.
    ``dryRun`` is the caller's: decide, then do not act.
    """
    history = learn(history.if_in_sight(now), seen, now)
    scaling = spec.scaling
    asked = wanted(scaling, seen, history, now)
    bounded = min(max(asked.workers, scaling.min_replicas), scaling.max_replicas)
    resting = spec.replicas is not None or paused or scaling.paused or seen.suspended
    # At first sight, while blind and while resting nobody judged the size: what is there counts as wished for.
    unsure = resting or not history.wishes or not _sighted(seen)
    wish = max(bounded, seen.replicas) if unsure else bounded
    history = _remember(history, scaling, wish, now)
    if spec.replicas is not None:
        decision = _by_hand(spec.replicas, seen, asked)
    elif paused or scaling.paused:
        decision = _stay(seen, asked, Reason.PAUSED, "paused: the size stays as it is")
    elif seen.suspended:
        decision = _stay(seen, asked, Reason.SUSPENDED, "work is suspended (resume with `rqk resume`): the size stays")
    else:
        decision = _scale(scaling, seen, history, asked, bounded, now)
    if decision.change:
        history = history._replace(last_scale=now)
    if decision.change > 0:
        since, grown = _growth(history, now)
        history = history._replace(growth=(since, grown + decision.change))
    return decision, history


def _growth(history: History, now: float) -> tuple[float, int]:
    """Since when growth is counted, and how much there was."""
    if history.growth is None or now - history.growth[0] >= _SECOND_S:
        return now, 0
    return history.growth


def _remember(history: History, scaling: Scaling, wish: int, now: float) -> History:
    since = now - scaling.scale_down.stabilization_seconds
    # An older wish that is not larger can never be the largest again.
    kept = tuple((at, size) for at, size in history.wishes if at >= since and size > wish)
    return history._replace(wishes=(*kept, (now, wish)))


def _sighted(seen: Observation) -> bool:
    return seen.readable and seen.workers is not None


def _scale(scaling: Scaling, seen: Observation, history: History, asked: Wanted, bounded: int, now: float) -> Decision:
    if bounded > seen.replicas:
        return _grow(scaling, seen, history, asked, bounded, now)
    if bounded == seen.replicas:
        return _settled(scaling, seen, asked, bounded)
    return _shrink(scaling, seen, history, asked, bounded, now)


def _grow(scaling: Scaling, seen: Observation, history: History, asked: Wanted, bounded: int, now: float) -> Decision:
    reason, message = asked.reason, asked.message
    limit = _bound(asked.workers, bounded)
    if limit is Limit.MIN_REPLICAS:
        reason, message = Reason.MINIMUM, f"{message}; never fewer than minReplicas {bounded}"
    elif limit is Limit.MAX_REPLICAS:
        message = f"{message}; no more than maxReplicas {bounded}"
    size = bounded
    step = scaling.scale_up.max_per_tick
    room = size if step is None else max(0, step - _growth(history, now)[1])
    if size > seen.replicas + room:
        size, limit = seen.replicas + room, Limit.MAX_PER_TICK
        message = f"{message}; {step} at a time (maxPerTick)"
    return Decision(size, seen.replicas, asked.workers, reason, message, asked.inputs, limit)


def _settled(scaling: Scaling, seen: Observation, asked: Wanted, bounded: int) -> Decision:
    limit = _bound(asked.workers, bounded)
    message = asked.message
    if limit is Limit.MIN_REPLICAS:
        message = f"{message}; never fewer than minReplicas {scaling.min_replicas}"
    elif limit is Limit.MAX_REPLICAS:
        message = f"{message}; no more than maxReplicas {scaling.max_replicas}"
    return Decision(bounded, seen.replicas, asked.workers, Reason.STEADY, message, asked.inputs, limit)


def _shrink(scaling: Scaling, seen: Observation, history: History, asked: Wanted, bounded: int, now: float) -> Decision:
    if not _sighted(seen):
        blind = [queue.name for queue in seen.queues if queue.waiting is None]
        what = f"queue {', '.join(blind)}" if blind else "the workers' state"
        return _stay(seen, asked, Reason.UNREADABLE, f"{what} could not be read: the size stays as it is")
    down = scaling.scale_down
    peak = max(size for _, size in history.wishes)
    size = min(seen.replicas, max(bounded, min(peak, scaling.max_replicas)))
    limit = _bound(asked.workers, bounded)
    reason, message = Reason.SURPLUS, asked.message
    if size == seen.replicas:
        reason = Reason.STABILIZING
        message = f"{message}; {size} were wished for in the last {down.stabilization_seconds} s (stabilizationSeconds)"
    elif size > bounded:
        message = f"{message}; {size} were wished for in the last {down.stabilization_seconds} s"
    busy = min(seen.busy, seen.replicas)
    if busy > size:
        size, reason, limit = busy, Reason.BUSY_WORKERS, Limit.BUSY_WORKERS
        message = f"{message}; {busy} workers are busy and stay"
    if size == 0:
        after = down.to_zero_after_seconds
        reason, message = Reason.IDLE, f"nothing has waited or run for {after} s (toZeroAfterSeconds)"
        if history.last_active is None or now - history.last_active < after:
            size, reason = 1, Reason.KEPT_WARM
            message = f"nothing waits or runs; the last worker stays for {after} s (toZeroAfterSeconds)"
    return Decision(size, seen.replicas, asked.workers, reason, message, asked.inputs, limit)


def _by_hand(size: int, seen: Observation, asked: Wanted) -> Decision:
    message = f"set by hand to {size} (spec.replicas); remove it to scale by the queues again"
    # While the workers' state is unknown any of them may be busy.
    busy = min(seen.busy, seen.replicas) if seen.workers is not None else seen.replicas
    if size < busy:
        return Decision(
            busy,
            seen.replicas,
            asked.workers,
            Reason.MANUAL,
            f"{message}; {busy} workers are busy and stay until their job ends",
            asked.inputs,
            Limit.BUSY_WORKERS,
        )
    return Decision(size, seen.replicas, asked.workers, Reason.MANUAL, message, asked.inputs)


def _stay(seen: Observation, asked: Wanted, reason: Reason, message: str) -> Decision:
    return Decision(seen.replicas, seen.replicas, asked.workers, reason, message, asked.inputs)


def _bound(asked: int, bounded: int) -> Limit | None:
    if asked > bounded:
        return Limit.MAX_REPLICAS
    return Limit.MIN_REPLICAS if asked < bounded else None
