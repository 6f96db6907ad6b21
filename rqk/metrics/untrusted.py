"""Reading the metrics that a job sent as if an enemy had written them: what comes out has been checked to the last bit.

Pure: bytes were parsed before, values come in and values go out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_KINDS = frozenset({"counter", "gauge", "histogram", "summary", "info", "stateset"})
_RESERVED_LABELS = {"histogram": "le", "summary": "quantile"}

# Bounds on what one series may cost in memory; each is far above what anybody uses on purpose.
_LONGEST_NAME = 256
_LONGEST_HELP = 1024
_MOST_LABELS = 32
_MOST_LABEL_CHARS = 4096
_MOST_BOUNDS = 200

Sample = tuple[tuple[str, ...], Any]
"""Label values, and a value whose shape depends on the kind: a float; (count, sum); (counts per bucket, sum); the
index of a state; pairs of an info."""


def clean(text: str) -> str:
    """`text` without what UTF-8 cannot say (lone surrogates), which would make a whole page fail."""
    return text.encode("utf-8", "replace").decode("utf-8")


class Refused(Exception):
    """A family that will not be kept; `reason` is one of catalogue.DROP_REASONS. Never leaves rqk.metrics."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason


@dataclass(frozen=True)
class Malformed:
    """Something that no version of ours sends."""

    name: str
    why: str


@dataclass(frozen=True)
class Meaning:
    """What a metric's name stands for."""

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    states: tuple[str, ...] = ()
    help: str = field(default="", compare=False)
    unit: str = field(default="", compare=False)

    def agrees(self, other: Meaning) -> bool:
        """Whether samples of both can live in one family; help and unit do not matter."""
        return self == other

    @property
    def width(self) -> int:
        """How many series of Prometheus one child takes."""
        if self.kind == "histogram":
            return len(self.bounds) + 3
        return {"summary": 2, "stateset": len(self.states)}.get(self.kind, 1)

    def __str__(self) -> str:
        return f"{self.kind} with labels {', '.join(self.labels) or '(none)'}"


def read_families(raw: list[Any]) -> Iterator[tuple[Meaning, list[Sample]] | Malformed]:
    """The families of a delta, each with its good samples; one Malformed for each bad family or sample."""
    for entry in raw:
        try:
            meaning = _meaning(entry)
        except _Bad as bad:
            yield bad.answer
            continue
        samples: list[Sample] = []
        for item in entry["s"]:
            try:
                samples.append(_sample(meaning, item))
            except _Bad as bad:
                yield bad.answer
        if samples:
            yield meaning, samples


