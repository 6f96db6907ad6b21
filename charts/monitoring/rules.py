"""The rules as Prometheus reads them. The same text is the ``spec`` of a PrometheusRule."""

from __future__ import annotations

from typing import Any

import yaml

from charts.monitoring.alert import Alert, Group, Recorded
from charts.monitoring.alerts import GROUPS

RUNBOOKS = "https://github.com/rqk/rqk/blob/main/docs/runbooks.md"
"""Where the runbooks are; each alert's anchor is added."""
_HEAD = "# Made by python -m charts.monitoring --write; change charts/monitoring/alerts.py instead.\n"


def render() -> str:
    """The rules file, the same bytes each time."""
    text: str = yaml.safe_dump({"groups": [_group(group) for group in GROUPS]}, sort_keys=False, width=1000)
    return _HEAD + text


def _group(group: Group) -> dict[str, Any]:
    rules = [*map(_recorded, group.recorded), *map(_alert, group.alerts)]
    return {"name": group.name, "rules": rules}


def _recorded(rule: Recorded) -> dict[str, Any]:
    return {"record": rule.name, "expr": rule.expr}


def _alert(alert: Alert) -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": alert.name, "expr": alert.expr}
    if alert.holds != "0m":
        rule["for"] = alert.holds
    rule["labels"] = {"severity": alert.severity.value}
    rule["annotations"] = {
        "summary": alert.summary,
        "description": alert.description,
        "runbook_url": f"{RUNBOOKS}#{alert.anchor}",
    }
    return rule
