"""Job hashes: reading them, and the few writes that touch one field."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from rqk.core import keys
from rqk.core.codec import decode_job, encode_job
from rqk.core.moves import Move
from rqk.core.records import JobRecord
from rqk.core.states import JobStatus
from rqk.errors import NoSuchJobError
from rqk.store.connect import Client, talk

# What becomes of a job is written by queues and workers alone: whoever saves a job may have fetched it long before.
_STATE = frozenset({"status", "enqueued_at", "started_at", "ended_at", "last_heartbeat", "worker_name"})
_COUNTERS = frozenset({"number_of_retries", "retries_left", "repeats_left"})


def fetch(client: Client, job_id: str) -> JobRecord:
    """One job. Raises NoSuchJobError, or UnreadableJob for a hash RQ could not read either."""
    with talk(client, job_id) as asked:
        fields = asked.hgetall(keys.job(job_id))
    if b"data" not in fields:
        raise NoSuchJobError(f"No such job: {job_id}")
    return decode_job(job_id, fields)


def fetch_many(client: Client, job_ids: Sequence[str]) -> list[JobRecord | None]:
    """Jobs in the given order, None for those that are gone; one round trip."""
    with talk(client, *job_ids) as asked, asked.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.hgetall(keys.job(job_id))
        replies = pipe.execute()
    return [
        decode_job(job_id, fields) if b"data" in fields else None
        for job_id, fields in zip(job_ids, replies, strict=True)
    ]


def exists(client: Client, job_id: str) -> bool:
    """Whether the job is there."""
    with talk(client) as asked:
        return bool(asked.exists(keys.job(job_id)))


def status(client: Client, job_id: str) -> JobStatus | None:
    """The status alone; None if the job is gone or was never given one."""
    with talk(client, job_id) as asked:
        raw = asked.hget(keys.job(job_id), "status")
    return JobStatus(raw.decode()) if raw else None


def write(client: Client, job_id: str, fields: dict[str, bytes]) -> None:
    """Set fields of a job hash."""
    with talk(client, job_id) as asked:
        asked.hset(keys.job(job_id), mapping=fields)


def save(client: Client, record: JobRecord, changed: Collection[str]) -> None:
    """Store a job. Of one that is stored already, its state is left as it is, and its counters unless they are ``changed``."""
    key, fields = keys.job(record.id), encode_job(record)
    later = encode_job(record._replace(extra=()))
    for name in _STATE | _COUNTERS.difference(changed):
        later.pop(name, None)
    gone = [name for name in changed if name not in later]

    def write_either(pipe: Any) -> None:
        there = pipe.hexists(key, "data")
        pipe.multi()
        pipe.hset(key, mapping=later if there else fields)
        if there and gone:
            pipe.hdel(key, *gone)

    with talk(client, record.id) as asked:
        asked.transaction(write_either, key)


def position(client: Client, queue: str, job_id: str) -> int | None:
    """Place in the queue, 0 is next; None if it is not there."""
    with talk(client, queue) as asked:
        found = asked.lpos(keys.queue(queue), job_id)
    return found if isinstance(found, int) else None


def ids_in(client: Client, key: str) -> list[str]:
    """Members of a set of ids, sorted."""
    with talk(client) as asked:
        return sorted(member.decode() for member in asked.smembers(key))


def store_ended(client: Client, job_id: str, queue: str, fields: dict[str, bytes], move: Move) -> None:
    """A job that was run in its producer: hash, result and registry entry in one transaction."""
    with talk(client, queue, job_id) as asked:
        now = int(asked.time()[0])
        with asked.pipeline(transaction=True) as tx:
            tx.sadd(keys.QUEUES, keys.queue(queue))
            if move.job_ttl != "0":
                tx.hset(keys.job(job_id), mapping={**fields, **move.fields, "status": move.status.value})
                if move.job_ttl:
                    tx.expire(keys.job(job_id), int(move.job_ttl))
                if move.result:
                    tx.xadd(keys.results(job_id), move.result, maxlen=10)
                    if move.result_ttl not in ("", "-1"):
                        tx.expire(keys.results(job_id), int(move.result_ttl))
                if move.registry:
                    score = (
                        float("inf")
                        if move.score == "+inf"
                        else now + int(move.score)
                        if move.score[0] == "+"
                        else int(move.score)
                    )
                    tx.zadd(
                        keys.finished(queue) if move.registry == "finished" else keys.failed(queue), {job_id: score}
                    )
            tx.execute()
