"""``rqk resume``: the end of ``rqk suspend``."""

from __future__ import annotations

import click

from rqk.cli.options import redis_options
from rqk.cli.target import Target


@click.command(name="resume", short_help="Let suspended workers go on.")
@redis_options
def command(target: Target) -> None:
    """Let workers start jobs again after `rqk suspend`."""
    from rqk.store import queues

    queues.resume(target.client())
    click.echo("Resuming workers.")
