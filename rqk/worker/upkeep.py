"""What some live worker does for all: find jobs of dead workers, put stuck ids back, move due jobs into their queues."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from rqk.core.moves import Policy
from rqk.errors import WrongKeyType
from rqk.store import queues as queue_store
from rqk.store import registries, transitions
from rqk.store.connect import Client
from rqk.store.leases import Found, end_lease

log = logging.getLogger("rqk.worker")

_CHUNK = 200  # queues in one sweep call


def sweep(
    client: Client, own_queues: tuple[str, ...], policy: Policy, clock: Callable[[], datetime], *, stuck_s: int
) -> list[Found]:
    """Look through every known queue once: stuck ids first, then leases that ended."""
    names = sorted({*queue_store.names(client), *own_queues})
    found: list[Found] = []
    for start in range(0, len(names), _CHUNK):
        chunk = names[start : start + _CHUNK]
        for held in transitions.sweep(client, chunk, clock(), patience_s=stuck_s):
            found.append(Found(held.queue, held.job_id, "returned"))
        expired = registries.expired_leases(client, chunk, registries.server_epoch(client))
        for queue, leases in expired.items():
            found += [one for lease in leases if (one := _end(client, queue, lease, policy, clock())) is not None]
    return found


def _end(client: Client, queue: str, lease: str, policy: Policy, now: datetime) -> Found | None:
    """Judge one attempt. What is wrong with one job must keep nobody from the others, and cost no worker its life."""
    try:
        return end_lease(client, queue, lease, policy, now)
    except (WrongKeyType, ValueError, TypeError, ArithmeticError) as error:
        log.warning("%s: %s is left as it is, its lease has ended: %r", queue, lease, error)
        return None
