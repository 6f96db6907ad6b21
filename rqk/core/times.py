"""The wire's clocks: dates in hashes, epochs in registries, durations in options. Source: docs/protocol.md, Conventions."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from rqk.errors import TimeoutFormatError

_DURATION = re.compile(r"^\s*(\d+)\s*([dhms]?)\s*$", re.IGNORECASE)
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_TTL_S = 31_536_000_000  # a thousand years; from some point on neither Redis nor a date can hold when it ends
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Latest:
    """The date that was written last: a moment is written several times, into every job of a batch for instance; and its
    second, for the next moment is mostly of the same. Pairs, since threads may write dates at the same time.
    """

    date: tuple[datetime, str] = _EPOCH, "1970-01-01T00:00:00.000000Z"
    second: tuple[int, str] = 0, "1970-01-01T00:00:00."


def _up_to_fraction(second: int) -> str:
    """The date of a whole second since the epoch."""
    last, text = _Latest.second
    if second != last:
        text = datetime.fromtimestamp(second, UTC).isoformat()[:-6] + "."  # without +00:00
        _Latest.second = second, text
    return text


def to_date(moment: datetime) -> str:
    """A date as hashes hold it: UTC, always six digits of fraction, ``2026-11-23T22:50:51.676309Z``."""
    last, text = _Latest.date
    if moment is last:
        return text
    if moment.tzinfo is UTC:
        since = (
            moment - _EPOCH
        )  # not its timestamp: a float rounds the microseconds up to the next second from the year 4147 on
        text = f"{_up_to_fraction(since.days * 86400 + since.seconds)}{moment.microsecond:06d}Z"
        _Latest.date = moment, text
        return text
    utc = moment.astimezone(UTC) if moment.tzinfo is not None else moment
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@lru_cache(maxsize=8)  # both moments of an attempt are written twice
def epoch_texts(seconds: float) -> tuple[str, str]:
    """Epoch seconds, to the microsecond, as the wire has them: as a date, and as the text of a float."""
    second, micros = divmod(round(seconds * 1e6), 1_000_000)
    fraction = f"{micros:06d}"
    number = f"{second}.{fraction}" if micros % 10 and second >= 0 else float_text(round(seconds, 6))
    return f"{_up_to_fraction(second)}{fraction}Z", number


def float_text(value: float) -> str:
    """The shortest text that reads back as the same float, never in exponent form (HINCRBYFLOAT refuses nothing, RQ reads both)."""
    text = repr(value)
    return format(Decimal(text), "f") if "e" in text else text


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


def parse_duration(value: float | str | timedelta | None) -> int | None:
    """Whole seconds from a number, numeric text, a timedelta or ``<digits><unit>`` with unit d, h, m or s; None stays None.

    Raises :class:`~rqk.errors.TimeoutFormatError` for anything else.
    """
    if value is None:
        return None
    try:
        if isinstance(value, int):
            return value
        return int(value.total_seconds() if isinstance(value, timedelta) else float(value))
    except (TypeError, ValueError, OverflowError):  # not a number, or none with an end
        pass
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise TimeoutFormatError(
            f"{value!r} is not a duration; give seconds, or a number with s, m, h or d such as '90s' or '1h'"
        )
    return int(match[1]) * _UNIT_SECONDS[match[2].lower()]
