"""``rqk pool``, and the same as a kubectl plugin (``kubectl rqk``): worker pools on a cluster.

Words, output formats and exit codes are kubectl's: 0 done, 1 not done or wrongly asked, 130 interrupted.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import click

from rqk.cli.options import Duration
from rqk.cli.pools_cluster import PLURAL, Cluster, ClusterError, LogWish, NoSuchPool, Place, names_of
from rqk.cli.pools_text import PAUSED, Table, explain, noted_paused

if TYPE_CHECKING:
    from rich.console import RenderableType

Pool = dict[str, Any]


_KIND = "rqworkerpool.rqk.dev"
_FAILED = 1
_INTERRUPTED = 130


def _pool_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For the shell's completion; whatever goes wrong, there is nothing to complete."""
    words = ctx.params
    place = Place(words.get("kubeconfig"), words.get("context"), words.get("namespace"))
    try:
        return [name for name in names_of(Cluster(place).pools()) if name.startswith(incomplete)]
    except ClusterError:
        return []


def _on_cluster(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add kubectl's options for cluster and namespace; the command gets them as ``cluster``."""

    @functools.wraps(command)
    def chosen(*args: Any, kubeconfig: str | None, context: str | None, namespace: str | None, **rest: Any) -> Any:
        everywhere = rest.pop("all_namespaces", False)
        return command(*args, cluster=Cluster(Place(kubeconfig, context, namespace, everywhere)), **rest)

    given: Callable[..., Any] = chosen
    for words, text in (
        (("--kubeconfig",), "File that says where the cluster is. Default: KUBECONFIG, else ~/.kube/config."),
        (("--context",), "Which of the clusters in it."),
        (("-n", "--namespace"), "Default: that of the context."),
    ):
        given = click.option(*words, help=text)(given)
    return given


_everywhere = click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
_selected = click.option("-l", "--selector", default="", help="By labels, such as team=shop.")
_NAME = click.argument("name", shell_complete=_pool_names)
_NAMES = click.argument("names", nargs=-1, required=True, shell_complete=_pool_names, metavar="NAME...")


@click.group(name="pool", short_help="Worker pools on Kubernetes: list, explain, pause, resume, top, logs.")
def command() -> None:
    """Worker pools on Kubernetes. Also a kubectl plugin: `kubectl rqk list`."""


@command.command("list", short_help="Pools in a table.")
@click.argument("names", nargs=-1, shell_complete=_pool_names, metavar="[NAME]...")
@_on_cluster
@_everywhere
@_selected
@click.option("-o", "--output", type=click.Choice(["table", "wide", "json", "yaml", "name"]), default="table")
@click.option("-w", "--watch", is_flag=True, help="Go on with whatever changes.")
@click.option("--no-headers", is_flag=True, help="Without the line of headers.")
def list_pools(
    cluster: Cluster, names: tuple[str, ...], selector: str, output: str, watch: bool, no_headers: bool
) -> None:
    """Pools with queues, depth, wait, workers, and the reason of the last decision."""
    if names and (selector or cluster.everywhere):
        raise click.UsageError("names cannot be given with --selector or --all-namespaces.")
    table = Table(wide=output == "wide", everywhere=cluster.everywhere, headers=not no_headers)
    if watch:
        for _, pool in cluster.changes(selector):
            if not names or pool["metadata"]["name"] in names:
                _print([pool], output, table, single=True)
        return
    pools = [cluster.pool(name) for name in names] if names else cluster.pools(selector)
    if not pools and output in ("table", "wide"):
        where = "" if cluster.everywhere else f" in {cluster.namespace} namespace"
        click.echo(f"No resources found{where}.", err=True)
        return
    _print(pools, output, table, single=len(names) == 1)


@command.command("explain", short_help="Why a pool has the size it has.")
@_NAME
@_on_cluster
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text")
@click.option("-w", "--watch", is_flag=True, help="Again at each change.")
def explain_pool(cluster: Cluster, name: str, output: str, watch: bool) -> None:
    """Numbers, targets, the last decision with the arithmetic in it, and what holds the pool back."""
    for pool in _states(cluster, name, watch=watch):
        if output == "text":
            click.echo("\n".join(explain(pool, _now())) + ("\n" if watch else ""))
        else:
            _print([pool], output, Table(), single=True)


@command.command("pause", short_help="Keep pools at the size they have.")
@_NAMES
@_on_cluster
def pause(cluster: Cluster, names: tuple[str, ...]) -> int:
    """Keep each pool at the number of workers that it has, until `resume`. Workers go on working."""
    return _each(names, lambda name: _pause(cluster, name))


@command.command("resume", short_help="Let pools follow their queues again.")
@_NAMES
@_on_cluster
def resume(cluster: Cluster, names: tuple[str, ...]) -> int:
    """End what `pause` began."""
    return _each(names, lambda name: _resume(cluster, name))


@command.command("top", short_help="Pools, live.")
@_on_cluster
@_everywhere
@_selected
@click.option("-i", "--interval", type=Duration(0.2), default=1.0, show_default=True, help="Look again so often.")
def top(cluster: Cluster, selector: str, interval: float) -> None:
    """Pools with bars, those with most to do first; one look where the output is no terminal. Ctrl-C ends it."""
    from rich.console import Console
    from rich.live import Live

    from rqk.cli.pools_view import screen

    def look() -> RenderableType:
        return screen(cluster.pools(selector), _now(), everywhere=cluster.everywhere)

    console = Console(highlight=False)
    if not console.is_terminal:
        console.print(look())
        return
    with Live(look(), console=console, auto_refresh=False, screen=True) as live:
        while not threading.Event().wait(interval):
            live.update(look(), refresh=True)


@command.command("logs", short_help="Logs of all workers of a pool.")
@_NAME
@_on_cluster
@click.option("-f", "--follow", is_flag=True, help="Go on, with workers that come later too.")
@click.option("--tail", type=click.IntRange(-1), default=-1, help="Only so many of the last lines of each. -1: all.")
@click.option("--since", type=Duration(1, whole=True), help="Only lines not older than this: 90, 5m, 2h.")
@click.option("--timestamps", is_flag=True, help="With the time of each line.")
@click.option("--prefix/--no-prefix", default=True, help="Begin each line with the pod's name.")
def logs(
    cluster: Cluster, name: str, follow: bool, tail: int, since: int | None, timestamps: bool, prefix: bool
) -> None:
    """What the workers of a pool say."""
    cluster.pool(name)  # one that does not exist is an error, one at zero is not
    wish = LogWish(follow, None if tail < 0 else tail, since, timestamps)

    def tell(pod: str, line: str) -> None:
        click.echo(f"[{pod}] {line}" if prefix else line)

    if not follow and not cluster.pods(name):
        click.echo(f"{_KIND}/{name} has no workers at the moment; -f waits for them.", err=True)
        return
    cluster.logs(name, wish, tell, threading.Event())


def _states(cluster: Cluster, name: str, *, watch: bool) -> Iterator[Pool]:
    if not watch:
        yield cluster.pool(name)
        return
    cluster.pool(name)
    for kind, pool in cluster.changes():
        if pool["metadata"]["name"] == name:
            if kind == "DELETED":
                raise NoSuchPool(f"{PLURAL}.rqk.dev {name!r} was deleted")
            yield pool


def _pause(cluster: Cluster, name: str) -> str:
    if noted_paused(cluster.pool(name)):
        return "already paused"
    cluster.annotate(name, PAUSED, "true")
    return "paused"


def _resume(cluster: Cluster, name: str) -> str:
    before = cluster.pool(name)
    if noted_paused(before):
        cluster.annotate(name, PAUSED, None)
    spec = before["spec"]
    if spec["scaling"].get("paused"):
        # Written by whoever keeps the manifest; taking it away here would not last.
        raise ClusterError(f"{_KIND}/{name}: spec.scaling.paused is true; change it in the pool's manifest")
    if spec.get("replicas") is not None:
        undo = f'kubectl patch rqwp {name} -n {cluster.namespace} --type merge -p \'{{"spec":{{"replicas":null}}}}\''
        raise ClusterError(f"{_KIND}/{name}: spec.replicas is set by hand to {spec['replicas']}; to undo it: {undo}")
    return "resumed" if noted_paused(before) else "not paused"


def _each(names: Sequence[str], act: Callable[[str], str]) -> int:
    """Do it for each, whatever becomes of the others."""
    code = 0
    for name in names:
        try:
            click.echo(f"{_KIND}/{name} {act(name)}")
        except ClusterError as error:
            click.echo(f"Error: {error}", err=True)
            code = _FAILED
    return code


def _print(pools: Sequence[Pool], output: str, table: Table, *, single: bool) -> None:
    whole: Any = pools[0] if single else {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": list(pools)}
    if output == "json":
        click.echo(json.dumps(whole, indent=2))
    elif output == "yaml":
        import yaml

        click.echo(("---\n" if single else "") + yaml.safe_dump(whole, sort_keys=False), nl=False)
    elif output == "name":
        click.echo("\n".join(f"{_KIND}/{pool['metadata']['name']}" for pool in pools))
    else:
        for line in table.lines(pools, _now()):
            click.echo(line)
    sys.stdout.flush()


def _now() -> datetime:
    return datetime.now(UTC)


def run(words: Sequence[str] | None = None) -> int:
    """The plugin: run and return the exit code. Wrong usage is 1, as with kubectl, and not 2."""
    try:
        code = command.main(args=words, prog_name="kubectl rqk", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return _FAILED
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except ClusterError as error:
        click.echo(f"Error: {error}", err=True)
        return _FAILED


def main() -> NoReturn:
    """The program ``kubectl-rqk``, which kubectl finds on PATH."""
    sys.exit(run())


def complete() -> NoReturn:
    """The program ``kubectl_complete-rqk``: kubectl asks it what the last word could be."""
    from click.shell_completion import ShellComplete

    *before, last = sys.argv[1:] or [""]
    for found in ShellComplete(command, {}, "kubectl rqk", "_KUBECTL_RQK").get_completions(before, last):
        click.echo(f"{found.value}\t{found.help}" if found.help else found.value)
    click.echo(":4")  # kubectl's word for: and no file names
    sys.exit(0)
