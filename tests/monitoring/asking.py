"""A dashboard's queries, asked as Grafana asks them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from charts.monitoring.board import Look, Panel, Query
from tests.monitoring.prometheus import Prometheus, Series

EVERYTHING: Mapping[str, str] = dict.fromkeys(("namespace", "pool", "queue", "instance", "job"), ".*")
"""What a dashboard's variables stand for while *All* is chosen."""
RATE_WINDOW = "5s"  # Grafana makes it four scrape intervals and a bit; tests scrape each second
_INTERVAL = {"__interval": "1s", "__interval_ms": "1000"}  # and this at least the interval of the data source


def filled(expr: str, seconds: float, variables: Mapping[str, str] = EVERYTHING) -> str:
    """The expression with Grafana's variables replaced, for a dashboard that shows so many seconds."""
    values = {"__rate_interval": RATE_WINDOW, "__range": f"{max(1, round(seconds))}s", **_INTERVAL, **variables}
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], expr)


def ask(
    prometheus: Prometheus,
    panel: Panel,
    query: Query,
    start: float,
    end: float,
    variables: Mapping[str, str] = EVERYTHING,
) -> list[Series]:
    """The query's answer for a dashboard that shows this time: a table's, or a number's over
    all of it, at its end, else at each second."""
    expr = filled(query.expr, end - start, variables)
    if panel.look is Look.TABLE or (panel.look is Look.STAT and query.of_whole_range):
        return prometheus.query(expr, end)
    return prometheus.query_range(expr, start, end)


def numbers(answer: Sequence[Series]) -> list[float]:
    """Every value that is a number; a quantile of nothing is none."""
    return [value for series in answer for _, value in series.values if math.isfinite(value)]
