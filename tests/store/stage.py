"""Workers that are no processes: they do the steps of the store by hand, one at a time, as a test says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import redis as redis_py

from rqk.core import keys, moves
from rqk.core.codec import decode_job, encode_job, pairs
from rqk.core.moves import Attempt, Move
from rqk.core.records import JobRecord, WorkerRecord
from rqk.core.states import JobStatus
from rqk.store import transitions, workers
from rqk.store.transitions import Ask, Claimed, Held, Lease, NewJob, Refusal, Settlement, Stored

WALL = datetime(2026, 8, 1, 12, 0, 0, tzinfo=UTC)
"""The clients' clock in these tests; far from the server's, so that a script which mixes them up is found out."""
LEASE_S = 30


def record(job_id: str, queue: str = "q", **fields: Any) -> JobRecord:
    """A plain queued job."""
    plain: dict[str, Any] = {
        "status": JobStatus.QUEUED,
        "created_at": WALL,
        "data": b"x",
        "origin": queue,
        "enqueued_at": WALL,
    }
    return JobRecord(job_id, **(plain | fields))


def new(job_id: str, queue: str = "q", *, fields: dict[str, Any] | None = None, **placing: Any) -> NewJob:
    """A job to be stored."""
    return NewJob(job_id, queue, encode_job(record(job_id, queue, **(fields or {}))), **placing)


def put(client: redis_py.Redis, *jobs: NewJob | str) -> list[Stored]:
    """Enqueue jobs; a text is a plain job of queue ``q``."""
    return transitions.enqueue(client, [new(job) if isinstance(job, str) else job for job in jobs], WALL)


def at(client: redis_py.Redis, key: str) -> list[str]:
    """Members of a list or sorted set, in order."""
    kind = client.type(key)
    found: Any = client.lrange(key, 0, -1) if kind == b"list" else client.zrange(key, 0, -1)
    return [member.decode() for member in found]


def hash_of(client: redis_py.Redis, job_id: str) -> JobRecord:
    """A job as it is in Redis."""
    found: Any = client.hgetall(keys.job(job_id))
    return decode_job(job_id, found)


def status(client: redis_py.Redis, job_id: str) -> str | None:
    """The status alone."""
    raw: Any = client.hget(keys.job(job_id), "status")
    return None if raw is None else raw.decode()


def dump(client: redis_py.Redis) -> dict[bytes, tuple[bytes | None, int]]:
    """Every key with its serialized value and whether it expires: to see that something wrote nothing."""
    found: Any = list(client.scan_iter("*"))
    return {key: (client.dump(key), min(int(client.pttl(key)), 0)) for key in found}


class FakeWorker:
    """Registered, and otherwise moved by the test."""

    def __init__(self, client: redis_py.Redis, name: str, *queues: str, born: bool = True) -> None:
        self.client, self.name, self.queues = client, name, queues or ("q",)
        if born:
            assert self.birth() is None

    def birth(self, *, take_over: bool = False, **fields: Any) -> workers.Namesake | None:
        """Register."""
        worker = WorkerRecord(
            self.name, birth=WALL, last_heartbeat=WALL, queues=self.queues, pid=1, hostname="host", state="started"
        )
        worker = WorkerRecord(**{**{f: getattr(worker, f) for f in worker.__slots__}, **fields})
        return workers.birth(self.client, worker, 60, take_over=take_over)

    def ask(self, held: Sequence[Held] = (), lease_s: int = LEASE_S) -> Ask:
        """A wish for a job."""
        return Ask(self.name, uuid4().hex, self.queues, lease_s, WALL, held)

    def claim(self, *held: Held, lease_s: int = LEASE_S) -> Claimed | Refusal:
        """Ask for a job."""
        return transitions.claim(self.client, self.ask(held, lease_s))

    def take(self, job_id: str | None = None, lease_s: int = LEASE_S) -> Claimed:
        """Get a job, which must be there."""
        claimed = self.claim(lease_s=lease_s)
        assert isinstance(claimed, Claimed), claimed
        assert job_id in (None, claimed.job_id)
        return claimed

    def lease(self, claimed: Claimed) -> Lease:
        """What settling needs."""
        return Lease(claimed.job_id, claimed.execution_id, claimed.queue, self.name)

    def settle(self, claimed: Claimed, move: Move, ask: Ask | None = None, **more: Any) -> Settlement:
        """Write how it ended."""
        return transitions.settle(self.client, self.lease(claimed), move, WALL, ask=ask, **more)

    def attempt(self, claimed: Claimed) -> Attempt:
        """An attempt of no length."""
        return Attempt(claimed.execution_id, self.name, WALL.timestamp(), WALL.timestamp())

    def finish(self, claimed: Claimed, value: bytes = b"v", ask: Ask | None = None, **more: Any) -> Settlement:
        """It succeeded."""
        job = decode_job(claimed.job_id, claimed.fields)
        return self.settle(claimed, moves.finished(job, self.attempt(claimed), value, WALL), ask, **more)

    def fail(self, claimed: Claimed, ask: Ask | None = None, **more: Any) -> Settlement:
        """It raised."""
        job = decode_job(claimed.job_id, claimed.fields)
        return self.settle(claimed, moves.failed(job, self.attempt(claimed), "boom", WALL), ask, **more)

    def beat(self, claimed: Claimed | None = None, state: str = "idle", lease_s: int = LEASE_S) -> workers.Pulse:
        """A sign of life."""
        running = (
            workers.Running(claimed.job_id, claimed.execution_id, claimed.queue, 1.5) if claimed is not None else None
        )
        return workers.beat(self.client, self.name, state, WALL, ttl_s=60, lease_s=lease_s, running=running)

    def field(self, name: str) -> str | None:
        """A field of its hash."""
        raw: Any = self.client.hget(keys.worker(self.name), name)
        return None if raw is None else raw.decode()

    def hash(self) -> dict[bytes, bytes]:
        """Its whole hash."""
        found: Any = self.client.hgetall(keys.worker(self.name))
        return found if isinstance(found, dict) else pairs(found)


def expire(client: redis_py.Redis, claimed: Claimed) -> None:
    """Let a lease end now, as if its worker had been silent."""
    client.zadd(keys.started(claimed.queue), {keys.lease(claimed.job_id, claimed.execution_id): 1}, xx=True)


def no_trace(client: redis_py.Redis) -> bool:
    """Whether no attempt has left anything."""
    return not [
        key for pattern in ("rq:wip:*", "rq:execution*", "rq:worker:*:executions") for key in client.scan_iter(pattern)
    ]
