"""Suspend all workers of a Redis and let them go on, under RQ's names; ``rqk suspend`` and ``rqk resume`` do the same."""

from __future__ import annotations

from rqk.connections import resolve_connection
from rqk.core.times import parse_duration
from rqk.store import queues
from rqk.store.connect import Client


def suspend(connection: Client | None = None, ttl: int | str | None = None) -> None:
    """Let no worker start a job, for ever or for some time (seconds, or text such as '10m'). Running jobs go on."""
    seconds = parse_duration(ttl)
    if seconds is not None and seconds <= 0:
        raise ValueError(f"ttl must be greater than 0, not {ttl!r}")
    queues.suspend(resolve_connection(connection), seconds)


def resume(connection: Client | None = None) -> bool:
    """Let workers go on; False if they were not suspended."""
    return queues.resume(resolve_connection(connection))


def is_suspended(connection: Client | None = None, worker: object = None) -> bool:
    """Whether workers are suspended. ``worker`` is taken for RQ's sake: nobody is suspended alone."""
    return queues.is_suspended(resolve_connection(connection))
