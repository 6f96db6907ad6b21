"""``rqk enqueue``: a job from the command line, and its result if one wants to wait for it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from rqk.cli.options import Count, Duration, Moment, QueueName, bad_input, redis_options, serializer_option, setting
from rqk.cli.target import Target

if TYPE_CHECKING:
    from rqk.job import Job
    from rqk.queue import Queue

IN_VAIN = 3  # exit code: the wait is over and the job has not ended
_LOOK_S = 0.5  # a canceled job gets no result, so its status is looked at, too


@click.command(name="enqueue", short_help="Enqueue a job.")
@click.argument("function")
@click.argument("arguments", nargs=-1)
@redis_options
@serializer_option
@setting("-q", "--queue", type=QueueName(), default="default", show_default=True, help="Where to put it.")
@setting("--timeout", type=Duration(-1, whole=True), help="How long it may run; -1: no limit. Default: 180 s.")
@setting(
    "--result-ttl",
    type=Duration(-1, whole=True),
    help="How long its result is kept; -1 for ever. Default: the worker's 500 s.",
)
@setting("--ttl", type=Duration(1, whole=True), help="How long it may wait before it is dropped. Default: for ever.")
@setting("--failure-ttl", type=Duration(-1, whole=True), help="How long it is kept if it fails. Default: a year.")
@click.option("--description", help="What it is for; shown in logs and by monitors. Default: the call.")
@click.option("--depends-on", multiple=True, metavar="JOB_ID", help="Wait for this job to finish; repeatable.")
@click.option("--job-id", help="Its id: letters, digits, - and _. Default: a random one.")
@click.option("--at-front", is_flag=True, help="Put it before those that wait already.")
@click.option(
    "--retry-max",
    type=Count(min=0),
    metavar="N",
    default=0,
    show_default=True,
    help="Try again so often if it fails.",
)
@click.option(
    "--retry-interval",
    type=Count(min=0),
    multiple=True,
    metavar="SECONDS",
    help="Before trying again; repeatable, one for each try.",
)
@click.option("--schedule-in", type=Duration(0), help="Enqueue it after so long, such as 10s, 5m, 2d.")
@click.option("--schedule-at", type=Moment(), help="Enqueue it at this time, such as 2026-11-24T09:30:00 (local time).")
@click.option("--wait", type=Duration(0), metavar="DURATION", help="Wait so long for its end, and print its result.")
@click.option("--json", "as_json", is_flag=True, help="Say it as one JSON object.")
@click.option("--quiet", is_flag=True, help="Say nothing about enqueueing.")
def command(target: Target, function: str, arguments: tuple[str, ...], **given: Any) -> int:
    """Enqueue a call of FUNCTION, a dotted name that workers can import; it need not be importable here.

    \b
    ARGUMENTS  text       a string           key=text       the same by keyword
               :json      a JSON value       key:=json
               %literal   a Python literal   key%=literal
    A value that starts with @ is read from that file first.

    Exit code with --wait: 0 if the job finished, 1 if it failed, 3 if it has not ended in time.
    """  # noqa: D301 - click reads the control character
    from rqk.cli.arguments import check_function, parse_arguments
    from rqk.queue import Queue

    if given["schedule_in"] is not None and given["schedule_at"] is not None:
        raise click.UsageError("--schedule-in and --schedule-at contradict each other; give one of them.")
    if given["retry_interval"] and not given["retry_max"]:
        raise click.UsageError("--retry-interval needs --retry-max.")
    if given["wait"] is not None and given["result_ttl"] == 0:
        raise click.UsageError("--wait needs a result to wait for; --result-ttl 0 keeps none.")
    call = (check_function(function), *parse_arguments(arguments))
    target.import_here()  # for a serializer, and for classes of a result
    client = target.client()
    with bad_input():
        job = _enqueue(Queue(given["queue"], client, serializer=given["serializer"]), call, given)
    if not given["quiet"] and not given["as_json"]:
        click.echo(f"Enqueued {job.get_call_string()} with job-id '{job.id}'.")
    ended = given["wait"] is None or _wait(job, given["wait"])
    if given["as_json"]:
        click.echo(json.dumps(_data(job, with_result=given["wait"] is not None and ended)))
    if given["wait"] is None:
        return 0
    return _told(job, ended=ended, silent=given["as_json"])


def _enqueue(queue: Queue, call: tuple[str, list[Any], dict[str, Any]], given: dict[str, Any]) -> Job:
    from rqk import clock
    from rqk.policies import Retry

    function, args, kwargs = call
    due: datetime | None = given["schedule_at"]
    if given["schedule_in"] is not None:
        due = clock.now() + timedelta(seconds=given["schedule_in"])
    options: dict[str, Any] = {
        "args": args,
        "kwargs": kwargs,
        "job_timeout": given["timeout"],
        "retry": Retry(given["retry_max"], given["retry_interval"] or 0) if given["retry_max"] else None,
        "depends_on": list(given["depends_on"]) or None,
        **{name: given[name] for name in ("result_ttl", "ttl", "failure_ttl", "description", "job_id", "at_front")},
    }
    return queue.enqueue(function, **options) if due is None else queue.enqueue_at(due, function, **options)


def _wait(job: Job, seconds: float) -> bool:
    """Whether the job has ended within so long; its status is up to date then."""
    from rqk import clock
    from rqk.core.states import ENDED
    from rqk.errors import InvalidJobOperation

    until = clock.monotonic() + seconds
    while True:
        try:
            if job.get_status() in ENDED:
                return True
        except InvalidJobOperation:
            return True  # gone: --failure-ttl 0, or deleted by somebody
        left = until - clock.monotonic()
        if left <= 0:
            return False
        if job.latest_result(timeout=left) is not None:
            clock.pause(
                min(_LOOK_S, max(until - clock.monotonic(), 0))
            )  # a try of several, or a status about to change


def _data(job: Job, *, with_result: bool) -> dict[str, Any]:
    status = job.get_status(refresh=False) if job.record.status is not None else None
    told: dict[str, Any] = {"id": job.id, "queue": job.origin, "call": job.get_call_string(), "status": status}
    if with_result:
        value = job.return_value()
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            value = repr(value)
        told |= {"result": value, "error": job.exc_info}
    return told


def _told(job: Job, *, ended: bool, silent: bool) -> int:
    """Say how the job ended; the exit code of that."""
    from rqk.core.states import JobStatus

    status = job.record.status
    if not ended:
        click.echo(f"Job {job.id} has not ended yet; it is {status}.", err=True)
        return IN_VAIN
    if status is JobStatus.FINISHED:
        value = job.return_value()
        if not silent:
            click.echo(value if isinstance(value, str) else repr(value))
        return 0
    if status is None:
        click.echo(f"Job {job.id} is gone, and its result with it.", err=True)
        return 1
    click.echo(f"Job {job.id} {'is' if status is not JobStatus.FAILED else 'has'} {status}.", err=True)
    if not silent and job.exc_info:
        click.echo(job.exc_info.rstrip(), err=True)
    return 1
