"""The wire's clocks: dates in hashes, epochs in registries, durations in options. Source: docs/protocol.md, Conventions."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from rqk.errors import TimeoutFormatError

_DURATION = re.compile(r"^\s*(\d+)\s*([dhms]?)\s*$", re.IGNORECASE)
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Latest:
    """The date that was written last: a moment is written several times, into every job of a batch for instance; and its
    second, for the next moment is mostly of the same. Pairs, since threads may write dates at the same time.
    """

    date: tuple[datetime, str] = _EPOCH, "1970-01-01T00:00:00.000000Z"
    second: tuple[datetime, str] = _EPOCH, "1970-01-01T00:00:00."


def to_date(moment: datetime) -> str:
    """A date as hashes hold it: UTC, always six digits of fraction, ``2026-11-23T22:50:51.676309Z``."""
    last, text = _Latest.date
    if moment is last:
        return text
    if moment.tzinfo is UTC:
        second, start = _Latest.second
        since = moment - second
        if since.days or since.seconds:  # before it, or not within it
            second = moment.replace(microsecond=0)
            start = second.isoformat()[:-6] + "."  # without +00:00
            _Latest.second = second, start
            since = moment - second
        text = f"{start}{since.microseconds:06d}Z"
        _Latest.date = moment, text
        return text
    utc = moment.astimezone(UTC) if moment.tzinfo is not None else moment
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def from_date(text: str | bytes) -> datetime:
    """An aware UTC datetime from either form that RQ writes; raises ValueError for anything else."""
    plain = text.decode() if isinstance(text, bytes) else text
    if not plain.endswith("Z") or "T" not in plain:
        raise ValueError(f"not a date of RQ's wire protocol: {plain!r}")
    return datetime.fromisoformat(plain[:-1]).replace(tzinfo=UTC)


def from_epoch(seconds: float) -> datetime:
    """An aware UTC datetime from float epoch seconds."""
    return _EPOCH + timedelta(seconds=seconds)


def to_epoch(moment: datetime) -> float:
    """Float epoch seconds of an aware datetime; a naive one is taken as local time, as RQ does."""
    return moment.timestamp()


def parse_duration(value: float | str | None) -> int | None:
    """Whole seconds from a number, numeric text or ``<digits><unit>`` with unit d, h, m or s; None stays None.

    Raises :class:`~rqk.errors.TimeoutFormatError` for anything else.
    """
    if value is None:
        return None
    try:
        if isinstance(value, int):
            return value
        return int(float(value))
    except (ValueError, OverflowError):  # not a number, or none with an end
        pass
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise TimeoutFormatError(
            f"{value!r} is not a duration; give seconds, or a number with s, m, h or d such as '90s' or '1h'"
        )
    return int(match[1]) * _UNIT_SECONDS[match[2].lower()]
