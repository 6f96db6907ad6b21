"""Registries: sorted sets of ids. Reading one never changes it (RQ's own readers delete expired entries)."""

from __future__ import annotations

from rqk.core import keys
from rqk.store.connect import Client, talk

KEYS = {
    "started": keys.started,
    "finished": keys.finished,
    "failed": keys.failed,
    "deferred": keys.deferred,
    "scheduled": keys.scheduled,
    "canceled": keys.canceled,
    "ready": keys.ready,
}


def count(client: Client, registry: str, queue: str) -> int:
    """How many entries."""
    with talk(client, queue) as asked:
        return int(asked.zcard(KEYS[registry](queue)))


def members(
    client: Client, registry: str, queue: str, start: int = 0, end: int = -1, *, desc: bool = False
) -> list[str]:
    """Entries by score; of the started registry they are leases."""
    with talk(client, queue) as asked:
        return [member.decode() for member in asked.zrange(KEYS[registry](queue), start, end, desc=desc)]


def score(client: Client, registry: str, queue: str, member: str) -> float | None:
    """The score of one entry, None if it is not there."""
    with talk(client, queue) as asked:
        found = asked.zscore(KEYS[registry](queue), member)
    return None if found is None else float(found)


def remove(client: Client, registry: str, queue: str, member: str) -> int:
    """Take an entry out; returns how many went."""
    with talk(client, queue) as asked:
        return int(asked.zrem(KEYS[registry](queue), member))


def remove_until(client: Client, registry: str, queue: str, epoch: int) -> int:
    """Take out the entries that expired by then; returns how many went."""
    with talk(client, queue) as asked:
        return int(asked.zremrangebyscore(KEYS[registry](queue), 0, epoch))


def expired_leases(client: Client, queues: list[str], now_epoch: int, most: int = 100) -> dict[str, list[str]]:
    """Leases that ended, by queue; one round trip."""
    with talk(client, *queues) as asked, asked.pipeline(transaction=False) as pipe:
        for queue in queues:
            pipe.zrange(keys.started(queue), "-inf", str(now_epoch), byscore=True, offset=0, num=most)
        replies = pipe.execute()
    found = zip(queues, replies, strict=True)
    # What is no text is no lease of anybody's, and becomes none by being replaced.
    return {queue: [lease.decode(errors="replace") for lease in reply] for queue, reply in found if reply}


def leases_of(client: Client, worker: str) -> list[str]:
    """Leases a worker holds."""
    with talk(client, worker) as asked:
        return sorted(lease.decode() for lease in asked.smembers(keys.worker_executions(worker)))


def server_epoch(client: Client) -> int:
    """The server's clock, whole seconds: the clock of all scores."""
    with talk(client) as asked:
        return int(asked.time()[0])


def lock(client: Client, key: str, owner: str, ttl_s: int) -> bool:
    """Take a lock for some seconds; False if someone has it."""
    with talk(client) as asked:
        return bool(asked.set(key, owner, nx=True, ex=max(ttl_s, 1)))
