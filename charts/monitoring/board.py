"""What a dashboard is: rows of panels with queries, as data that knows nothing of Grafana's JSON."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from charts.monitoring.scenario import Scenario


class Look(Enum):
    """How a panel shows its queries."""

    LINES = "lines"
    STACK = "stacked areas"
    BARS = "stacked bars"
    STAT = "one number"
    TABLE = "table"


class Unit(Enum):
    """A value's unit, in Grafana's words."""

    COUNT = "short"
    SECONDS = "s"
    BYTES = "bytes"
    SHARE = "percentunit"
    JOBS_PER_SECOND = "suffix: jobs/s"
    PER_SECOND = "suffix:/s"
    HOURS = "suffix: h"
    TIME = "dateTimeFromNow"
    YES_NO = "bool_yes_no"


MEANING = {
    # how jobs end
    "finished": "#56a64b",
    "requeued": "#3274d9",
    "retried": "#f2cc0c",
    "stopped": "#8f3bb8",
    "failed": "#e02f44",
    "timeout": "#ff780a",
    "oom": "#c4162a",
    "crashed": "#8b1a1a",
    "lost": "#ffa6b0",
    # what workers do
    "busy": "#56a64b",
    "idle": "#8ab8ff",
    "suspended": "#f2cc0c",
    "retiring": "#8f3bb8",
    "stopping": "#7a6652",
    # where jobs are
    "queued": "#ff9830",
    "started": "#3274d9",
    "deferred": "#b877d9",
    "scheduled": "#1fa2a6",
    "canceled": "#7a6652",
}
"""The colour of a series of this name, so that it means the same on every panel."""


@dataclass(frozen=True)
class Query:
    """A PromQL expression with Grafana's variables in it.

    name: the legend (``{{label}}`` is replaced) or, in a table, the column's head. unit: a column's, if it is not the
    panel's. limit: a bound to compare with, drawn as a dashed line. unlit: the scenario need not give it a value, for
    instance because it counts what did not happen; it must still be valid. hidden: a table's column that is only there
    for the labels that the query brings along.
    """

    expr: str
    name: str = ""
    unit: Unit | None = None
    limit: bool = False
    unlit: bool = False
    hidden: bool = False

    @property
    def of_whole_range(self) -> bool:
        """Whether one value covers all the time that the dashboard shows."""
        return "$__range" in self.expr


@dataclass(frozen=True)
class Panel:
    """One picture.

    text: what a reader should make of it. scenario: where it has data. moves: in its scenario some value is not zero.
    bad_from: from this value on a number is shown in red (a number below ``bad_from`` if ``bad_below``).
    keys: a table's label columns. width: of 24; height: Grafana's units.
    """

    title: str
    text: str
    look: Look
    unit: Unit
    scenario: Scenario
    queries: tuple[Query, ...]
    width: int = 8
    height: int = 8
    moves: bool = True
    bad_from: float | None = None
    bad_below: bool = False
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice at the head of a dashboard: the values of one label of one metric."""

    name: str
    label: str
    metric: str
    """Metric or selector whose label values are offered; may use variables to the left."""
    many: bool = True


@dataclass(frozen=True)
class Board:
    """A dashboard. uid: stable, so that links and updates find it; also its file's name."""

    uid: str
    title: str
    text: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """Every panel, from top to bottom."""
        return tuple(panel for row in self.rows for panel in row.panels)


def stat(
    title: str,
    text: str,
    expr: str,
    scenario: Scenario,
    unit: Unit = Unit.COUNT,
    *,
    width: int = 4,
    height: int = 4,
    moves: bool = True,
    bad_from: float | None = None,
    bad_below: bool = False,
) -> Panel:
    """A panel with one number."""
    return Panel(
        title,
        text,
        Look.STAT,
        unit,
        scenario,
        (Query(expr, title),),
        width,
        height,
        moves,
        bad_from,
        bad_below,
    )
