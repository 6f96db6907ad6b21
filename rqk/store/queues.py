"""Queue lists: reading them, and suspension of all workers."""

from __future__ import annotations

from rqk.core import keys
from rqk.store.connect import Client, talk


def names(client: Client) -> list[str]:
    """Queues that producers have used, sorted; what is no queue's key counts as nothing."""
    with talk(client, keys.QUEUES) as asked:
        found = map(_name, asked.smembers(keys.QUEUES))
    return sorted(name for name in found if name is not None)


def _name(key: bytes) -> str | None:
    try:
        return keys.queue_name(key.decode())
    except ValueError:
        return None


def length(client: Client, name: str) -> int:
    """How many jobs wait."""
    with talk(client, name) as asked:
        return int(asked.llen(keys.queue(name)))


def job_ids(client: Client, name: str, offset: int = 0, length: int = -1) -> list[str]:
    """Ids of waiting jobs, next first."""
    if length == 0:
        return []
    end = -1 if length < 0 else offset + length - 1
    with talk(client, name) as asked:
        return [job_id.decode() for job_id in asked.lrange(keys.queue(name), offset, end)]


def remove(client: Client, name: str, job_id: str) -> int:
    """Take an id out of the list; the job stays."""
    with talk(client, name) as asked:
        return int(asked.lrem(keys.queue(name), 0, job_id))


def forget(client: Client, name: str) -> None:
    """Remove the list and the queue's name."""
    with talk(client) as asked, asked.pipeline(transaction=True) as pipe:
        pipe.srem(keys.QUEUES, keys.queue(name))
        pipe.delete(keys.queue(name))
        pipe.execute()


def suspend(client: Client, ttl_s: int | None = None) -> None:
    """Make all workers of this Redis pause, for ever or for some seconds."""
    with talk(client) as asked:
        asked.set(keys.SUSPENDED, 1, ex=ttl_s)


def resume(client: Client) -> bool:
    """Let them go on; False if they were not suspended."""
    with talk(client) as asked:
        return bool(asked.delete(keys.SUSPENDED))


def is_suspended(client: Client) -> bool:
    """Whether workers pause."""
    with talk(client) as asked:
        return bool(asked.exists(keys.SUSPENDED))
