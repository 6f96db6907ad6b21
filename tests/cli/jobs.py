"""Jobs of these tests."""

from __future__ import annotations

import sys


def modules_of(*packages: str) -> list[str]:
    """Which of these top-level packages the process of a job has imported."""
    return sorted({name.partition(".")[0] for name in sys.modules} & set(packages))


class Point:
    """A result that only this module can read back."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __repr__(self) -> str:
        return f"Point({self.x})"


def point(x: int) -> Point:
    """A result that JSON cannot hold."""
    return Point(x)
