"""The live view: plain data in, something that rich can draw out. Nothing here looks at a clock or at Redis."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rqk.autoscale.retire import Duty
from rqk.local.state import PoolState, QueueState, Summary, UpState, WorkerState

BAR_WIDTH = 30
NOTES_SHOWN = 6
_LEVELS = "▁▂▃▄▅▆▇█"
_GLYPHS = {
    Duty.BUSY: ("■", "green"),
    Duty.IDLE: ("□", "cyan"),
    Duty.STARTING: ("◌", "yellow"),
    Duty.RETIRING: ("▽", "magenta"),
    Duty.BROKEN: ("✗", "red"),
}
_LEAVING = ("▽", "magenta")


def view(state: UpState) -> RenderableType:
    """The whole screen."""
    longest = max((queue.waiting or 0 for pool in state.pools for queue in pool.queues), default=0)
    parts: list[RenderableType] = [_headline(state)]
    parts += [_pool(pool, longest) for pool in state.pools]
    if state.notes:
        lines = Text("\n".join(state.notes[-NOTES_SHOWN:]), style="dim", no_wrap=True, overflow="ellipsis")
        parts.append(lines)
    return Group(*parts)


def summary_lines(summary: Summary) -> list[str]:
    """The closing words."""
    waits = "no job was waited for"
    if summary.wait_p50 is not None and summary.wait_p95 is not None:
        waits = f"waits: half below {seconds(summary.wait_p50)}, 95% below {seconds(summary.wait_p95)}"
    crashed = f", {summary.crashes} workers crashed" if summary.crashes else ""
    return [
        f"{summary.jobs} jobs in {seconds(summary.seconds)}, {summary.failures} of them failed; {waits}",
        f"at most {summary.peak_workers} workers at a time{crashed}",
    ]


def seconds(value: float) -> str:
    """A duration as a person would say it: ``12 ms``, ``3.4 s``, ``5:07``, ``2:03:04``."""
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 99.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def sparkline(values: Sequence[int], top: int) -> str:
    """Small columns, ``top`` being the full height; zero is blank."""
    if top <= 0:
        return " " * len(values)
    steps = (min(len(_LEVELS), -(-value * len(_LEVELS) // top)) for value in values)
    return "".join(_LEVELS[step - 1] if step > 0 else " " for step in steps)


def _headline(state: UpState) -> Text:
    summary = state.summary
    line = Text.assemble(("rqk up", "bold"), f"  {seconds(summary.seconds)}  ", (f"{summary.jobs} jobs", "bold"))
    line.append(f"  {state.rate:.1f}/s")
    line.append(f"  {summary.failures} failed", style="red" if summary.failures else "dim")
    if summary.wait_p50 is not None and summary.wait_p95 is not None:
        line.append(f"  wait p50 {seconds(summary.wait_p50)}, p95 {seconds(summary.wait_p95)}")
    line.append(f"  most workers {summary.peak_workers}")
    if summary.crashes:
        line.append(f"  {summary.crashes} crashed", style="red")
    if state.stopping and any(pool.workers for pool in state.pools):
        line.append("\nstopping: jobs in hand are finished; Ctrl-C once more puts them back", style="yellow")
    elif state.stopping:
        line.append("  stopped", style="yellow")
    return line


def _pool(pool: PoolState, longest: int) -> Panel:
    title = f"[bold]{escape(pool.name)}[/]  [dim]{escape(pool.redis)}[/]"
    parts: list[RenderableType] = [_queues(pool.queues, longest), _crew(pool), _decision(pool)]
    if pool.trouble:
        parts.append(Text(pool.trouble, style="red"))
    return Panel(Group(*parts), title=title, title_align="left", border_style="red" if pool.trouble else "dim")


def _queues(queues: Sequence[QueueState], longest: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("queue")
    table.add_column("waiting", min_width=BAR_WIDTH + 6)
    for name in ("running", "finished", "failed", "oldest"):
        table.add_column(name, justify="right")
    for queue in queues:
        oldest = seconds(queue.oldest_wait) if queue.oldest_wait is not None else ""
        failed = Text(_count(queue.failed), style="red" if queue.failed else "")
        table.add_row(
            Text(queue.name),
            _bar(queue.waiting, longest),
            _count(queue.running),
            _count(queue.finished),
            failed,
            oldest,
        )
    return table


def _bar(waiting: int | None, longest: int) -> Text:
    if waiting is None:
        return Text("unknown", style="red")
    width = -(-waiting * BAR_WIDTH // longest) if longest else 0
    return Text.assemble(("█" * width, "blue"), " " if width else "", str(waiting))


def _count(value: int | None) -> str:
    return "?" if value is None else str(value)


def _crew(pool: PoolState) -> Text:
    line = Text("workers  ")
    for worker in pool.workers:
        line.append(*_glyph(worker))
    counts = {
        "busy": sum(1 for worker in pool.workers if worker.duty is Duty.BUSY),
        "idle": sum(1 for worker in pool.workers if worker.duty is Duty.IDLE and not worker.leaving),
        "starting": sum(1 for worker in pool.workers if worker.duty is Duty.STARTING and not worker.leaving),
        "leaving": sum(1 for worker in pool.workers if worker.leaving),
    }
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"
    line.append(f"{'  ' if pool.workers else ''}{said} (most {pool.max_replicas})")
    if pool.sizes:
        line.append(f"   {sparkline(pool.sizes, max(pool.sizes))}", style="green")
    return line


def _glyph(worker: WorkerState) -> tuple[str, str]:
    return _LEAVING if worker.leaving and worker.duty is not Duty.BUSY else _GLYPHS[worker.duty]


def _decision(pool: PoolState) -> Text:
    if not pool.reason:
        return Text("deciding", style="dim")
    line = Text.assemble("wanted   ", (str(pool.desired), "bold"), f"  {pool.reason}", style="")
    line.append(f"  {pool.message}", style="dim")
    if pool.dry_run:
        line.append("  (dryRun: nothing is done)", style="yellow")
    return line
