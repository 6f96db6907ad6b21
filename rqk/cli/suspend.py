"""``rqk suspend``: make all workers of a Redis pause."""

from __future__ import annotations

import click

from rqk.cli.options import Duration, redis_options
from rqk.cli.target import Target


@click.command(name="suspend", short_help="Make all workers pause.")
@redis_options
@click.option("--duration", type=Duration(1, whole=True), help="Resume by itself after so long, such as 600 or 10m.")
def command(target: Target, duration: int | None) -> None:
    """Let no worker start a job until `rqk resume`. Running jobs go on; jobs can still be enqueued."""
    from rqk.store import queues

    queues.suspend(target.client(), duration)
    if duration is None:
        click.echo("Suspending workers.  No new jobs will be started.  But current jobs will be completed")
    else:
        click.echo(
            f"Suspending workers for {duration} seconds. No new jobs will be started during that time, but then will\n"
            "        automatically resume"
        )
