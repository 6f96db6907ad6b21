"""What an alert is, and a recording rule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from charts.monitoring.scenario import Scenario


class Severity(Enum):
    """Who should look, and when."""

    CRITICAL = "critical"
    """Somebody, now: work stands still or is about to."""
    WARNING = "warning"
    """Somebody, in working hours."""


@dataclass(frozen=True)
class Alert:
    """One alerting rule. holds: how long the expression must be true, in Prometheus' words.

    summary and description may hold ``{{ $labels.pool }}`` and ``{{ $value }}``.
    """

    name: str
    expr: str
    holds: str
    severity: Severity
    summary: str
    description: str
    scenario: Scenario

    @property
    def anchor(self) -> str:
        """Its heading in docs/runbooks.md, as a link's fragment."""
        return self.name.lower()


@dataclass(frozen=True)
class Recorded:
    """One recording rule."""

    name: str
    expr: str
    text: str


@dataclass(frozen=True)
class Group:
    """Rules that belong to one source of metrics. Who lacks the source leaves the group out."""

    name: str
    text: str
    recorded: tuple[Recorded, ...]
    alerts: tuple[Alert, ...]
