"""``python -m benchmarks``: measure, print, and on request check the targets or write docs/benchmarks.md."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median, quantiles

import click
from rich.console import Console

from benchmarks import measures, report
from benchmarks.sides import Side, all_sides
from tests.support.server import Server


@dataclass(frozen=True)
class Size:
    """How much to measure."""

    rounds: int
    forked: int
    recycled: int
    rq_forked: int
    rq_simple: int
    enqueue: int
    latency: int
    idle_seconds: float


FULL = Size(5, 2000, 8000, 300, 1000, 2000, 200, 10.0)
QUICK = Size(1, 800, 4000, 120, 400, 1000, 60, 2.0)


def throughputs(server: Server, sides: dict[str, Side], size: Size, say: Console) -> dict[str, measures.Throughput]:
    """The median run of each worker, the sides taking turns."""
    jobs = {
        "rqk forked": size.forked,
        "rq forked": size.rq_forked,
        "rqk recycled": size.recycled,
        "rq simple": size.rq_simple,
    }
    runs: dict[str, list[measures.Throughput]] = defaultdict(list)
    for number in range(size.rounds):
        for name, count in jobs.items():
            run = measures.throughput(server, sides[name], count)
            runs[name].append(run)
            say.print(f"[dim]round {number + 1}: {sides[name].name}: {run.jobs_per_second:,.0f} jobs/s[/dim]")
    return {name: sorted(found, key=lambda run: run.jobs_per_second)[len(found) // 2] for name, found in runs.items()}


def measure(server: Server, version: str, size: Size, say: Console) -> list[report.Row]:
    """Everything, in the order of the table."""
    sides = all_sides(version)
    ours, theirs = sides["rqk forked"], sides["rq forked"]
    speed = throughputs(server, sides, size, say)

    rates: dict[str, list[tuple[float, float]]] = defaultdict(list)
    waits: dict[str, list[float]] = defaultdict(list)
    for _ in range(2 * size.rounds):  # they are quick, and vary
        for side in (ours, theirs):
            rates[side.module].append(measures.enqueue_rates(server, side, size.enqueue))
    for _ in range(2):
        for side in (ours, theirs):
            waits[side.module] += measures.latencies(server, side, size.latency // 2)
    say.print("[dim]enqueue and latency done, watching idle workers[/dim]")
    one_queue = {side.module: measures.idle(server, side, size.idle_seconds, 1) for side in (ours, theirs)}
    three_queues = {side.module: measures.idle(server, side, size.idle_seconds, 3) for side in (ours, theirs)}

    def percentile(module: str, percent: int) -> float:
        return 1000 * quantiles(waits[module], n=100, method="inclusive")[percent - 1]

    def rate(module: str, at: int) -> float:
        return median(found[at] for found in rates[module])

    forked, recycled, worker, simple = (
        speed[name] for name in ("rqk forked", "rqk recycled", "rq forked", "rq simple")
    )
    row = report.Row
    return [
        row(
            "a fork per job, against RQ's Worker", "jobs/s", forked.jobs_per_second, worker.jobs_per_second, target=7.5
        ),
        row(
            "recycled horse, against RQ's SimpleWorker",
            "jobs/s",
            recycled.jobs_per_second,
            simple.jobs_per_second,
            target=10,
        ),
        row("enqueue, one by one", "jobs/s", rate("rqk", 0), rate("rq", 0), target=2),
        row("enqueue, many at once", "jobs/s", rate("rqk", 1), rate("rq", 1), target=2),
        *(
            row(
                f"enqueue to result, p{percent}",
                "ms",
                percentile("rqk", percent),
                percentile("rq", percent),
                less_is_better=True,
                target=5 if percent == 50 else None,
            )
            for percent in (50, 95, 99)
        ),
        row("round trips a job, a fork per job", "", forked.round_trips, worker.round_trips, True, 2, absolute=True),
        row("round trips a job, recycled", "", recycled.round_trips, simple.round_trips, True, 2, absolute=True),
        row("commands a job in the server", "", forked.commands, worker.commands, True),
        row("memory after the run (PSS, all processes)", "MiB", forked.pss_mib, worker.pss_mib, True),
        row("idle, memory", "MiB", one_queue["rqk"].pss_mib, one_queue["rq"].pss_mib, True),
        row("idle on one queue, CPU", "%", one_queue["rqk"].cpu_percent, one_queue["rq"].cpu_percent, True),
        row(
            "idle on one queue, commands",
            "/s",
            one_queue["rqk"].commands_per_second,
            one_queue["rq"].commands_per_second,
            True,
        ),
        row("idle on three queues, CPU", "%", three_queues["rqk"].cpu_percent, three_queues["rq"].cpu_percent, True),
        row(
            "idle on three queues, commands",
            "/s",
            three_queues["rqk"].commands_per_second,
            three_queues["rq"].commands_per_second,
            True,
        ),
    ]


@click.command()
@click.option("--quick", is_flag=True, help="Less of everything: under a minute, rougher figures.")
@click.option("--check", is_flag=True, help="Exit with 1 if a target is missed.")
@click.option("--write", "write_document", is_flag=True, help="Put the table into docs/benchmarks.md.")
@click.option("--rq", "version", default="3.0.0", type=click.Choice(["3.0.0", "2.12.0"]), show_default=True)
def main(quick: bool, check: bool, write_document: bool, version: str) -> None:
    """Compare rqk with real RQ on one embedded server, in one run."""
    console = Console()
    began = time.monotonic()
    with Server() as server:
        rows = measure(server, version, QUICK if quick else FULL, console)
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    title = f"rqk and rq {version} on {report.machine()}; {when}; median of {(QUICK if quick else FULL).rounds} rounds."
    report.show(rows, title, console)
    console.print(f"took {time.monotonic() - began:.0f} s")
    if write_document:
        report.write(report.DOCUMENT, report.markdown(rows, title))
        console.print(f"written to {report.DOCUMENT.name}")
    missed = [row.what for row in rows if row.met is False]
    if missed:
        console.print(f"missed: {', '.join(missed)}")
    sys.exit(1 if check and missed else 0)


if __name__ == "__main__":
    main()
