"""RQ's name of :mod:`rqk.result`."""

from __future__ import annotations

from rqk.result import (
    Result,
)

__all__ = ["Result"]
