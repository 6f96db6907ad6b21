"""RQ's name of :mod:`rqk.errors`."""

from __future__ import annotations

from rqk.errors import (
    AbandonedJobError,
    DeserializationError,
    DuplicateJobError,
    InvalidJobDependency,
    InvalidJobOperation,
    NoRedisConnection,
    NoSuchGroupError,
    NoSuchJobError,
    ShutDownImminentException,
    TimeoutFormatError,
)

__all__ = [
    "AbandonedJobError",
    "DeserializationError",
    "DuplicateJobError",
    "InvalidJobDependency",
    "InvalidJobOperation",
    "NoRedisConnection",
    "NoSuchGroupError",
    "NoSuchJobError",
    "ShutDownImminentException",
    "TimeoutFormatError",
]
