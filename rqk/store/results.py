"""Result streams: one entry per finished attempt, newest last."""

from __future__ import annotations

from datetime import datetime

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
    left = timeout_s
    while left > 0:
        # Never longer than the socket's own time-out, which would take a quiet server for a dead one.
        piece = min(left, SOCKET_TIMEOUT_S / 2)
        with talk(client, job_id) as asked:
            found = asked.xread({keys.results(job_id): "0-0"}, block=max(int(piece * 1000), 1))
        if found:
            return newest(client, job_id)
        left -= piece
    return newest(client, job_id)


def delete(client: Client, job_id: str) -> None:
    """Forget all entries."""
    with talk(client) as asked:
        asked.delete(keys.results(job_id))
