"""Result streams: one entry per finished attempt, newest last."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rqk import clock
from rqk.core import keys
from rqk.core.codec import decode_result
from rqk.core.records import ResultRecord
from rqk.core.times import from_epoch
from rqk.store.connect import SOCKET_TIMEOUT_S, Client, talk

Entry = tuple[str, datetime, ResultRecord]


def _entry(raw_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    entry_id = raw_id.decode()
    return entry_id, from_epoch(int(entry_id.partition("-")[0]) / 1000), decode_result(fields)


def newest(client: Client, job_id: str) -> Entry | None:
    """The latest entry."""
    with talk(client, job_id) as asked:
        found = asked.xrevrange(keys.results(job_id), count=1)
    return _entry(*found[0]) if found else None


def all_of(client: Client, job_id: str) -> list[Entry]:
    """All entries, newest first."""
    with talk(client, job_id) as asked:
        return [_entry(*item) for item in asked.xrevrange(keys.results(job_id))]


def count(client: Client, job_id: str) -> int:
    """How many entries."""
    with talk(client, job_id) as asked:
        return int(asked.xlen(keys.results(job_id)))


def wait(client: Client, job_id: str, timeout_s: float) -> Entry | None:
    """The latest entry; waits up to so many seconds for the first one."""
    until = clock.monotonic() + timeout_s
    # A wait as long as the socket's own time-out would take a quiet server for a dead one.
    longest = _socket_timeout(client) / 2
    while (left := until - clock.monotonic()) > 0:
        with talk(client, job_id) as asked:
            found = asked.xread({keys.results(job_id): "0-0"}, block=max(int(min(left, longest) * 1000), 1))
        if found:
            break
    return newest(client, job_id)


def _socket_timeout(client: Client) -> float:
    """How long the client lets a server be silent: it may be the user's own, with a time-out of its own."""
    pool: Any = client.connection_pool
    try:
        own = pool.connection_kwargs["socket_timeout"]
    except KeyError:  # then it is redis-py's default, which only a connection knows
        own = getattr(pool.connection_class(**pool.connection_kwargs), "socket_timeout", None)
    return float(own) if own else SOCKET_TIMEOUT_S


def delete(client: Client, job_id: str) -> None:
    """Forget all entries."""
    with talk(client) as asked:
        asked.delete(keys.results(job_id))
