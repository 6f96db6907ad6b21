"""Pools as people read them: tables like kubectl's, and the explanation of a decision. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

Pool = Mapping[str, Any]

PAUSED = "rqk.dev/paused"
_GAP = 3  # spaces between two columns, as kubectl has it
_SURE = {"True": "yes", "False": "NO", "Unknown": "?"}


def is_paused(pool: Pool) -> bool:
    """By annotation or by spec."""
    return noted_paused(pool) or bool(pool["spec"].get("scaling", {}).get("paused"))


def noted_paused(pool: Pool) -> bool:
    """By the annotation, whose value ``false`` means no."""
    note = (pool["metadata"].get("annotations") or {}).get(PAUSED)
    return note is not None and note.lower() != "false"


def age(then: str | None, now: datetime) -> str:
    """As kubectl shows it: ``45s``, ``12m``, ``5h``, ``3d``."""
    if not then:
        return "<unknown>"
    seconds = max(0, int((now - datetime.fromisoformat(then)).total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 2 * 3600:
        return f"{seconds // 60}m"
    return f"{seconds // 3600}h" if seconds < 2 * 86_400 else f"{seconds // 86_400}d"


def span(seconds: object) -> str:
    """A wait, short."""
    if not isinstance(seconds, (int, float)):
        return ""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def condition(pool: Pool, kind: str) -> Mapping[str, Any]:
    """One condition; empty if there is none of this type."""
    rows = (pool.get("status") or {}).get("conditions") or ()
    return next((row for row in rows if row["type"] == kind), {})


def _status(pool: Pool) -> Mapping[str, Any]:
    return pool.get("status") or {}


def _decision(pool: Pool) -> Mapping[str, Any]:
    return _status(pool).get("lastDecision") or {}


def _shown(value: object) -> str:
    return "" if value is None else str(value)


Column = Callable[[Pool, datetime], str]
_COLUMNS: dict[str, Column] = {
    "NAME": lambda pool, now: str(pool["metadata"]["name"]),
    "QUEUES": lambda pool, now: ",".join(pool["spec"].get("queues", ())),
    "DEPTH": lambda pool, now: _shown(_status(pool).get("depth")),
    "WAIT": lambda pool, now: span(_status(pool).get("oldestWaitSeconds")),
    "BUSY": lambda pool, now: _shown(_status(pool).get("busyWorkers")),
    "READY": lambda pool, now: _shown(_status(pool).get("readyReplicas")),
    "DESIRED": lambda pool, now: _shown(_status(pool).get("desiredReplicas")),
    "REASON": lambda pool, now: _decision(pool).get("reason", ""),
    "AGE": lambda pool, now: age(pool["metadata"].get("creationTimestamp"), now),
}
_WIDE: dict[str, Column] = {
    "MIN": lambda pool, now: str(pool["spec"]["scaling"].get("minReplicas", 0)),
    "MAX": lambda pool, now: _shown(pool["spec"]["scaling"].get("maxReplicas")),
    "MANUAL": lambda pool, now: _shown(pool["spec"].get("replicas")),
    "PAUSED": lambda pool, now: "yes" if is_paused(pool) else "",
    "REDIS": lambda pool, now: condition(pool, "RedisReachable").get("status", ""),
    "MESSAGE": lambda pool, now: _decision(pool).get("message", ""),
}


class Table:
    """A table that may go on: rows that come later keep the widths of the first ones, as far as they fit."""

    def __init__(self, *, wide: bool = False, everywhere: bool = False, headers: bool = True) -> None:
        namespace: dict[str, Column] = {"NAMESPACE": lambda pool, now: str(pool["metadata"]["namespace"])}
        self._columns = {**(namespace if everywhere else {}), **_COLUMNS, **(_WIDE if wide else {})}
        self._headers = headers
        self._widths: list[int] = []

    def lines(self, pools: Sequence[Pool], now: datetime) -> Iterator[str]:
        """Lines for these pools; the header comes with the first ones."""
        rows = [[cell(pool, now) or "-" for cell in self._columns.values()] for pool in pools]
        if not self._widths:
            heads = [list(self._columns)] if self._headers else []
            rows = [*heads, *rows]
            self._widths = [max(len(row[index]) for row in rows) for index in range(len(self._columns))] if rows else []
        for row in rows:
            padded = [cell.ljust(width + _GAP) for cell, width in zip(row, self._widths, strict=True)]
            yield "".join(padded).rstrip()


def explain(pool: Pool, now: datetime) -> Iterator[str]:
    """Numbers, targets, the last decision with its inputs, what holds the pool, and conditions."""
    spec, status, decision = pool["spec"], _status(pool), _decision(pool)
    metadata = pool["metadata"]
    yield f"Pool {metadata.get('namespace', '')}/{metadata['name']}, made {age(metadata.get('creationTimestamp'), now)} ago"
    if not status:
        yield "The operator has reported nothing about it: is it running, and does it serve this namespace?"
        return
    yield ""
    yield f"  wanted   {_count(decision.get('replicas'))}"
    yield (
        f"  there    {_count(status.get('replicas'))}: {_shown(status.get('busyWorkers')) or '?'} busy, "
        f"{_shown(status.get('idleWorkers')) or '?'} idle, {status.get('retiringWorkers') or 0} retiring; "
        f"{status.get('readyReplicas') or 0} ready"
    )
    scaled = status.get("lastScaleTime")
    yield f"  changed  {age(scaled, now) + ' ago' if scaled else 'never'}"
    yield from _why(decision, now)
    yield from _queues(status)
    yield from _settings(spec)
    yield from _held(pool)
    yield from _conditions(status, now)


def _count(number: object) -> str:
    return f"{number} worker{'' if number == 1 else 's'}" if isinstance(number, int) else "not known"


def _why(decision: Mapping[str, Any], now: datetime) -> Iterator[str]:
    yield ""
    if not decision:
        yield "Nothing was decided yet."
        return
    yield f"Why: {decision['reason']}, for {age(decision.get('at'), now)}"
    yield f"  {decision['message']}"
    inputs = decision.get("inputs") or {}
    width = max((len(name) for name in inputs), default=0)
    yield from (f"  {name.ljust(width)}  {value}" for name, value in inputs.items())


def _queues(status: Mapping[str, Any]) -> Iterator[str]:
    rows = status.get("queues") or ()
    width = max((len(row["name"]) for row in rows), default=0)
    yield ""
    yield "Queues, the first one first"
    for row in rows:
        depth = row.get("depth")
        waits = f", the first for {span(row['oldestWaitSeconds'])}" if row.get("oldestWaitSeconds") is not None else ""
        yield f"  {row['name'].ljust(width)}  {'could not be read' if depth is None else f'{depth} waiting{waits}'}"


def _settings(spec: Mapping[str, Any]) -> Iterator[str]:
    scaling = spec["scaling"]
    down = scaling.get("scaleDown") or {}
    targets = [f"{name} {scaling[name]}" for name in ("targetDepthPerWorker", "targetWaitSeconds") if scaling.get(name)]
    step = (scaling.get("scaleUp") or {}).get("maxPerTick")
    yield ""
    yield f"Targets: {' and '.join(targets)}; from {scaling.get('minReplicas', 0)} to {scaling.get('maxReplicas', '?')} workers"
    yield f"  up    {f'{step} a second (scaleUp.maxPerTick)' if step else 'at once'}"
    yield (
        f"  down  after {down.get('stabilizationSeconds', '?')} s with less to do, "
        f"the last one after {down.get('toZeroAfterSeconds', '?')} s with nothing to do; never a busy one"
    )


def _held(pool: Pool) -> Iterator[str]:
    spec = pool["spec"]
    if spec.get("replicas") is not None:
        undo = f'kubectl patch rqwp {pool["metadata"]["name"]} --type merge -p \'{{"spec":{{"replicas":null}}}}\''
        yield f"Held: set by hand to {spec['replicas']}; to scale by the queues again: {undo}"
    if noted_paused(pool):
        yield f"Held: paused; to go on: kubectl rqk resume {pool['metadata']['name']}"
    if spec["scaling"].get("paused"):
        yield "Held: spec.scaling.paused is true"
    if spec["scaling"].get("dryRun"):
        yield "Held: spec.scaling.dryRun is true: decisions are shown, not carried out"


def _conditions(status: Mapping[str, Any], now: datetime) -> Iterator[str]:
    rows = status.get("conditions") or ()
    width = max((len(row["type"]) for row in rows), default=0)
    yield ""
    for row in rows:
        since = age(row.get("lastTransitionTime"), now)
        yield f"{row['type'].ljust(width)}  {_SURE[row['status']]:3}  {row['reason']}, for {since}: {row.get('message', '')}"
