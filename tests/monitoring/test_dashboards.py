"""The dashboards as files: Grafana's own types read them, and they show every metric there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from rqk_operator.catalogue import OPERATOR_FAMILIES

from charts.monitoring.__main__ import DASHBOARDS, ROOT, main, stale
from charts.monitoring.alerts import ALERTS
from charts.monitoring.board import MEANING, Board, Look, Query, stat
from charts.monitoring.boards import BOARDS
from charts.monitoring.document import updated
from charts.monitoring.grafana import render
from charts.monitoring.scenario import Scenario
from rqk.metrics import catalogue
from rqk.metrics.catalogue import OUTCOMES, WORKER_STATES, Family, Kind
from rqk.metrics.document import MARKER

EVERY_BOARD = [pytest.param(board, id=board.uid) for board in BOARDS]
EVERY_FAMILY = (*catalogue.WORKER_FAMILIES, *catalogue.EXPORTER_FAMILIES, *OPERATOR_FAMILIES)
KNOWN_TYPES = {"row", "timeseries", "stat", "table"}


def file_of(board: Board) -> Any:
    return json.loads((ROOT / DASHBOARDS / f"{board.uid}.json").read_text())


def queries(board: Board) -> list[Query]:
    return [query for panel in board.panels for query in panel.queries]


def names_in(expr: str) -> set[str]:
    """Every metric of ours or of rq-exporter's that an expression asks for."""
    return set(re.findall(r"\b(?:rqk|rq)_[a-z_]+", expr))


def samples(family: Family) -> set[str]:
    if family.kind is Kind.HISTOGRAM:
        return {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
    if family.kind is Kind.SUMMARY:
        return {f"{family.name}_{part}" for part in ("sum", "count")}
    return {family.name}


def test_every_file_is_up_to_date() -> None:
    assert stale() == [], "run: python -m charts.monitoring --write"
    assert main(["--check"]) == 0


@pytest.mark.parametrize("board", EVERY_BOARD)
def test_grafana_reads_back_what_was_written(board: Board) -> None:
    written = file_of(board)
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(written)))
    assert read == written
    assert written["schemaVersion"] >= 39
    assert written["uid"] == board.uid
    assert {panel["type"] for panel in written["panels"]} <= KNOWN_TYPES
    assert "id" not in written, "an id belongs to one Grafana"


@pytest.mark.parametrize("board", EVERY_BOARD)
def test_every_query_goes_to_the_chosen_data_source(board: Board) -> None:
    written = file_of(board)
    wanted = {"type": "prometheus", "uid": "${datasource}"}
    assert written["templating"]["list"][0]["type"] == "datasource"
    for panel in written["panels"]:
        for target in panel.get("targets", []):
            assert target["datasource"] == wanted
            assert target["refId"]
    for variable in written["templating"]["list"][1:]:
        assert variable["datasource"] == wanted


