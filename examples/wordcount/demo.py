"""The demo: ``python -m examples.wordcount.demo``, from the top of the repository. Takes about half a minute.

A Valkey is started, and the pool of ``examples/pools/wordcount.yaml`` is run as ``rqk up`` runs it: no worker at
first. Then work arrives in bursts, workers come, and go again when there is nothing left to do. Every result is checked
against a count made without the queue. Exit code 0: all of them are right, and the pool went from zero back to zero;
1: they are not, or it did not; 130: interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from examples.wordcount.corpus import pages
from examples.wordcount.crowd import Crowd
from examples.wordcount.site import Site
from rqk import logs
from rqk.autoscale.manifest import load_pools
from rqk.local.state import UpState
from rqk.local.up import run
from rqk.local.view import seconds

MANIFEST = Path(__file__).parents[1] / "pools" / "wordcount.yaml"
GIVE_UP_S = 55.0
TELL_S = 2.0  # between lines, where nothing can be drawn


class Watch:
    """Looks at the pool after each tick, and says when it is over."""

    def __init__(self, console: Console) -> None:
        self.crowd: Crowd | None = None
        self.over = False  # by itself, not because someone pressed Ctrl-C
        self.began_empty: bool | None = None
        self.ended_empty = False
        self._console = console
        self._told_s = -TELL_S

    def __call__(self, state: UpState) -> bool:
        """Whether the pool may stop."""
        if self.crowd is None:
            return False
        if self.began_empty is None:
            self.began_empty = state.size == 0
        if not self._console.is_terminal:
            self._tell(state, self.crowd)
        finished = self.crowd.done.is_set()
        self.ended_empty = finished and state.at_rest
        self.over = self.ended_empty or state.summary.seconds > GIVE_UP_S or (finished and self.crowd.error is not None)
        return self.over

    def _tell(self, state: UpState, crowd: Crowd) -> None:
        if state.summary.seconds - self._told_s < TELL_S:
            return
        self._told_s = state.summary.seconds
        waiting = sum(queue.waiting or 0 for pool in state.pools for queue in pool.queues)
        self._console.print(
            f"{seconds(state.summary.seconds):>7}  {state.size} workers  {crowd.enqueued} pages enqueued  "
            f"{waiting} waiting  {state.summary.jobs} done  {state.rate:.0f}/s"
        )


def main() -> int:
    """Run it all, and return the exit code."""
    console = Console(highlight=False)
    watch = Watch(console)
    # What workers say is not the point here, and a proxy cannot reach our loopback.
    os.environ["RQK_QUIET"] = "1"
    os.environ["no_proxy"] = "127.0.0.1"
    logs.setup("INFO", "%(message)s")
    texts = pages()
    expected = {path: len(text.split()) for path, text in texts.items()}
    console.print(
        f"{len(texts)} pages of Python's own documentation, {sum(expected.values()):,} words; no worker runs yet."
    )
    with Site(texts) as site:

        def begin(urls: Mapping[str, str]) -> None:
            watch.crowd = Crowd(next(iter(urls.values())), [site.url + path for path in mixed(texts)])
            watch.crowd.start()

        pools = load_pools(MANIFEST.read_text(encoding="utf-8"), MANIFEST.name)
        summary = run(pools, embedded=True, stop_when=watch, on_ready=begin, console=console)
    crowd = watch.crowd
    if crowd is None or not watch.over:
        if crowd is not None:
            crowd.leave()
        console.print("Interrupted; all processes are gone.")
        return 130
    crowd.leave()
    return report(
        console, watch, crowd, {site.url + path: count for path, count in expected.items()}, summary.peak_workers
    )


def mixed(texts: Mapping[str, str]) -> list[str]:
    """The paths in an order that takes long and short pages from all over; the same one each time."""
    paths = sorted(texts)
    return [paths[start] for first in range(7) for start in range(first, len(paths), 7)]


def report(console: Console, watch: Watch, crowd: Crowd, expected: Mapping[str, int], peak: int) -> int:
    """Say how it went; 0 only if everything is right."""
    outcome = crowd.outcome
    wrong = {url: count for url, count in outcome.counts.items() if count != expected[url]}
    missing = len(expected) - len(outcome.counts) - len(outcome.failures)
    waits = sorted(outcome.waits)
    scaled = f"{'0' if watch.began_empty else '?'} → {peak} → {'0' if watch.ended_empty else '?'}"
    good = not wrong and not missing and not outcome.failures and watch.ended_empty and watch.began_empty and peak > 0
    rows = [
        ("words", f"{sum(outcome.counts.values()):,} counted by the queue, {sum(expected.values()):,} without it"),
        (
            "jobs",
            f"{len(outcome.counts)} finished, {len(outcome.failures)} failed, {missing} missing, {len(wrong)} wrong",
        ),
        ("waits", _waits(waits)),
        ("workers", f"{scaled} (at most {peak} at a time)"),
    ]
    console.print()
    for name, told in rows:
        console.print(f"[bold]{name:<8}[/] {told}")
    if crowd.error is not None:
        console.print(f"[red]stopped early[/]: {crowd.error}", soft_wrap=True)
    for url, why in list(outcome.failures.items())[:3]:
        console.print(f"[red]failed[/]   {url}: {why}", soft_wrap=True)
    console.print(
        "[green]Every count is right, and the pool is back at zero.[/]" if good else "[red]This did not work.[/]"
    )
    return 0 if good else 1


def _waits(waits: list[float]) -> str:
    if not waits:
        return "no job was started"
    p50, p95 = waits[len(waits) // 2], waits[min(len(waits) - 1, len(waits) * 95 // 100)]
    return f"half below {seconds(p50)}, 95% below {seconds(p95)}, from enqueue to start"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before the pool took over the signals
        sys.exit(130)
