"""Attempts whose worker is known or taken to be dead: judge them, and free what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rqk.core import keys, moves
from rqk.core.codec import decode_job
from rqk.core.moves import Move, Policy
from rqk.core.records import JobRecord
from rqk.core.states import JobStatus
from rqk.errors import UnreadableJob
from rqk.store import registries, transitions
from rqk.store.connect import Client, talk
from rqk.store.transitions import Lease, Settled


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was put right."""

    queue: str
    job_id: str
    action: str  # failed, retried, requeued, returned, dropped: labels of the metrics


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
    never_started = fields.get(b"status") == b"queued"  # as it stands there, whatever else cannot be read
    move: Move = moves.never_started() if never_started else moves.abandoned(job, execution_id, policy, now, reason)
    attempt = Lease(job_id, execution_id, queue, never_started=never_started, expired_only=expired_only)
    settled = transitions.settle(client, attempt, move, now).settled
    if settled is Settled.LEASE_LOST:
        return None
    if settled is not Settled.WRITTEN:
        return Found(queue, job_id, "dropped")
    if never_started:
        return Found(queue, job_id, "returned")
    if move.place == "front":
        return Found(queue, job_id, "requeued")
    return Found(queue, job_id, "retried" if move.place else "failed")


def end_leases_of(
    client: Client, worker: str, policy: Policy, now: datetime, reason: str, *, begun_before: float | None = None
) -> list[Found]:
    """Judge everything a worker holds that is known to be dead, without waiting for the end of its leases.

    ``begun_before`` (epoch seconds by the worker's clock) spares later attempts: a new process may have the name already.
    """
    found: list[Found] = []
    for lease in registries.leases_of(client, worker):
        job_id, execution_id = keys.parse_lease(lease)
        with talk(client) as asked:
            origin = asked.hget(keys.job(job_id), "origin")
            begun = asked.hget(keys.execution(job_id, execution_id), "created_at") if begun_before is not None else None
        if origin is None or (begun_before is not None and not _began_before(begun, begun_before)):
            continue
        one = end_lease(client, origin.decode(), lease, policy, now, reason=reason, expired_only=False)
        found += [one] if one is not None else []
    return found


def _began_before(begun: bytes | None, limit: float) -> bool:
    """Unknown or unreadable times are not before anything: the lease will end by itself."""
    try:
        return begun is not None and float(begun) < limit
    except ValueError:
        return False
