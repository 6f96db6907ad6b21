"""Every panel and every alert against a real Prometheus, in the scenario that should light it."""

from __future__ import annotations

import json

import pytest

from charts.monitoring.alert import Alert
from charts.monitoring.alerts import ALERTS, BUDGET, GROUPS, OVER_TARGET
from charts.monitoring.board import Board, Panel, Variable
from charts.monitoring.boards import BOARDS
from charts.monitoring.boards.rq import RQ
from tests.monitoring.asking import EVERYTHING, ask, filled, numbers
from tests.monitoring.stage import Played

# The run is played by the first test that asks for it.
pytestmark = pytest.mark.timeout(400)

EVERY_PANEL = [
    pytest.param(board, panel, id=f"{board.uid}: {row.title} / {panel.title}")
    for board in BOARDS
    for row in board.rows
    for panel in row.panels
]
EVERY_ALERT = [pytest.param(alert, id=alert.name) for alert in ALERTS]
# Dashboard 12196's queries as it has them (its matchers filled in below), one for each of its shapes.
OLD_DASHBOARD = [
    'count(rq_workers{job="$job", instance="$instance"}) or vector(0)',
    (
        '(count(rq_workers{state="busy", job="$job", instance="$instance"})'
        ' / count(rq_workers{job="$job", instance="$instance"})) * 100'
    ),
    (
        '(count(rq_workers{state="idle", job="$job", instance="$instance"})'
        ' / count(rq_workers{job="$job", instance="$instance"})) * 100'
    ),
    "rate(rq_request_processing_seconds_sum[$__range]) /rate(rq_request_processing_seconds_count[$__range])",
    *(
        query.replace("STATUS", status)
        for status in ("queued", "started", "finished", "failed", "deferred", "scheduled")
        for query in (
            'sum(rq_jobs{status="STATUS", job="$job", instance="$instance"}) by (queue)',
            (
                'sum(rq_jobs{status="STATUS", job="$job", instance="$instance", queue=~"$queue"})'
                ' / sum(rq_jobs{job="$job", instance="$instance"})'
            ),
        )
    ),
    'sum by (status) (rq_jobs{job="$job", instance="$instance", queue=~"$queue"})',
    'sum by (queue) (rq_jobs{job="$job", instance="$instance", queue=~"$queue"})',
    'sum by (queue, status) (rq_jobs{job="$job", instance="$instance", queue=~"$queue"})',
    (
        'sum by (status) (rq_jobs{job="$job", instance="$instance", queue=~"$queue"})'
        ' / ignoring(status) group_left sum(rq_jobs{job="$job", instance="$instance"})'
    ),
    (
        'sum by (queue) (rq_jobs{job="$job", instance="$instance", queue=~"$queue"})'
        ' / ignoring(queue) group_left sum(rq_jobs{job="$job", instance="$instance"})'
    ),
]


@pytest.mark.parametrize(("board", "panel"), EVERY_PANEL)
def test_a_panel_has_data_in_its_scenario(played: Played, board: Board, panel: Panel) -> None:
    start, end = played.spans[panel.scenario]
    found = {query.name: numbers(ask(played.prometheus, panel, query, start, end)) for query in panel.queries}
    for query in panel.queries:
        assert found[query.name] or query.unlit, f"{query.name}: no data for {filled(query.expr, end - start)}"
    if panel.moves:
        moving = [value for query in panel.queries if not query.limit for value in found[query.name]]
        assert any(moving), f"nothing but zeros in {panel.scenario.label}"


@pytest.mark.parametrize("alert", EVERY_ALERT)
def test_an_alert_is_quiet_while_all_is_well_and_lit_in_its_scenario(played: Played, alert: Alert) -> None:
    assert not played.calm[alert.name], "lit while all was well"
    assert numbers(played.lit[alert.name]), f"not lit while {alert.scenario.value}: {alert.expr}"


def test_prometheus_evaluates_every_rule_without_an_error(played: Played) -> None:
    rules = {rule["name"]: rule for rule in played.prometheus.rules()}
    assert set(rules) == {alert.name for alert in ALERTS} | {each.name for group in GROUPS for each in group.recorded}
    assert {name: rule.get("lastError", "") for name, rule in rules.items() if rule["health"] != "ok"} == {}


def test_alerts_without_a_waiting_time_have_fired_with_their_texts_filled_in(played: Played) -> None:
    assert set(played.fired) == {alert.name for alert in ALERTS if alert.holds == "0m"}
    for name, raised in played.fired.items():
        assert raised, f"{name} did not fire"
        for alert in raised:
            assert alert["state"] == "firing"
            texts = json.dumps(alert["annotations"])
            assert "default of pool mail" in texts, "the queue and its pool are not named"
            assert "{{" not in texts
            assert "<no value>" not in texts


def test_the_recorded_series_is_one_while_a_pool_is_late(played: Played) -> None:
    start, end = played.spans[next(alert for alert in ALERTS if "Fast" in alert.name).scenario]
    late = played.prometheus.query_range(f'{OVER_TARGET}{{pool="reports"}}', start + 2, end)
    assert set(numbers(late)) == {1.0}
    assert BUDGET < 1


@pytest.mark.parametrize(
    "variable",
    [(board, variable) for board in BOARDS for variable in board.variables],
    ids=lambda pair: f"{pair[0].uid}: {pair[1].name}",
)
def test_a_variable_offers_values(played: Played, variable: tuple[Board, Variable]) -> None:
    board, chosen = variable
    metric = filled(chosen.metric, 60)
    start, end = played.start, played.spans[RQ.panels[0].scenario][1]
    found = played.prometheus.query_range(f"count by ({chosen.name}) ({metric})", start, end)
    values = {series.labels.get(chosen.name) for series in found}
    assert values - {None}, f"{board.uid}: no value of {chosen.name} in {metric}"


@pytest.mark.parametrize("exporter", ["rqk-exporter", "rq-exporter"])
@pytest.mark.parametrize("panel", [pytest.param(panel, id=panel.title) for panel in RQ.panels])
def test_the_rq_dashboard_works_on_either_exporter(played: Played, panel: Panel, exporter: str) -> None:
    start, end = played.spans[panel.scenario]
    chosen = {**EVERYTHING, "job": exporter}
    for query in panel.queries:
        assert numbers(ask(played.prometheus, panel, query, start, end, chosen)), query.expr


@pytest.mark.parametrize("query", OLD_DASHBOARD)
def test_the_well_known_dashboard_12196_works_on_our_exporter(played: Played, query: str) -> None:
    start, end = played.spans[RQ.panels[0].scenario]
    instance = next(iter(played.prometheus.query('up{job="rqk-exporter"}', end))).labels["instance"]
    expr = filled(query, end - start, {"job": "rqk-exporter", "instance": instance, "queue": ".*"})
    assert numbers(played.prometheus.query_range(expr, start, end)), expr
