"""Whether queues that were at rest still are: a command of the server for a hundred of them, where a look takes ten for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rqk.store import scripts

_CHUNK = 100  # queues in one script call


@dataclass(frozen=True, slots=True)
class Glance:
    """What was seen of queues at one moment. ``at`` is epoch seconds of the server, 0 if no queue was asked for."""

    at: float = 0.0
    stirred: frozenset[str] = frozenset()  # in which something waits, runs or is due, or that cannot be read
    next_due: Mapping[str, float] = field(default_factory=dict)  # epoch seconds of the earliest scheduled job


def glance_commands(names: Sequence[str]) -> list[tuple[Any, ...]]:
    """One script call per hundred queues, whose names are one argument: so many would take longer to pack than to look up."""
    return [
        ("EVALSHA", scripts.digest("glance"), 0, json.dumps(chunk, ensure_ascii=False, separators=(",", ":")))
        for chunk in _chunks(names)
    ]


def read_glance(names: Sequence[str], replies: Sequence[Any]) -> Glance:
    """From the answers to :func:`glance_commands`."""
    at, stirred, dues = 0.0, set[str](), dict[str, float]()
    for chunk, (seconds, micros, numbers, pairs) in zip(_chunks(names), replies, strict=True):
        at = int(seconds) + int(micros) / 1e6
        stirred.update(chunk[number - 1] for number in numbers)
        dues.update((chunk[number - 1], float(due)) for number, due in zip(pairs[::2], pairs[1::2], strict=True))
    return Glance(at, frozenset(stirred), dues)


def _chunks(names: Sequence[str]) -> list[list[str]]:
    return [list(names[start : start + _CHUNK]) for start in range(0, len(names), _CHUNK)]
