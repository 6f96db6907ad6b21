"""``python -m tests.monitoring.pictures``: play the stage and draw the dashboards into docs/images."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from charts.monitoring.__main__ import ROOT
from charts.monitoring.board import Board, Panel, Query
from charts.monitoring.boards import BOARDS
from charts.monitoring.pictures import Line, draw
from charts.monitoring.scenario import Scenario
from tests.monitoring.asking import EVERYTHING, ask
from tests.monitoring.stage import Played, play

FOLDER = ROOT / "docs/images"
# What a person would have chosen at the head of the dashboard.
CHOSEN: Mapping[str, Mapping[str, str]] = {
    "rqk-pool": {"namespace": "jobs", "pool": "mail"},
    "rqk-queues": {"job": "rqk-exporter"},
    "rqk-rq": {"job": "rqk-exporter"},
}


def picture(played: Played, board: Board, folder: Path) -> Path:
    """Draw one board as it looks when everything but the loss of the leader has happened."""
    start, end = played.start, played.spans[Scenario.STUCK_OPERATOR][0]
    variables = {**EVERYTHING, **CHOSEN.get(board.uid, {})}

    def answer(panel: Panel, query: Query) -> list[Line]:
        found = ask(played.prometheus, panel, query, start, end, variables)
        return [Line(series.labels, series.values) for series in found]

    file = folder / f"{board.uid}.png"
    draw(board, answer, start, end, file)
    return file


def main() -> int:
    """Draw all of them."""
    with tempfile.TemporaryDirectory() as directory, play(Path(directory)) as played:
        for board in BOARDS:
            sys.stdout.write(f"wrote {picture(played, board, FOLDER).relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
