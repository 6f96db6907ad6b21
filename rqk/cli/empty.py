"""``rqk empty``: delete what waits in queues."""

from __future__ import annotations

import click

from rqk.cli.options import QueueName, redis_options
from rqk.cli.target import Target


@click.command(name="empty", short_help="Delete the jobs that wait in queues.")
@click.argument("queues", nargs=-1, type=QueueName())
@redis_options
@click.option("-S", "--serializer", hidden=True)
@click.option("-a", "--all", "everything", is_flag=True, help="All queues.")
def command(target: Target, queues: tuple[str, ...], everything: bool, serializer: str | None) -> None:
    """Delete the jobs that wait in QUEUES. Running, scheduled and failed jobs stay."""
    from rqk.store import queues as store
    from rqk.store import transitions

    if queues and everything:
        raise click.UsageError("--all means every queue; give either --all or the names of some queues.")
    if not queues and not everything:
        click.echo("Nothing to do")
        return
    client = target.client()
    for name in store.names(client) if everything else queues:
        click.echo(f"{transitions.empty(client, name)} jobs removed from {name} queue")
