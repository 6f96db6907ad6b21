"""What some live worker does for all: find jobs of dead workers, put stuck ids back, move due jobs into their queues."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rqk.core import keys, moves
from rqk.core.codec import decode_job
from rqk.core.moves import Move, Policy
from rqk.core.records import JobRecord
from rqk.core.states import JobStatus
from rqk.errors import UnreadableJob
from rqk.store import queues as queue_store
from rqk.store import registries, transitions
from rqk.store.connect import Client, talk
from rqk.store.transitions import Lease, Settled

log = logging.getLogger("rqk.worker")
_CHUNK = 200  # queues in one sweep call


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was put right."""

    queue: str
    job_id: str
    action: str  # failed, retried, requeued, returned, dropped: labels of the metrics


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


def end_lease(
    client: Client,
    queue: str,
    lease: str,
    policy: Policy,
    now: datetime,
    *,
    reason: str | None = None,
    expired_only: bool = True,
) -> Found | None:
    """Judge one attempt whose worker is gone. Of several that try, one succeeds: the lease is the token."""
    job_id, execution_id = keys.parse_lease(lease)
    with talk(client) as asked:
        fields = asked.hgetall(keys.job(job_id))
    try:
        job = decode_job(job_id, fields)
    except UnreadableJob:
        job = JobRecord(id=job_id, status=JobStatus.STARTED, origin=queue)
    never_started = job.status is JobStatus.QUEUED
    move: Move = moves.put_back(now) if never_started else moves.abandoned(job, execution_id, policy, now, reason)
    settled, _ = transitions.settle(
        client, Lease(job_id, execution_id, queue, never_started=never_started, expired_only=expired_only), move, now
    )
    if settled is Settled.LEASE_LOST:
        return None
    if settled is not Settled.WRITTEN:
        return Found(queue, job_id, "dropped")
    if never_started:
        return Found(queue, job_id, "returned")
    if move.place == "front":
        return Found(queue, job_id, "requeued")
    return Found(queue, job_id, "retried" if move.place else "failed")


def end_leases_of(client: Client, worker: str, policy: Policy, now: datetime, reason: str) -> list[Found]:
    """Judge everything a worker holds that is known to be dead, without waiting for the end of its leases."""
    found: list[Found] = []
    for lease in registries.leases_of(client, worker):
        with talk(client) as asked:
            origin = asked.hget(keys.job(keys.parse_lease(lease)[0]), "origin")
        if origin is not None:
            one = end_lease(client, origin.decode(), lease, policy, now, reason=reason, expired_only=False)
            found += [one] if one is not None else []
    return found
