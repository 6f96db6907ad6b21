"""``rqk up``: pools of a manifest as processes of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from rqk.cli.options import Duration, LineFormat, redis_options, setting
from rqk.cli.target import Target

if TYPE_CHECKING:
    from rqk.autoscale.model import Pool
    from rqk.local.state import UpState


@click.command(name="up", short_help="Run pools of a manifest as local processes.")
@redis_options
@setting(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="Manifest with RQWorkerPool documents, - for standard input; repeatable.",
)
@setting(
    "--embedded", is_flag=True, help="Start a Valkey for the pools, whatever Redis they name. Its data goes with it."
)
@setting(
    "--live/--no-live", default=None, help="Draw the live view, or write lines. Default: draw if this is a terminal."
)
@setting("--metrics/--no-metrics", default=True, show_default="on", help="Let workers serve metrics, on loopback.")
@setting("--stop-when-idle", is_flag=True, help="Stop when no job waits or runs.")
@setting("--for", "limit", type=Duration(0), metavar="DURATION", help="Stop after so long.")
@setting(
    "--log-format",
    type=LineFormat(),
    default="%(asctime)s %(message)s",
    show_default=True,
    help="Format of lines, or json.",
)
def command(target: Target, files: Sequence[TextIO], **given: Any) -> None:
    """Run worker pools here as the operator runs them on Kubernetes: the same manifest, the same decisions.

    Pools that name no Redis use that of --url (or RQ_REDIS_URL), else an embedded Valkey. Ctrl-C lets running jobs end; a
    second one puts them back, a third one kills the workers.
    """
    try:
        from rqk.local.up import run
    except ModuleNotFoundError as error:
        raise click.UsageError(f"rqk up needs {error.name}: pip install 'rqk[local]'.") from error
    from rqk import logs

    as_json = given["log_format"] == "json"
    logs.setup("INFO", "%(message)s" if as_json else given["log_format"], json_lines=as_json)
    limit, when_idle = given["limit"], given["stop_when_idle"]

    def enough(state: UpState) -> bool:
        return (when_idle and state.quiet) or (limit is not None and state.summary.seconds >= limit)

    run(
        _pools(files),
        url=target.chosen_url(),
        embedded=given["embedded"],
        live=given["live"],
        stop_when=enough,
        metrics=given["metrics"],
    )


def _pools(files: Sequence[TextIO]) -> list[Pool]:
    """The pools of all files. Raises BadPool if two have the same name."""
    from rqk.autoscale.manifest import load_pools
    from rqk.errors import BadPool

    found: dict[str, tuple[Pool, str]] = {}
    for file in files:
        try:
            text = file.read()
        except UnicodeDecodeError as error:
            raise BadPool(f"{file.name}: not YAML: it is not UTF-8 text") from error
        for pool in load_pools(text, file.name):
            if pool.key in found:
                raise BadPool(f"{file.name}: a pool named {pool.key!r} stands in {found[pool.key][1]} already")
            found[pool.key] = (pool, file.name)
    return [pool for pool, _ in found.values()]
