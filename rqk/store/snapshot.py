"""Many queues and workers at one moment, in two round trips at most, without writing anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

from redis import exceptions as wire

from rqk.core import keys
from rqk.core.codec import Fields, decode_worker
from rqk.core.records import WorkerRecord
from rqk.core.times import from_date, to_epoch
from rqk.store import scripts
from rqk.store.connect import Client, talk
from rqk.store.glance import Glance

_COUNTS = (
    "queued",
    "intermediate",
    "started",
    "finished",
    "failed",
    "deferred",
    "scheduled",
    "canceled",
    "ready",
    "due",
)  # as look.lua returns them
_CHUNK = 50  # queues or workers in one script call; keeps each call well below a millisecond, others get in between


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """Counts of one queue. ``oldest_wait`` is the age in seconds of the job that is next (by the server's clock), None if none waits."""

    name: str
    queued: int = 0
    intermediate: int = 0
    started: int = 0
    finished: int = 0
    failed: int = 0
    deferred: int = 0
    scheduled: int = 0
    canceled: int = 0
    ready: int = 0
    due: int = 0  # scheduled jobs whose time has come
    next_due: float | None = None  # epoch seconds of the earliest scheduled job
    oldest_wait: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One registered worker."""

    name: str
    queues: tuple[str, ...] = ()
    state: str = "?"
    pid: int | None = None
    hostname: str | None = None
    ip_address: str | None = None
    version: str | None = None
    python_version: str | None = None
    current_job: str | None = None
    successful: int = 0
    failed: int = 0
    working_time: float = 0.0  # seconds
    last_heartbeat: datetime | None = None
    birth: datetime | None = None
    retiring: bool = False
    executions: int = 0  # leases held now


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a Redis held at one moment. A queue whose keys cannot be read is in ``unreadable`` and not in ``queues``.

    ``glance`` has the queues that were only asked whether they are at rest.
    """

    at: float  # epoch seconds of the server
    queues: dict[str, QueueSnapshot] = field(default_factory=dict)
    workers: tuple[WorkerSnapshot, ...] = ()
    suspended: bool = False
    unreadable: dict[str, str] = field(default_factory=dict)  # queue name -> what the server said
    glance: Glance = field(default_factory=Glance)


LOOKS = ("look", "crew", "glance")  # the scripts that look


def _chunks(names: Sequence[str]) -> list[list[str]]:
    return [list(names[start : start + _CHUNK]) for start in range(0, len(names), _CHUNK)]


def look_commands(names: Sequence[str]) -> list[tuple[Any, ...]]:
    """The commands of the first round trip: one script call per fifty queues, the suspension flag, the workers' keys."""
    calls: list[tuple[Any, ...]] = [
        ("EVALSHA", scripts.digest("look"), 0, *scripts.counted(chunk)) for chunk in _chunks(names)
    ]
    return [*calls, ("EXISTS", keys.SUSPENDED), ("SMEMBERS", keys.WORKERS)]


def worker_commands(worker_names: Sequence[str]) -> list[tuple[Any, ...]]:
    """The commands of the second: one script call per fifty workers, for each one's hash and how many leases it holds."""
    return [("EVALSHA", scripts.digest("crew"), 0, *scripts.counted(chunk)) for chunk in _chunks(worker_names)]


def read_look(names: Sequence[str], replies: Sequence[Any]) -> tuple[Snapshot, list[str]]:
    """A snapshot without workers from the first round trip's answers, and the workers' names."""
    chunks = _chunks(names)
    queues: dict[str, QueueSnapshot] = {}
    unreadable: dict[str, str] = {}
    at = 0.0
    for chunk, reply in zip(chunks, replies, strict=False):
        at = int(reply[0]) + int(reply[1]) / 1e6
        for name, row in zip(chunk, reply[2:], strict=True):
            if isinstance(row, bytes):
                unreadable[name] = row.decode("utf-8", "replace")
            else:
                queues[name] = _queue(name, row, at)
    suspended, members = replies[len(chunks)], replies[len(chunks) + 1]
    worker_names = sorted(keys.worker_name(member.decode()) for member in members)
    return Snapshot(at, queues, (), bool(suspended), unreadable), worker_names


def _queue(name: str, row: Sequence[Any], at: float) -> QueueSnapshot:
    wait: float | None = None
    if row[0] > 0:
        try:
            wait = max(at - to_epoch(from_date(row[11])), 0.0)
        except ValueError:
            wait = 0.0  # the head's hash is gone or has no date
    counts = dict(zip(_COUNTS, (int(count) for count in row[:10]), strict=True))
    return QueueSnapshot(name, **counts, next_due=float(row[10]) if row[10] else None, oldest_wait=wait)


def read_workers(worker_names: Sequence[str], replies: Sequence[Any]) -> tuple[WorkerSnapshot, ...]:
    """Workers from the second round trip's answers; those whose hash is gone are left out."""
    found: list[WorkerSnapshot] = []
    for name, (flat, leases) in zip(worker_names, chain.from_iterable(replies), strict=True):
        if flat:
            fields: Fields = dict(zip(flat[::2], flat[1::2], strict=True))
            found.append(worker_snapshot(decode_worker(name, fields), int(leases)))
    return tuple(found)


def worker_snapshot(record: WorkerRecord, executions: int) -> WorkerSnapshot:
    """The part of a worker's record that observers look at."""
    return WorkerSnapshot(
        name=record.name,
        queues=record.queues,
        state=record.state or "?",
        pid=record.pid,
        hostname=record.hostname,
        ip_address=record.ip_address,
        version=record.version,
        python_version=record.python_version,
        current_job=record.current_job,
        successful=record.successful_job_count or 0,
        failed=record.failed_job_count or 0,
        working_time=record.total_working_time or 0.0,
        last_heartbeat=record.last_heartbeat,
        birth=record.birth,
        retiring=any(name == "rqk_retiring" for name, _ in record.extra),
        executions=executions,
    )


def _ask(client: Client, commands: list[tuple[Any, ...]]) -> list[Any]:
    if not commands:
        return []
    with talk(client) as asked:
        for attempt in (1, 2):
            with asked.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                try:
                    return list(pipe.execute())
                except wire.NoScriptError:
                    if attempt == 2:
                        raise
            for name in LOOKS:
                asked.script_load(scripts.source(name))
    raise AssertionError("unreachable")


def snapshot(client: Client, queues: Iterable[str] | None = None, *, workers: bool = True) -> Snapshot:
    """Look at the given queues (None: all that producers have used) and at all workers."""
    if queues is None:
        with talk(client) as asked:
            queues = (keys.queue_name(key.decode()) for key in asked.smembers(keys.QUEUES))
    names = sorted(set(queues))
    seen, worker_names = read_look(names, _ask(client, look_commands(names)))
    at = seen.at or _time(client)
    found = read_workers(worker_names, _ask(client, worker_commands(worker_names))) if workers else ()
    return Snapshot(at, seen.queues, found, seen.suspended, seen.unreadable)


def _time(client: Client) -> float:
    with talk(client) as asked:
        seconds, micros = asked.time()
    return int(seconds) + int(micros) / 1e6
