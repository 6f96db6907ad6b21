"""The clocks, as functions that tests replace by passing others."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
Monotonic = Callable[[], float]

monotonic: Monotonic = time.monotonic
pause: Callable[[float], None] = time.sleep


def now() -> datetime:
    """The wall clock, aware, UTC."""
    return datetime.now(UTC)
