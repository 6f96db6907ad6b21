"""The recorded key dumps of real RQ: loading them, writing them into a live Redis, and dumping a live Redis alike."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis as redis_py

DIRECTORY = Path(__file__).resolve().parents[1] / "fixtures" / "wire"
VERSIONS = ("3.0.0", "2.12.0")
LEAST_EPOCH = 1_000_000_000
"""A score above this is a time; one below (``-1`` for instance) means something else."""


@dataclass(frozen=True)
class Key:
    """One dumped key. ``value`` is bytes, a list, a set or a dict of bytes, or (id, fields) pairs of a stream."""

    type: str
    ttl: int | None
    value: Any


@dataclass(frozen=True)
class Golden:
    """One scenario of one version."""

    version: str
    scenario: str
    serializer: str
    recorded_at: float
    keys: Mapping[str, Key]

    def hashes(self, prefix: str) -> Iterator[tuple[str, dict[bytes, bytes]]]:
        """Every hash under a prefix: the rest of its key, and its fields."""
        for name, key in self.keys.items():
            if key.type == "hash" and name.startswith(prefix):
                yield name[len(prefix) :], key.value


def _bytes(value: str | Mapping[str, str]) -> bytes:
    return value.encode() if isinstance(value, str) else base64.b64decode(value["b64"])


def _value(kind: str, value: Any) -> Any:
    match kind:
        case "string":
            return _bytes(value)
        case "list":
            return [_bytes(item) for item in value]
        case "set":
            return {_bytes(item) for item in value}
        case "zset":
            return {_bytes(member): float(score) for member, score in value}
        case "hash":
            return {name.encode(): _bytes(item) for name, item in value.items()}
        case "stream":
            return [(entry, {name.encode(): _bytes(item) for name, item in fields.items()}) for entry, fields in value]
    raise ValueError(f"unknown type in a dump: {kind}")


def load(version: str, scenario: str) -> Golden:
    """Read one dump."""
    raw = json.loads((DIRECTORY / version / f"{scenario}.json").read_text())
    keys = {
        name: Key(key["type"], key["ttl"].get("seconds"), _value(key["type"], key["value"]))
        for name, key in raw["keys"].items()
    }
    return Golden(version, scenario, raw["serializer"], raw["recorded_at"], keys)


def scenarios() -> list[tuple[str, str]]:
    """Every (version, scenario) there is."""
    return [(version, path.stem) for version in VERSIONS for path in sorted((DIRECTORY / version).glob("*.json"))]


def replay(golden: Golden, client: redis_py.Redis) -> None:
    """Write a dump into Redis. Times in sorted sets are moved so that they are as far from now as they were then."""
    seconds, microseconds = client.time()
    shift = seconds + microseconds / 1e6 - golden.recorded_at
    for name, key in golden.keys.items():
        match key.type:
            case "string":
                client.set(name, key.value)
            case "list":
                client.rpush(name, *key.value)
            case "set":
                client.sadd(name, *key.value)
            case "zset":
                client.zadd(name, {member: _moved(score, shift) for member, score in key.value.items()})
            case "hash":
                client.hset(name, mapping=key.value)
            case "stream":
                for entry, fields in key.value:
                    client.xadd(name, fields, id=entry)
        if key.ttl is not None:
            client.expire(name, key.ttl)


def _moved(score: float, shift: float) -> float:
    return score + shift if LEAST_EPOCH < score < float("inf") else score


def dump(connection: redis_py.Redis) -> dict[str, Key]:
    """Everything that is in Redis now, in the form of a loaded dump."""
    found: dict[str, Key] = {}
    client: Any = connection  # redis-py's annotations unite its sync, async, bytes and text clients
    for raw_name in client.scan_iter(count=1000):
        name = raw_name.decode()
        kind = client.type(name).decode()
        left = client.ttl(name)
        value: Any
        match kind:
            case "string":
                value = client.get(name)
            case "list":
                value = client.lrange(name, 0, -1)
            case "set":
                value = client.smembers(name)
            case "zset":
                value = dict(client.zrange(name, 0, -1, withscores=True))
            case "hash":
                value = client.hgetall(name)
            case "stream":
                value = [(entry.decode(), fields) for entry, fields in client.xrange(name)]
            case _:  # it ended between the scan and now
                continue
        found[name] = Key(kind, left if left >= 0 else None, value)
    return found
