"""What ``rqk pool top`` draws. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rqk.cli.pools_text import condition, is_paused, span

Pool = Mapping[str, Any]
_BAR = 20  # characters for the largest pool


def screen(pools: Sequence[Pool], now: datetime, *, everywhere: bool = False) -> RenderableType:
    """A line of totals and a row for each pool, those with the longest wait and the most to do first."""
    rows = sorted(pools, key=_weight, reverse=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    if everywhere:
        table.add_column("NAMESPACE", no_wrap=True, min_width=9)
    table.add_column("POOL", no_wrap=True, min_width=max((len(pool["metadata"]["name"]) for pool in rows), default=4))
    for name in ("DEPTH", "WAIT"):
        table.add_column(name, justify="right", no_wrap=True, min_width=5)
    table.add_column("WORKERS", no_wrap=True, min_width=7)
    table.add_column("DESIRED", justify="right", no_wrap=True, min_width=7)
    # The only column that may be narrowed, so that the numbers keep their width; its text is cut by itself.
    table.add_column("WHY")
    largest = max((_number(pool, "replicas") for pool in rows), default=0)
    for pool in rows:
        status = pool.get("status") or {}
        wait = status.get("oldestWaitSeconds")
        target = pool["spec"]["scaling"].get("targetWaitSeconds")
        late = target is not None and wait is not None and wait > target
        table.add_row(
            *([pool["metadata"]["namespace"]] if everywhere else []),
            pool["metadata"]["name"],
            str(status.get("depth", "-")),
            Text(span(wait) or "-", style="red" if late else ""),
            _workers(pool, largest),
            str(status.get("desiredReplicas", "-")),
            _why(pool),
        )
    return Group(_totals(pools, now), Text(), table)


def _totals(pools: Sequence[Pool], now: datetime) -> Text:
    replicas = sum(_number(pool, "replicas") for pool in pools)
    busy = sum(_number(pool, "busyWorkers") for pool in pools)
    depth = sum(_number(pool, "depth") for pool in pools)
    plural = "" if len(pools) == 1 else "s"
    return Text(f"{now:%H:%M:%S}  {len(pools)} pool{plural}, {depth} jobs waiting, {replicas} workers, {busy} busy")


def _number(pool: Pool, name: str) -> int:
    return int((pool.get("status") or {}).get(name) or 0)


def _weight(pool: Pool) -> tuple[int, int, int]:
    return _number(pool, "oldestWaitSeconds"), _number(pool, "depth"), _number(pool, "replicas")


def _workers(pool: Pool, largest: int) -> Text:
    """Busy, idle and not yet ready ones as a bar, and as ``busy/ready/all``."""
    there, busy, ready = (_number(pool, name) for name in ("replicas", "busyWorkers", "readyReplicas"))
    scale = min(1.0, _BAR / largest) if largest else 1.0
    marks = [round(number * scale) for number in (min(busy, there), max(ready, busy), there)]
    text = Text()
    text.append("█" * marks[0], style="green")
    text.append("▒" * max(0, marks[1] - marks[0]), style="cyan")
    text.append("░" * max(0, marks[2] - max(marks[:2])), style="dim")
    return text.append(f" {busy}/{ready}/{there}")


def _why(pool: Pool) -> Text:
    redis, ready = condition(pool, "RedisReachable"), condition(pool, "Ready")
    for trouble in (redis, ready):
        if trouble.get("status") == "False":
            return Text(
                f"{trouble['reason']}: {trouble.get('message', '')}", style="red", no_wrap=True, overflow="ellipsis"
            )
    decision = (pool.get("status") or {}).get("lastDecision") or {}
    style = "yellow" if is_paused(pool) else ""
    return Text(
        f"{decision.get('reason', '')}  {decision.get('message', '')}".strip(),
        style=style,
        no_wrap=True,
        overflow="ellipsis",
    )
