"""A board drawn without Grafana, from Prometheus' answers: the same panels on the same grid, for the documentation.

Needs matplotlib. Who calls gives the answers; nothing here asks anybody.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator
from matplotlib.transforms import Bbox

from charts.monitoring.board import MEANING, Board, Look, Panel, Query, Row, Unit
from charts.monitoring.layout import COLUMNS, placed

mpl.use("Agg")

_COLUMN_INCHES, _LINE_INCHES, _GAP = 0.62, 0.34, 0.08
_PAPER, _INK, _FAINT, _LIMIT = "#ffffff", "#24292e", "#d0d5dc", "#d44a3a"
_COLOURS = (
    *("#3274d9", "#56a64b", "#e0752d", "#8f3bb8", "#1fa2a6", "#c4162a", "#b5880b", "#7a6652"),
    *("#5b8ff9", "#9ac794", "#f2a366", "#c39bd3", "#7fd0d2", "#e88a95", "#d9c36a", "#b8a898"),
)
_ROW_INCHES = 0.22
_SCALES = {Unit.BYTES: ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))}


@dataclass(frozen=True)
class Line:
    """One series of an answer: its labels, and (seconds since 1970, value) pairs."""

    labels: Mapping[str, str]
    values: Sequence[tuple[float, float]]


Answer = Callable[[Panel, Query], Sequence[Line]]
"""Gives a query's answer over the time that the picture shows."""


def draw(board: Board, answer: Answer, start: float, end: float, file: Path) -> None:
    """Draw the board from ``start`` to ``end`` (seconds since 1970) into a PNG file."""
    places = list(placed(board))
    lines = max(place.y + place.height for place in places)
    wide, tall = COLUMNS * _COLUMN_INCHES, lines * _LINE_INCHES + 0.5
    with mpl.rc_context({"font.size": 7, "font.family": "DejaVu Sans", "axes.edgecolor": _FAINT, "text.color": _INK}):
        figure = Figure(figsize=(wide, tall), facecolor=_PAPER)
        figure.text(0.008, 1 - 0.25 / tall, board.title, fontsize=13, weight="bold", va="center")
        for place in places:
            left, top = place.x * _COLUMN_INCHES, tall - 0.5 - place.y * _LINE_INCHES
            if isinstance(place.item, Row):
                figure.text(0.008, (top - 0.2) / tall, place.item.title, fontsize=10, weight="bold", va="center")
                continue
            width, height = place.width * _COLUMN_INCHES - _GAP, place.height * _LINE_INCHES - _GAP
            box = (left / wide, (top - height) / tall, width / wide, height / tall)
            _frame(figure, box, place.item.title)
            _DRAWERS[place.item.look](figure, box, place.item, answer, (start, end))
        file.parent.mkdir(parents=True, exist_ok=True)
        # Without a date in it, the same data gives the same file.
        figure.savefig(file, dpi=80, metadata={"Software": None})


def shown(value: float, unit: Unit) -> str:
    """A value as a person reads it."""
    if not math.isfinite(value):
        return "-"
    if unit is Unit.SHARE:
        return f"{value:.0%}"
    if unit is Unit.YES_NO:
        return "yes" if value else "no"
    if unit is Unit.SECONDS:
        return (
            f"{value * 1000:.3g} ms" if 0 < value < 1 else f"{value:.3g} s" if value < 120 else f"{value / 60:.3g} min"
        )
    if unit is Unit.BYTES:
        size, name = next((pair for pair in _SCALES[unit] if value >= pair[0]), (1, "B"))
        return f"{value / size:.3g} {name}"
    suffix = unit.value.removeprefix("suffix:") if unit.value.startswith("suffix:") else ""
    return f"{value:.3g}{suffix}"


_Box = tuple[float, float, float, float]
_Span = tuple[float, float]


def _frame(figure: Figure, box: _Box, title: str) -> None:
    frame = figure.add_axes(box, facecolor=_PAPER)
    frame.set_xticks([])
    frame.set_yticks([])
    frame.annotate(title, (0, 1), (4, -11), "axes fraction", "offset points", fontsize=8, weight="bold")