class _Bad(Exception):
    """Ends the reading of one family or sample."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.answer = Malformed(name, why)


def _meaning(entry: Any) -> Meaning:
    if not isinstance(entry, dict):
        raise _Bad("", "a family that is not an object")
    name, kind = entry.get("n"), entry.get("t")
    if not isinstance(name, str) or len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        shown = repr(name)[:80]
        raise _Bad(shown, f"{shown} is not a metric name of letters, digits, _ and :")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise _Bad(name, f"{name} is of no known type")
    labels = _strings(name, entry.get("l", []), _MOST_LABELS)
    if len(set(labels)) < len(labels) or not all(_LABEL.fullmatch(label) for label in labels):
        raise _Bad(name, f"{name} has label names that Prometheus does not take")
    if _RESERVED_LABELS.get(kind) in labels or (kind == "stateset" and (name in labels or ":" in name)):
        raise _Bad(name, f"{name} or its labels are named as its type does not allow")
    if not isinstance(entry.get("s"), list):
        raise _Bad(name, f"{name} has no samples")
    help_text, unit = entry.get("d"), entry.get("u", "")
    if not isinstance(unit, str) or kind in ("info", "stateset") or not name.endswith("_" + unit):
        unit = ""
    return Meaning(
        name,
        kind,
        labels,
        bounds=_bounds(name, entry.get("b")) if kind == "histogram" else (),
        states=_states(name, entry.get("b")) if kind == "stateset" else (),
        help=clean(help_text[:_LONGEST_HELP]) if isinstance(help_text, str) else "",
        unit=unit,
    )


def _bounds(name: str, raw: Any) -> tuple[float, ...]:
    if not isinstance(raw, list) or len(raw) > _MOST_BOUNDS:
        raise _Bad(name, f"{name} has no or too many buckets")
    bounds = tuple(_number(name, bound) for bound in raw)
    if not all(map(math.isfinite, bounds)) or any(a >= b for a, b in pairwise(bounds)):
        raise _Bad(name, f"{name} has buckets that do not rise")
    return bounds


def _states(name: str, raw: Any) -> tuple[str, ...]:
    states = _strings(name, raw, _MOST_BOUNDS)
    if not states or len(set(states)) < len(states):
        raise _Bad(name, f"{name} has no states, or one twice")
    return states


def _sample(meaning: Meaning, item: Any) -> Sample:
    name = meaning.name
    if not isinstance(item, list) or len(item) != 2:
        raise _Bad(name, f"{name} has a sample that is not a pair")
    labels = _strings(name, item[0], _MOST_LABELS)
    if len(labels) != len(meaning.labels):
        raise _Bad(name, f"{name} has a sample with {len(labels)} label values instead of {len(meaning.labels)}")
    return labels, _value(meaning, item[1])


def _value(meaning: Meaning, raw: Any) -> Any:
    name, kind = meaning.name, meaning.kind
    if kind == "counter":
        return _increase(name, raw)
    if kind == "gauge":
        return _number(name, raw)
    if kind == "stateset":
        if not isinstance(raw, int) or isinstance(raw, bool) or not 0 <= raw < len(meaning.states):
            raise _Bad(name, f"{name} is in a state that it does not have")
        return raw
    if kind == "info":
        return _pairs(meaning, raw)
    if not isinstance(raw, list) or len(raw) != 2:
        raise _Bad(name, f"{name} has a value that is not a pair")
    total = _number(name, raw[1])
    total = 0.0 if math.isnan(total) else total  # one NaN would stay in the sum for ever
    if kind == "summary":
        return (_increase(name, raw[0]), total)
    if not isinstance(raw[0], list) or len(raw[0]) != len(meaning.bounds) + 1:
        raise _Bad(name, f"{name} has another number of counts than of buckets")
    return (tuple(_increase(name, count) for count in raw[0]), total)


def _pairs(meaning: Meaning, raw: Any) -> dict[str, str]:
    if not isinstance(raw, dict) or len(raw) > _MOST_LABELS:
        raise _Bad(meaning.name, f"{meaning.name} is not an object of few strings")
    if not all(_LABEL.fullmatch(key) and key not in meaning.labels for key in raw):
        raise _Bad(meaning.name, f"{meaning.name} has keys that Prometheus does not take as label names")
    values = _strings(meaning.name, [*raw, *raw.values()], 2 * _MOST_LABELS)
    return dict(zip(raw, values[len(raw) :], strict=True))


def _strings(name: str, raw: Any, most: int) -> tuple[str, ...]:
    if not isinstance(raw, list) or len(raw) > most or not all(isinstance(text, str) for text in raw):
        raise _Bad(name, f"{name} has something else than a short list of strings")
    if sum(map(len, raw)) > _MOST_LABEL_CHARS:
        raise _Bad(name, f"{name} has labels of more than {_MOST_LABEL_CHARS} characters")
    return tuple(map(clean, raw))


def _number(name: str, raw: Any) -> float:
    if not isinstance(raw, int | float) or isinstance(raw, bool):
        raise _Bad(name, f"{name} has a value that is not a number")
    try:
        return float(raw)
    except OverflowError:
        raise _Bad(name, f"{name} has a value that no float can hold") from None


def _increase(name: str, raw: Any) -> float:
    value = _number(name, raw)
    if not (math.isfinite(value) and value >= 0):
        raise _Bad(name, f"{name} has an increase that is negative or endless")
    return value
