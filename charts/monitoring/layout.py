"""Where rows and panels stand on a dashboard's grid of 24 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from charts.monitoring.board import Board, Panel, Row

COLUMNS = 24


class Place(NamedTuple):
    """A row's heading or a panel, and its rectangle; y grows downwards."""

    item: Row | Panel
    x: int
    y: int
    width: int
    height: int


def placed(board: Board) -> Iterator[Place]:
    """Everything in reading order: from left to right, a new line where a panel does not fit."""
    top = 0
    for row in board.rows:
        yield Place(row, 0, top, COLUMNS, 1)
        top += 1
        left = tallest = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            yield Place(panel, left, top, panel.width, panel.height)
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
