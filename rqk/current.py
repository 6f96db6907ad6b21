"""Which job runs here. A module of its own, so that a horse can set it without importing what a Job needs (redis-py above all)."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

_current: ContextVar[Callable[[], Any] | None] = ContextVar("rqk_current_job", default=None)


def set_current(make: Callable[[], Any] | None) -> None:
    """Tell how to get the job that runs here; None: no job does. For those who run jobs."""
    _current.set(make)


def current() -> Any:
    """The job, made when it is first asked for; None outside a job."""
    make = _current.get()
    return make() if make is not None else None
