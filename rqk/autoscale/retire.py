"""Who leaves when a pool shrinks. Pure; the store then asks each one, and one that took a job meanwhile stays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Duty(str, Enum):
    """What a worker of the pool is doing."""

    BROKEN = "broken"  # its process or pod runs, or failed, but it will take no job
    STARTING = "starting"
    RETIRING = "retiring"
    IDLE = "idle"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Member:
    """A worker of the pool. ``born`` is seconds on any clock; only their order counts."""

    name: str
    duty: Duty
    born: float


_ORDER = (Duty.BROKEN, Duty.STARTING, Duty.RETIRING, Duty.IDLE)


def choose_victims(members: Iterable[Member], count: int) -> tuple[Member, ...]:
    """Up to ``count`` members to let go; fewer if the others are busy, none if ``count`` is not above zero.

    Those that serve nobody go first (broken, then still starting, then already retiring), then idle ones. Among equals
    the newest goes: it is what Kubernetes does too, it leaves the nodes that were added last, and needs no knowledge
    that may be stale. A busy one is never chosen.
    """
    ready = sorted(
        (member for member in members if member.duty is not Duty.BUSY),
        key=lambda member: (_ORDER.index(member.duty), -member.born, member.name),
    )
    return tuple(ready[: max(0, count)])
