"""Statuses of jobs and states of workers, and which moves between job statuses exist."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """RQ's job statuses. The last two are written by RQ 3.0 only; RQ 2.12 cannot read them, so rqk never writes them for plain jobs."""

    CREATED = "created"
    QUEUED = "queued"
    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"
    DEFERRED = "deferred"
    SCHEDULED = "scheduled"
    STOPPED = "stopped"
    CANCELED = "canceled"
    RATE_LIMITED = "rate_limited"
    READY_TO_ENQUEUE = "ready_to_enqueue"


class WorkerStatus(StrEnum):
    """RQ's worker states, as its clients read them."""

    STARTED = "started"
    SUSPENDED = "suspended"
    BUSY = "busy"
    IDLE = "idle"


_J = JobStatus
ENDED = frozenset({_J.FINISHED, _J.FAILED, _J.STOPPED, _J.CANCELED})
"""Statuses that no worker leaves by itself."""

MOVES: dict[JobStatus, frozenset[JobStatus]] = {
    _J.CREATED: frozenset({_J.QUEUED, _J.DEFERRED, _J.SCHEDULED, _J.RATE_LIMITED, _J.CANCELED}),
    _J.DEFERRED: frozenset({_J.QUEUED, _J.READY_TO_ENQUEUE, _J.RATE_LIMITED, _J.CANCELED}),
    _J.READY_TO_ENQUEUE: frozenset({_J.QUEUED, _J.RATE_LIMITED, _J.CANCELED}),
    _J.RATE_LIMITED: frozenset({_J.QUEUED, _J.CANCELED}),
    _J.SCHEDULED: frozenset({_J.QUEUED, _J.RATE_LIMITED, _J.CANCELED}),
    _J.QUEUED: frozenset({_J.STARTED, _J.CANCELED}),
    _J.STARTED: frozenset({_J.FINISHED, _J.FAILED, _J.STOPPED, _J.QUEUED, _J.SCHEDULED, _J.CANCELED}),
    _J.FINISHED: frozenset({_J.QUEUED, _J.SCHEDULED}),
    _J.FAILED: frozenset({_J.QUEUED, _J.CANCELED}),
    _J.STOPPED: frozenset({_J.QUEUED, _J.CANCELED}),
    _J.CANCELED: frozenset({_J.QUEUED}),
}
"""Allowed moves; requeue explains the ways out of ended statuses."""

NOT_TO_BE_STARTED = frozenset({_J.FINISHED, _J.FAILED, _J.STOPPED, _J.CANCELED})
"""A job with one of these statuses that is found in a queue list is left over from a race and is dropped, not run."""
