"""``rqk requeue``: put failed jobs back into their queue."""

from __future__ import annotations

import sys

import click

from rqk.cli.options import QueueName, redis_options
from rqk.cli.target import Target


@click.command(name="requeue", short_help="Put failed jobs back into their queue.")
@click.argument("job_ids", nargs=-1)
@redis_options
@click.option("-S", "--serializer", hidden=True)
@click.option("-q", "--queue", type=QueueName(), required=True, help="The queue whose failed jobs are meant.")
@click.option("-a", "--all", "everything", is_flag=True, help="All failed jobs of the queue.")
def command(target: Target, job_ids: tuple[str, ...], queue: str, everything: bool, serializer: str | None) -> int:
    """Put failed jobs back into their queue: JOB_IDS, or --all. Exit code 1 if one of them could not be."""
    from rqk.errors import InvalidJobOperation, NoSuchJobError
    from rqk.registry import FailedJobRegistry

    if job_ids and everything:
        raise click.UsageError("--all means every failed job of the queue; give either --all or the ids of some jobs.")
    registry = FailedJobRegistry(queue, target.client())
    ids = registry.get_job_ids() if everything else list(job_ids)
    if not ids:
        click.echo("Nothing to do")
        return 0
    click.echo(f"Requeueing {len(ids)} jobs from failed queue")
    troubles: list[str] = []
    with click.progressbar(ids, hidden=not sys.stdout.isatty()) as waiting:
        for job_id in waiting:
            try:
                registry.requeue(job_id)
            except (InvalidJobOperation, NoSuchJobError) as error:
                troubles.append(f"{job_id}: {error}")
    for trouble in troubles:
        click.echo(trouble, err=True)
    if troubles:
        click.echo(f"Unable to requeue {len(troubles)} jobs from failed job registry", err=True)
    return 1 if troubles else 0
