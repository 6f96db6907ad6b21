"""RQ's name of :mod:`rqk.errors`."""

from __future__ import annotations

from rqk.errors import (
    JobTimeoutException,
)

__all__ = ["JobTimeoutException"]
