"""``rqk info``: looks at queues and workers, and changes nothing by looking."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from rqk.cli.options import Duration, QueueName, redis_options, setting
from rqk.cli.target import Target

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from rqk.cli.info_lines import Wanted
    from rqk.store.connect import Client
    from rqk.store.snapshot import Snapshot


@click.command(name="info", short_help="Show queues and workers.")
@click.argument("queues", nargs=-1, type=QueueName())
@redis_options
@setting("-S", "--serializer", hidden=True)
@setting("-i", "--interval", type=Duration(0.05), help="Look again so often, until Ctrl-C.")
@setting("-r", "--raw", is_flag=True, help="Plain lines for scripts, as `rq info --raw` has them.")
@setting("-Q", "--only-queues", is_flag=True, help="Only queues.")
@setting("-W", "--only-workers", is_flag=True, help="Only workers.")
@setting("-R", "--by-queue", is_flag=True, help="Workers by the queue they serve.")
@click.option(
    "--json", "as_json", is_flag=True, help="Everything as one JSON object (a line per look with --interval)."
)
def command(target: Target, queues: tuple[str, ...], interval: float | None, as_json: bool, **form: Any) -> None:
    """Show QUEUES and their workers; all of them if none is named. A queue need not exist to be shown.

    Finished and failed counts are as Redis holds them: unlike `rq info`, looking deletes no expired entry.
    """
    from rqk.cli.info_lines import Wanted

    client = target.client()
    wanted = Wanted(
        tuple(dict.fromkeys(queues)),
        queues=form["only_queues"] or not form["only_workers"],
        workers=not form["only_queues"],
        by_queue=form["by_queue"],
        raw=form["raw"],
    )
    if as_json or wanted.raw:
        _plain(client, wanted, interval, as_json=as_json)
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if interval is None or not console.is_terminal:
        _print(console, client, wanted, interval)
    else:
        _redraw(console, _look(client, wanted), client, wanted, interval)


def _look(client: Client, wanted: Wanted) -> Snapshot:
    """A snapshot; of queues that cannot be read it says which key is wrong."""
    from rqk.store import wrong_keys
    from rqk.store.snapshot import snapshot

    seen = snapshot(client, wanted.names or None)
    for name, reason in seen.unreadable.items():
        seen.unreadable[name] = wrong_keys.sentence(client, [name]) or reason
    return seen


def _plain(client: Client, wanted: Wanted, interval: float | None, *, as_json: bool) -> None:
    from rqk import clock
    from rqk.cli.info_lines import lines

    while True:
        seen = _look(client, wanted)
        if as_json:
            click.echo(json.dumps(as_data(seen, wanted.names), indent=None if interval else 2))
        else:
            for line in lines(seen, wanted):
                click.echo("".join(text for text, _ in line))
        if interval is None:
            return
        clock.pause(interval)


def _print(console: Console, client: Client, wanted: Wanted, interval: float | None) -> None:
    from rqk import clock

    while True:
        for line in _drawn(console, _look(client, wanted), wanted):
            console.print(line, soft_wrap=True)
        if interval is None:
            return
        clock.pause(interval)
        console.print()


def _redraw(console: Console, seen: Snapshot, client: Client, wanted: Wanted, interval: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from rqk import clock
    from rqk.errors import StoreUnavailable

    trouble: list[Text] = []
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(Group(*_drawn(console, seen, wanted), *trouble), refresh=True)
            clock.pause(interval)
            try:
                seen, trouble = _look(client, wanted), []
            except StoreUnavailable as error:
                trouble = [Text(f"{error}; looking again in {interval:g} s", style="red")]


def _drawn(console: Console, seen: Snapshot, wanted: Wanted) -> Iterable[Text]:
    from rich.text import Text

    from rqk.cli.info_lines import ASCII, UNICODE, lines

    try:
        (UNICODE.bar + UNICODE.none).encode(console.encoding)
        glyphs = UNICODE
    except UnicodeEncodeError:
        glyphs = ASCII
    return [Text.assemble(*line, no_wrap=True) for line in lines(seen, wanted, glyphs)]


def as_data(seen: Snapshot, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """A snapshot as JSON can hold it: times in ISO 8601, UTC; waits and working time in seconds."""
    from rqk.cli.info_lines import shown_queues, shown_workers

    return {
        "at": datetime.fromtimestamp(seen.at, UTC).isoformat(),
        "suspended": seen.suspended,
        "queues": [_data(queue) for queue in shown_queues(seen, names)],
        "workers": [_data(worker) for worker in shown_workers(seen, names)],
        "unreadable": seen.unreadable,
    }


def _data(record: Any) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in dataclasses.asdict(record).items()
    }
