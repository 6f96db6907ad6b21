"""RQ's name of :mod:`rqk.execution`."""

from __future__ import annotations

from rqk.execution import (
    Execution,
)

__all__ = ["Execution"]