def _inside(figure: Figure, box: _Box, *, left: float, bottom: float, right: float, top: float) -> Axes:
    """Axes within a panel's frame; the margins are inches."""
    wide, tall = figure.get_size_inches()
    x, y, width, height = box
    rectangle = (x + left / wide, y + bottom / tall, width - (left + right) / wide, height - (bottom + top) / tall)
    return figure.add_axes(rectangle, facecolor=_PAPER)


def _series(figure: Figure, box: _Box, panel: Panel, answer: Answer, span: _Span) -> None:
    axes = _inside(figure, box, left=0.55, bottom=0.62, right=0.12, top=0.26)
    named: list[tuple[str, Query, Sequence[tuple[float, float]]]] = [
        (_legend(query, line), query, line.values) for query in panel.queries for line in answer(panel, query)
    ]
    if panel.look is not Look.LINES:  # what never happened needs no place in the legend
        named = [entry for entry in named if any(value > 0 for _, value in entry[2])]
    floor: dict[float, float] = {}
    every = sorted({at for _, _, values in named for at, _ in values})
    for number, (name, query, values) in enumerate(named):
        known = {at: value for at, value in values if math.isfinite(value)}
        times = [at - span[0] for at in every]
        colour = MEANING.get(name, _COLOURS[number % len(_COLOURS)])
        if query.limit or panel.look is Look.LINES:
            heights = [known.get(at, math.nan) for at in every]  # a gap stays a gap
            dashes = "--" if query.limit else "-"
            axes.plot(
                times, heights, linewidth=1.1, label=name, color=_LIMIT if query.limit else colour, linestyle=dashes
            )
            continue
        under = [floor.get(at, 0.0) for at in every]
        over = [low + known.get(at, 0.0) for at, low in zip(every, under, strict=True)]
        floor.update(zip(every, over, strict=True))
        if panel.look is Look.STACK:
            axes.fill_between(times, under, over, color=colour, alpha=0.75, linewidth=0, label=name)
        else:
            axes.bar(times, [o - u for o, u in zip(over, under, strict=True)], 1.0, under, color=colour, label=name)
    axes.set_xlim(0, span[1] - span[0])
    axes.set_ylim(bottom=0)
    set_ticks(axes, panel.unit, whole=all(value.is_integer() for _, _, values in named for _, value in values))
    axes.tick_params(length=0, labelsize=6)
    axes.grid(visible=True, color=_FAINT, linewidth=0.4)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s")
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, panel.unit))
    axes.spines[["top", "right"]].set_visible(False)
    if named:
        columns = max(1, min(4, panel.width // 3))
        handles, names = legend_entries(axes, columns * 3)
        axes.legend(
            handles,
            names,
            loc="upper left",
            bbox_to_anchor=(-0.06, -0.13),
            ncols=columns,
            fontsize=5.5,
            frameon=False,
            labelspacing=0.2,
        )


def set_ticks(axes: Axes, unit: Unit, *, whole: bool) -> None:
    """Round numbers in the unit that is written: 32 MiB and not 38.1, 2 min and not 2.67, no half workers."""
    top = axes.get_ylim()[1]
    if unit is Unit.BYTES:
        axes.yaxis.set_major_locator(FixedLocator(_round(top, [2.0**power for power in range(50)])))
    elif unit is Unit.SECONDS and top >= 120:
        steps = [30.0, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400]
        axes.yaxis.set_major_locator(FixedLocator(_round(top, steps)))
    elif whole:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def _round(top: float, steps: Sequence[float]) -> list[float]:
    step = next((step for step in steps if top / step <= 6), steps[-1])
    return [number * step for number in range(int(top / step) + 1)]


def legend_entries(axes: Axes, most: int) -> tuple[list[Artist], list[str]]:
    """The legend's entries that there is room for: those that rise highest."""
    handles, names = axes.get_legend_handles_labels()
    entries = list(zip(handles, names, strict=True))
    if len(entries) > most:
        first = sorted(range(len(entries)), key=lambda number: (-_height(entries[number][0]), number))[: most - 1]
        entries = [entries[number] for number in sorted(first)]
        entries.append((Line2D([], [], linestyle=""), f"and {len(names) - most + 1} more"))
    return [handle for handle, _ in entries], [name if len(name) < 34 else f"{name[:31]}..." for _, name in entries]


def _height(drawn: Any) -> float:
    """How high a curve rises."""
    if isinstance(drawn, Line2D):
        return max((float(value) for value in drawn.get_ydata() if math.isfinite(value)), default=0.0)  # type: ignore[union-attr,arg-type]
    return math.inf  # areas and bars are there only if they have a height


def _stat(figure: Figure, box: _Box, panel: Panel, answer: Answer, span: _Span) -> None:
    values = [pair for line in answer(panel, panel.queries[0]) for pair in line.values if math.isfinite(pair[1])]
    x, y, width, height = box
    value = values[-1][1] if values else math.nan
    figure.text(
        x + width / 2,
        y + height * 0.5,
        shown(value, panel.unit),
        fontsize=19,
        ha="center",
        va="center",
        color=_mood(panel, value),
    )
    if len(values) > 1:
        spark = _inside(figure, box, left=0.04, bottom=0.04, right=0.04, top=panel.height * _LINE_INCHES - 0.5)
        spark.fill_between([at for at, _ in values], [height for _, height in values], color="#3274d9", alpha=0.25)
        spark.set_xlim(*span)
        spark.set_ylim(bottom=0)
        spark.axis("off")


def _mood(panel: Panel, value: float) -> str:
    if panel.bad_from is None:
        return _INK
    return _LIMIT if (value >= panel.bad_from) != panel.bad_below else "#3f8f36"


def _table(figure: Figure, box: _Box, panel: Panel, answer: Answer, span: _Span) -> None:
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for query in panel.queries:
        for line in answer(panel, query):
            key = tuple(line.labels.get(name, "") for name in panel.keys)
            rows.setdefault(key, {})[query.name] = shown(line.values[-1][1], query.unit or panel.unit)
    cells = _merged(panel, rows)
    axes = _inside(figure, box, left=0.1, bottom=0.08, right=0.1, top=0.3)
    axes.axis("off")
    if not cells:
        return
    heads = [*panel.keys, *(query.name for query in panel.queries if not query.hidden)]
    kept = cells[: int((panel.height * _LINE_INCHES - 0.5) / _ROW_INCHES) - 1]
    step = _ROW_INCHES / (panel.height * _LINE_INCHES - _GAP - 0.38)
    weights = [max(len(str(row[column])) for row in [heads, *kept]) + 3 for column in range(len(heads))]
    drawn = axes.table(
        kept,
        colLabels=heads,
        colWidths=[weight / sum(weights) for weight in weights],
        cellLoc="left",
        colLoc="left",
        edges="horizontal",
        bbox=Bbox.from_bounds(0, 1 - step * (len(kept) + 1), 1, step * (len(kept) + 1)),
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(6.5)
    for (row, _), cell in drawn.get_celld().items():
        cell.set_edgecolor(_FAINT)
        cell.set_text_props(weight="bold" if row == 0 else "normal")


def _merged(panel: Panel, rows: Mapping[tuple[str, ...], Mapping[str, str]]) -> list[list[str]]:
    """Rows whose labels do not contradict each other become one, as Grafana's merge does."""
    merged: list[tuple[list[str], dict[str, str]]] = []
    for key, values in sorted(rows.items(), key=lambda entry: (-sum(map(bool, entry[0])), entry[0])):
        for labels, known in merged:
            shared = [(mine, theirs) for mine, theirs in zip(key, labels, strict=True) if mine and theirs]
            if shared and all(mine == theirs for mine, theirs in shared) and not known.keys() & values.keys():
                labels[:] = [mine or theirs for mine, theirs in zip(key, labels, strict=True)]
                known.update(values)
                break
        else:
            merged.append((list(key), dict(values)))
    merged.sort(key=lambda entry: entry[0])
    return [
        [*labels, *(values.get(query.name, "") for query in panel.queries if not query.hidden)]
        for labels, values in merged
    ]


def _legend(query: Query, line: Line) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: line.labels.get(match[1], ""), query.name)


_DRAWERS = {Look.LINES: _series, Look.STACK: _series, Look.BARS: _series, Look.STAT: _stat, Look.TABLE: _table}
