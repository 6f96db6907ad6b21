"""From figures to a table, ratios and a verdict."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
WORKER = "<!-- figures: written by python -m benchmarks --write -->"
OPERATOR = "<!-- figures: written by python -m benchmarks.bench_operator --write -->"
MARK_END = "<!-- end of figures -->"


@dataclass(frozen=True)
class Row:
    """One line: what was measured, both sides, and what is asked of us.

    ``ratio`` is ours over theirs, or theirs over ours where less is better. ``target`` is the least ratio, or, where
    there is no ratio, the most that ours may be. Without a target the row only informs.
    """

    what: str
    unit: str
    ours: float
    theirs: float | None
    less_is_better: bool = False
    target: float | None = None
    absolute: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times better ours is."""
        if self.theirs is None or self.absolute or not self.ours or not self.theirs:
            return None
        return self.theirs / self.ours if self.less_is_better else self.ours / self.theirs

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        if self.absolute:
            return self.ours <= self.target
        return self.ratio is not None and self.ratio >= self.target

    def cells(self) -> list[str]:
        """The line's cells as text."""
        target = ""
        if self.target is not None:
            target = f"≤ {self.target:g} {self.unit}".strip() if self.absolute else f"≥ {self.target:g} x"
        return [
            self.what,
            _figure(self.ours, self.unit),
            "" if self.theirs is None else _figure(self.theirs, self.unit),
            "" if self.ratio is None else f"{self.ratio:.1f} x",
            target,
            {None: "", True: "met", False: "MISSED"}[self.met],
        ]


def _figure(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def machine() -> str:
    """What the figures were measured on, in one line."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    # The processors this process may use, which in a container are fewer than the machine's.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores of {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def show(rows: list[Row], title: str, console: Console) -> None:
    """Print the table."""
    table = Table(title=title, title_justify="left")
    for name in ("", "rqk", "RQ", "ratio", "target", ""):
        table.add_column(name, justify="left" if not name else "right")
    for row in rows:
        cells = row.cells()
        table.add_row(*cells, style="bold red" if row.met is False else None)
    console.print(table)


def markdown(rows: list[Row], title: str) -> str:
    """The table for docs/benchmarks.md."""
    lines = [f"{title}\n", "| | rqk | RQ | ratio | target | |", "|---|---:|---:|---:|---:|---|"]
    lines += [f"| {' | '.join(row.cells())} |" for row in rows]
    return "\n".join(lines)


def write(path: Path, text: str, begin: str = WORKER) -> None:
    """Put the table between the marks of a document."""
    document = path.read_text()
    head, _, rest = document.partition(begin)
    _, _, tail = rest.partition(MARK_END)
    if not rest or not tail:
        raise ValueError(f"{path} lacks the lines {begin!r} and {MARK_END!r}")
    path.write_text(f"{head}{begin}\n{text}\n{MARK_END}{tail}")
