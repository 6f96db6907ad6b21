"""What ``rqk info`` says of a snapshot, in the formats of ``rq info``. Pure: a line is a list of (text, style)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rqk.store.snapshot import QueueSnapshot, Snapshot, WorkerSnapshot

Line = list[tuple[str, str]]

BAR_WIDTH = 20
NAME_WIDTH = 12
_SCALES = (20, 50, 100, 200, 400, 600, 800, 1000)
_STATES = {"busy": "green", "idle": "cyan", "started": "yellow", "suspended": "magenta"}


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What the terminal can show."""

    bar: str = "█"
    none: str = "–"  # noqa: RUF001 - as rq info has it


UNICODE = Glyphs()
ASCII = Glyphs("#", "-")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which parts, and in which form. ``names``: queues asked for by name; empty means all."""

    names: tuple[str, ...] = ()
    queues: bool = True
    workers: bool = True
    by_queue: bool = False
    raw: bool = False


def lines(seen: Snapshot, wanted: Wanted, glyphs: Glyphs = UNICODE) -> Iterator[Line]:
    """All lines, in order."""
    workers = shown_workers(seen, wanted.names)
    both = wanted.queues and wanted.workers and not wanted.raw
    if wanted.queues:
        yield from _queues(seen, wanted, glyphs)
    if both:
        yield []
    if wanted.workers:
        yield from _workers(seen, workers, wanted, glyphs)
    if both:
        if seen.suspended:
            yield []
            yield [("Suspended: no job is started until `rqk resume`.", "bold magenta")]
        yield []
        yield [(f"Updated: {datetime.fromtimestamp(seen.at, UTC).astimezone().replace(tzinfo=None)}", "dim")]


def shown_workers(seen: Snapshot, names: Sequence[str]) -> list[WorkerSnapshot]:
    """Workers of the queues asked for, or all."""
    return [worker for worker in seen.workers if not names or set(worker.queues) & set(names)]


def shown_queues(seen: Snapshot, names: Sequence[str]) -> list[QueueSnapshot]:
    """Queues in the order asked for, or all by name. Those that cannot be read are left out."""
    order = dict.fromkeys(names) or seen.queues
    return [seen.queues[name] for name in order if name in seen.queues]


def _queues(seen: Snapshot, wanted: Wanted, glyphs: Glyphs) -> Iterator[Line]:
    queues = shown_queues(seen, wanted.names)
    largest = max((queue.queued for queue in queues), default=0)
    scale = next((size for size in _SCALES if size >= largest), largest)
    for queue in queues:
        counts = f"{queue.queued}, {queue.started} executing, {queue.finished} finished, "
        failed = (f"{queue.failed} failed", "red" if queue.failed else "")
        if wanted.raw:
            yield [(f"queue {queue.name} {counts}{failed[0]}", "")]
        else:
            # The smallest backlog is still seen.
            width = (
                -(-queue.queued * BAR_WIDTH // scale)
                if queue.queued * BAR_WIDTH < scale
                else queue.queued * BAR_WIDTH // scale
            )
            yield [
                (f"{queue.name:<{NAME_WIDTH}}", "bold"),
                (" |", "dim"),
                (glyphs.bar * width, "blue"),
                (f" {counts}", ""),
                failed,
            ]
    for name, reason in seen.unreadable.items():
        yield [(f"queue {name} cannot be read: {reason}", "red")]
    if not wanted.raw:
        yield [(f"{len(queues)} queues, {sum(queue.queued for queue in queues)} jobs total", "")]


def _workers(seen: Snapshot, workers: Sequence[WorkerSnapshot], wanted: Wanted, glyphs: Glyphs) -> Iterator[Line]:
    named = [queue.name for queue in shown_queues(seen, wanted.names)]
    if wanted.by_queue:
        served = named if wanted.names else sorted({*named, *(name for worker in workers for name in worker.queues)})
        yield from _by_queue(workers, served, glyphs)
    else:
        for worker in workers:
            yield _worker(worker, raw=wanted.raw)
    if not wanted.raw:
        yield [(f"{len(workers)} workers, {len(named)} queues", "")]


def _worker(worker: WorkerSnapshot, *, raw: bool) -> Line:
    place = f"({_known(worker.hostname)} {_known(worker.ip_address)} {_known(worker.pid)})"
    counts = f"{', '.join(worker.queues)}. jobs: {worker.successful} finished, {worker.failed} failed"
    if raw:
        return [(f"worker {worker.name} {place} {worker.state} {counts}", "")]
    state = [(worker.state, _STATES.get(worker.state, ""))] + ([(" retiring", "magenta")] if worker.retiring else [])
    return [(worker.name, "bold"), (f" {place}: ", "dim"), *state, (f" {counts}", "")]


def _by_queue(workers: Sequence[WorkerSnapshot], names: Sequence[str], glyphs: Glyphs) -> Iterator[Line]:
    width = max((len(name) for name in names), default=0) + 1
    for name in names:
        serving = sorted(f"{worker.name} ({worker.state})" for worker in workers if name in worker.queues)
        yield [(f"{name + ':':<{width}} ", "bold"), (", ".join(serving) or glyphs.none, "")]


def _known(value: object) -> str:
    return "?" if value is None else str(value)
