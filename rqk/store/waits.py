"""How long jobs waited that ended lately: for statistics, so a sample does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rqk.core import keys
from rqk.core.times import from_date
from rqk.store.connect import Client, talk


def ended(client: Client, queues: Iterable[str], most: int = 200) -> list[str]:
    """Ids of jobs that finished or failed last, up to ``most`` of each queue and kind; one round trip."""
    with talk(client) as asked, asked.pipeline(transaction=False) as pipe:
        for queue in queues:
            for key in (keys.finished(queue), keys.failed(queue)):
                pipe.zrange(key, 0, most - 1, desc=True)
        replies = pipe.execute()
    return [member.decode() for reply in replies for member in reply]


def waited(client: Client, job_ids: Sequence[str]) -> dict[str, float]:
    """Seconds between enqueue and start, by job; those that are gone or never started are left out. One round trip."""
    if not job_ids:
        return {}
    with talk(client) as asked, asked.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.hmget(keys.job(job_id), "enqueued_at", "started_at")
        replies = pipe.execute()
    found: dict[str, float] = {}
    for job_id, (enqueued, started) in zip(job_ids, replies, strict=True):
        if enqueued and started:
            try:
                found[job_id] = max(0.0, (from_date(started) - from_date(enqueued)).total_seconds())
            except ValueError:
                continue  # written by someone else in a way of their own
    return found