@pytest.mark.parametrize("board", EVERY_BOARD)
def test_panels_do_not_overlap_and_have_an_id_each(board: Board) -> None:
    panels = file_of(board)["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place.get("x", 0) + x, place.get("y", 0) + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("board", EVERY_BOARD)
def test_a_panel_says_what_it_means_in_a_sentence(board: Board) -> None:
    for panel in board.panels:
        assert panel.text.endswith("."), panel.title
        assert len(panel.queries) <= 26
        names = [query.name for query in panel.queries]
        assert len(set(names)) == len(names), f"{panel.title}: two queries of one name"
        assert all(names), f"{panel.title}: a query without a name"
        if panel.look is Look.TABLE:
            assert panel.keys, f"{panel.title}: a table needs keys"


@pytest.mark.parametrize("board", EVERY_BOARD)
def test_queries_use_only_variables_that_the_board_has(board: Board) -> None:
    known = {variable.name for variable in board.variables} | {
        "__rate_interval",
        "__range",
        "__interval",
        "__interval_ms",
    }
    for query in queries(board):
        assert set(re.findall(r"\$(\w+)", query.expr)) <= known, query.expr


def colours(board: Board, title: str) -> dict[str, str]:
    """The fixed colours of a panel's series, by name."""
    panel = next(
        panel for panel in file_of(board)["panels"] if panel["title"] == title and panel["type"] == "timeseries"
    )
    return {
        each["matcher"]["options"]: each["properties"][0]["value"]["fixedColor"]
        for each in panel["fieldConfig"]["overrides"]
        if each["matcher"]["id"] == "byName"
    }


@pytest.mark.parametrize(
    ("uid", "title"),
    [
        *((uid, "Jobs by outcome") for uid in ("rqk-fleet", "rqk-pool", "rqk-worker")),
        ("rqk-worker", "State"),
        ("rqk-pool", "Workers by what they do"),
        *(
            ("rqk-rq", title)
            for title in ("Jobs by status", "Share by status", "Workers' capacity", "Workers by state")
        ),
    ],
)
def test_a_colour_means_the_same_on_every_panel(uid: str, title: str) -> None:
    board = next(board for board in BOARDS if board.uid == uid)
    found = colours(board, title)
    assert found
    assert found.items() <= MEANING.items()


@pytest.mark.parametrize("words", [OUTCOMES, WORKER_STATES], ids=["outcomes", "states"])
def test_every_value_has_a_colour_of_its_own(words: tuple[str, ...]) -> None:
    assert set(words) <= set(MEANING)
    assert len({MEANING[word] for word in words}) == len(words)


def test_titles_are_unique_within_a_row_and_uids_everywhere() -> None:
    assert len({board.uid for board in BOARDS}) == len(BOARDS)
    for board in BOARDS:
        for row in board.rows:
            titles = [panel.title for panel in row.panels]
            assert len(set(titles)) == len(titles), f"{board.uid}: {row.title}"


def test_panels_and_alerts_ask_only_for_metrics_that_exist() -> None:
    known = {name for family in EVERY_FAMILY for name in samples(family)} | {"rq_jobs"}
    for board in BOARDS:
        for query in queries(board):
            assert names_in(query.expr) <= known, query.expr
    for alert in ALERTS:
        assert names_in(alert.expr) <= known, alert.expr


@pytest.mark.parametrize("family", EVERY_FAMILY, ids=lambda family: family.name)
def test_every_metric_is_on_a_panel(family: Family) -> None:
    shown = {name for board in BOARDS for query in queries(board) for name in names_in(query.expr)}
    assert samples(family) & shown, f"no panel shows {family.name}"


def test_the_rq_board_asks_for_nothing_that_rq_exporter_lacks() -> None:
    rq = next(board for board in BOARDS if board.uid == "rqk-rq")
    assert not [query.expr for query in queries(rq) if "rqk_" in query.expr]


def test_every_scenario_proves_something() -> None:
    used = {panel.scenario for board in BOARDS for panel in board.panels} | {alert.scenario for alert in ALERTS}
    assert used == set(Scenario)


def test_stale_and_forgotten_files_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/metrics.md").write_text(f"head\n{MARKER}\nold\n")
    folder = tmp_path / DASHBOARDS
    folder.mkdir(parents=True)
    (folder / "gone.json").write_text("{}")
    left = stale(tmp_path)
    assert "docs/metrics.md" in left
    assert f"{DASHBOARDS}/gone.json" in left
    assert f"{DASHBOARDS}/rqk-pool.json" in left


def test_the_part_above_the_marker_is_left_alone() -> None:
    text = updated(f"# Metrics\n\nmine\n{MARKER}\nold\n")
    assert text.startswith(f"# Metrics\n\nmine\n{MARKER}\n")
    assert "\nold\n" not in text
    assert updated(text) == text


def test_a_number_turns_red_at_its_bound() -> None:
    def steps(*, below: bool) -> Any:
        panel = stat("A", "B.", "up", Scenario.WORK, bad_from=3, bad_below=below)
        board = Board("x", "X", "x", (), (BOARDS[0].rows[0].__class__("r", (panel,)),))
        return json.loads(render(board))["panels"][1]["fieldConfig"]["defaults"]["thresholds"]["steps"]

    assert [(step.get("value"), step["color"]) for step in steps(below=False)] == [(None, "green"), (3, "red")]
    assert [(step.get("value"), step["color"]) for step in steps(below=True)] == [(None, "red"), (3, "green")]
