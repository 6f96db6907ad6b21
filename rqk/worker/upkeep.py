"""What some live worker does for all: find jobs of dead workers, put stuck ids back, move due jobs into their queues."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from rqk.core.moves import Policy
from rqk.store import queues as queue_store
from rqk.store import registries, transitions
from rqk.store.connect import Client
from rqk.store.leases import Found, end_lease

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
            found += [one for lease in leases if (one := end_lease(client, queue, lease, policy, clock())) is not None]
    return found
