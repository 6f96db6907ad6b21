"""Comparing what is in Redis with what RQ left after the same calls: everything but ids of chance, clocks and names."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Mapping
from typing import Any

from rqk.core import codec
from rqk.core.call import decode_call
from rqk.serializers import resolve_serializer
from tests.support.golden import LEAST_EPOCH, Golden, Key

TOLERANCE = 8.0
"""Seconds by which two times to live, or two distances from now, may differ on a busy machine."""
EXECUTION = re.compile(rb"\b[0-9a-f]{32}\b")
DATES = {
    "created_at",
    "enqueued_at",
    "started_at",
    "ended_at",
    "last_heartbeat",
    "birth",
    "death",
    "shutdown_requested_date",
}
OF_THE_MACHINE = {"hostname", "pid", "ip_address", "version", "python_version", "total_working_time"}
OF_CHANCE = DATES | OF_THE_MACHINE | {"execution_id", "execution_started_at", "execution_ended_at"}
OURS_ON_WORKERS = {"current_job", "current_job_working_time"}
"""RQ 2.12 writes these and 3.0 does not; we write them for readers of both."""


def is_extension(name: str) -> bool:
    """Whether a key or field is one of rqk's own (docs/protocol.md)."""
    return name.startswith(("rq:rqk:", "rqk_"))


def _plain(value: bytes) -> bytes:
    return EXECUTION.sub(b"<execution>", value)


def _plain_name(name: str) -> str:
    return _plain(name.encode()).decode()


def _seen_call(data: bytes, serializer: str) -> object:
    call = decode_call(data, resolve_serializer(serializer))
    return call.func_name, pickle.dumps(call.instance), list(call.args), dict(call.kwargs)


def _field(name: str, value: bytes, serializer: str) -> object:
    """A field's value as far as it must be equal."""
    if name in OF_CHANCE:
        return "something" if value else "nothing"
    match name:
        case "data":
            return _seen_call(value, serializer)
        case "meta" | "result":
            return resolve_serializer(serializer).loads(value)
        case "exc_info":
            return "compressed text" if value else "nothing"
    return _plain(value)


def _hash(value: Mapping[bytes, bytes], serializer: str, is_worker: bool) -> dict[str, object]:
    fields = {name.decode(): raw for name, raw in value.items()}
    return {
        name: _field(name, raw, serializer)
        for name, raw in fields.items()
        if not is_extension(name) and not (is_worker and name in OURS_ON_WORKERS)
    }


def _result(fields: Mapping[bytes, bytes], serializer: str) -> dict[str, object]:
    record = codec.decode_result(fields)
    value = None if record.return_value is None else resolve_serializer(serializer).loads(record.return_value)
    lines = (record.exc_string or "").strip().splitlines()
    return {
        "fields": sorted(name.decode() for name in fields),
        "type": record.type.name,
        "worker": record.worker_name,
        "value": value,
        "last line": lines[-1] if lines else None,
    }


def _shape(name: str, key: Key, serializer: str) -> object:
    match key.type:
        case "hash":
            return _hash(key.value, serializer, name.startswith("rq:worker:"))
        case "list":
            return [_plain(item) for item in key.value]
        case "set":
            return {_plain(item) for item in key.value}
        case "zset":
            return {_plain(member) for member in key.value}
        case "stream":
            return [_result(fields, serializer) for _, fields in key.value]
    return key.type


def _scores(key: Key, now: float) -> dict[bytes, float]:
    if key.type != "zset":
        return {}
    return {
        _plain(member): score - now if LEAST_EPOCH < score < math.inf else score for member, score in key.value.items()
    }


def _apart(left: float, right: float) -> bool:
    return left != right and not abs(left - right) <= TOLERANCE


def differences(golden: Golden, found: Mapping[str, Key], now: float) -> list[str]:
    """In words, everything in which the live keys differ from RQ's; ``now`` is the server's time in epoch seconds."""
    wanted = {_plain_name(name): key for name, key in golden.keys.items()}
    ours = {_plain_name(name): key for name, key in found.items() if not is_extension(name)}
    told = [f"missing: {name}" for name in sorted(wanted.keys() - ours.keys())]
    told += [f"too much: {name}" for name in sorted(ours.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & ours.keys()):
        told += _key_differences(name, golden, wanted[name], ours[name], now)
    return told


def _key_differences(name: str, golden: Golden, wanted: Key, ours: Key, now: float) -> list[str]:
    if wanted.type != ours.type:
        return [f"{name}: a {ours.type} instead of a {wanted.type}"]
    told = []
    if (wanted.ttl is None) != (ours.ttl is None) or _apart(wanted.ttl or 0, ours.ttl or 0):
        told.append(f"{name}: lives {ours.ttl} s instead of {wanted.ttl} s")
    theirs: Any = _shape(name, wanted, golden.serializer)
    mine: Any = _shape(name, ours, golden.serializer)
    if wanted.type == "hash":
        for field in sorted(theirs.keys() | mine.keys()):
            left, right = mine.get(field, "no such field"), theirs.get(field, "no such field")
            if left != right:
                told.append(f"{name}: field {field} is {left!r} instead of {right!r}")
    elif theirs != mine:
        told.append(f"{name}: {mine!r} instead of {theirs!r}")
    my_scores, their_scores = _scores(ours, now), _scores(wanted, golden.recorded_at)
    for member in sorted(my_scores.keys() & their_scores.keys()):
        if _apart(my_scores[member], their_scores[member]):
            told.append(f"{name}: score of {member!r} is {my_scores[member]} instead of {their_scores[member]}")
    return told
