"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout: float = 10.0, what: str = "", *, every: float = 0.01) -> T:
    """Call ``predicate`` until it returns something true, and return that.

    ``timeout`` and ``every`` are seconds. When time is up an AssertionError names ``what`` was waited for and the
    last value seen. An exception raised by the predicate is not swallowed.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline:
            name = what or getattr(predicate, "__name__", "the condition")
            raise AssertionError(f"waited {timeout:g} s in vain for {name}; last seen: {value!r}")
        time.sleep(every)


def holds_for(predicate: Callable[[], object], seconds: float, what: str = "", *, every: float = 0.02) -> None:
    """Check that ``predicate`` stays true for the whole of ``seconds``: for things that must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = predicate()
        assert value, f"{what or 'the condition'} did not hold: {value!r}"
        time.sleep(every)
