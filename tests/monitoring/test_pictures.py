"""The pictures of the documentation: there is one of each dashboard, and what draws them can be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from charts.monitoring.__main__ import ROOT
from charts.monitoring.board import Board, Look, Panel, Query, Row, Unit, stat
from charts.monitoring.boards import BOARDS
from charts.monitoring.pictures import Line, draw, legend_entries, set_ticks, shown
from charts.monitoring.scenario import Scenario

PNG = b"\x89PNG\r\n"


def board() -> Board:
    looks = (Look.LINES, Look.STACK, Look.BARS)
    series = tuple(
        Panel(
            look.name,
            "Something.",
            look,
            Unit.COUNT,
            Scenario.WORK,
            (Query("x", "{{queue}}"), Query("y", "most", limit=True)),
        )
        for look in looks
    )
    table = Panel(
        "Table",
        "Something.",
        Look.TABLE,
        Unit.COUNT,
        Scenario.WORK,
        (Query("x", "depth"), Query("y", "only for its labels", hidden=True)),
        keys=("queue", "version"),
    )
    return Board("x", "X", "x", (), (Row("All looks", (*series, table, stat("N", "N.", "x", Scenario.WORK))),))


def answer(panel: Panel, query: Query) -> list[Line]:
    if query.expr == "y":
        return [Line({"queue": "high", "version": "1"}, [(100.0, 3.0), (101.0, 3.0)])]
    return [
        Line({"queue": "high"}, [(100.0, 1.0), (101.0, float("nan")), (102.0, 4.0)]),
        Line({"queue": "low"}, [(102.0, 2.0)]),
    ]


def test_every_look_can_be_drawn_with_gaps_and_the_same_data_gives_the_same_file(tmp_path: Path) -> None:
    first, second = tmp_path / "new" / "first.png", tmp_path / "second.png"
    draw(board(), answer, 100.0, 110.0, first)
    draw(board(), answer, 100.0, 110.0, second)
    assert first.read_bytes().startswith(PNG)
    assert first.read_bytes() == second.read_bytes()


def test_a_board_without_data_can_be_drawn(tmp_path: Path) -> None:
    draw(board(), lambda panel, query: [], 100.0, 110.0, tmp_path / "empty.png")
    assert (tmp_path / "empty.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.25, Unit.SHARE, "25%"),
        (0.004, Unit.SECONDS, "4 ms"),
        (0.0, Unit.SECONDS, "0 s"),
        (90.0, Unit.SECONDS, "90 s"),
        (150.0, Unit.SECONDS, "2.5 min"),
        (3 * 1024**2, Unit.BYTES, "3 MiB"),
        (0.0, Unit.BYTES, "0 B"),
        (1.0, Unit.YES_NO, "yes"),
        (12.0, Unit.JOBS_PER_SECOND, "12 jobs/s"),
        (12.0, Unit.COUNT, "12"),
        (float("nan"), Unit.COUNT, "-"),
    ],
)
def test_a_value_is_written_as_a_person_reads_it(value: float, unit: Unit, text: str) -> None:
    assert shown(value, unit) == text


@pytest.mark.parametrize(
    ("top", "unit", "whole", "texts"),
    [
        (40 * 1024**2, Unit.BYTES, True, ["0 B", "8 MiB", "16 MiB", "24 MiB", "32 MiB", "40 MiB"]),
        (150.0, Unit.SECONDS, False, ["0 s", "30 s", "60 s", "90 s", "2 min", "2.5 min"]),
        (3.0, Unit.COUNT, True, ["0", "1", "2", "3"]),
        (1.0, Unit.COUNT, True, ["0", "1"]),
        (0.5, Unit.COUNT, False, ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
    ],
)
def test_an_axis_has_round_numbers_in_its_unit(top: float, unit: Unit, whole: bool, texts: list[str]) -> None:
    axes = Figure().add_subplot()
    axes.set_ylim(0, top)
    set_ticks(axes, unit, whole=whole)
    assert [shown(tick, unit) for tick in axes.get_yticks() if 0 <= tick <= top] == texts


def test_a_legend_without_room_names_the_highest() -> None:
    axes = Figure().add_subplot()
    for name, height in (("low", 1.0), ("high", 9.0), ("none", 0.0), ("middle", 5.0)):
        axes.plot([0, 1], [height, height], label=name)
    assert legend_entries(axes, 3)[1] == ["high", "middle", "and 2 more"]
    assert legend_entries(axes, 4)[1] == ["low", "high", "none", "middle"]


@pytest.mark.parametrize("uid", [board.uid for board in BOARDS])
def test_the_page_shows_a_picture_of_each_dashboard(uid: str) -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    assert f"](images/{uid}.png)" in page
    assert (ROOT / f"docs/images/{uid}.png").read_bytes().startswith(PNG)
