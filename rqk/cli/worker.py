"""``rqk worker``: words to ``Worker(…).work(…)``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from rqk.cli.options import (
    Count,
    Duration,
    LineFormat,
    Port,
    QueueName,
    Size,
    bad_input,
    redis_options,
    serializer_option,
    setting,
)
from rqk.cli.target import Target

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_STRATEGIES = ("default", "round_robin", "random")
# Of rq's worker, but not of ours: what is there instead.
_WITHOUT_EFFECT = {
    "worker_ttl": "a silent worker is forgotten after twice its --lease",
    "maintenance_interval": "one worker of the fleet looks every --janitor seconds",
    "job_monitoring_interval": "a running job's lease is renewed three times per --lease",
}
_SENTRY = "jobs are not reported to Sentry; call sentry_sdk.init() in a module of --preload, and report from on_failure callbacks"
_UNUSABLE = {
    "exception_handler": "exception handlers are not called; use on_failure callbacks",
    "disable_default_exception_handler": "a failed job always goes to the failed registry",
    "sentry_dsn": _SENTRY,
}


@click.command(name="worker", short_help="Run jobs of some queues.")
@click.argument("queues", nargs=-1, type=QueueName(), envvar="RQK_QUEUES")
@redis_options
@serializer_option
@setting("-b", "--burst", is_flag=True, help="Leave when no job waits.")
@setting("-n", "--name", help="The worker's name; <pod>.<uid> in a pod, <host>.<pid>.<token> elsewhere.")
@setting("--max-jobs", type=Count(min=1), metavar="N", help="Leave after so many jobs.")
@setting("--max-idle-time", type=Duration(1, whole=True), help="Leave after waiting so long in vain.")
@setting(
    "-s",
    "--with-scheduler/--no-scheduler",
    default=True,
    show_default="on",
    help="Enqueue scheduled jobs that are due.",
)
@setting(
    "-ds",
    "--dequeue-strategy",
    type=click.Choice(_STRATEGIES),
    default="default",
    show_default=True,
    help="Which queue is next: the first named that has a job, each in turn, or any.",
)
@setting(
    "--results-ttl",
    type=Duration(-1, whole=True),
    default=500,
    show_default=True,
    help="How long results of jobs that say nothing are kept; -1 for ever.",
)
@setting("--preload", multiple=True, metavar="MODULE", help="Import this once, before jobs are forked; repeatable.")
@setting(
    "--recycle-after",
    type=Count(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Run so many jobs in one fork. More is faster, but jobs then share a process.",
)
@setting("--job-memory-limit", type=Size(), help="A job that allocates more gets a MemoryError, such as 512Mi.")
@setting(
    "--kill-after",
    type=Duration(0),
    default=10.0,
    show_default=True,
    help="From a job's timeout, when it gets an exception, to SIGKILL.",
)
@setting(
    "--grace",
    type=Duration(0),
    help="How long SIGTERM waits for the running job before putting it back; default: to its end.",
)
@setting(
    "--abandoned",
    type=click.Choice(["fail", "requeue"]),
    default="fail",
    show_default=True,
    help="What becomes of jobs whose worker died.",
)
@setting(
    "--max-deliveries",
    type=Count(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help="With --abandoned requeue: a job that took so many workers down fails.",
)
@setting(
    "--lease",
    type=Duration(1, whole=True),
    default=30,
    show_default=True,
    help="A worker silent for so long has lost its job.",
)
@setting(
    "--janitor", type=Duration(0.1), default=5.0, show_default=True, help="Between looks for jobs of dead workers."
)
@setting(
    "--stuck",
    type=Duration(0, whole=True),
    default=10,
    show_default=True,
    help="How long an id may be on its way out of a queue before it is put back.",
)
@setting("--metrics/--no-metrics", default=True, show_default="on", help="Serve /metrics, /healthz and /readyz.")
@setting("--metrics-host", default="0.0.0.0", show_default=True, help="Address to serve them on.")
@setting(
    "--metrics-port",
    type=Port(),
    default=9727,
    show_default=True,
    help="Port to serve them on; a free one if it is taken.",
)
@setting(
    "--wait-for-redis",
    type=Duration(0),
    default=0.0,
    show_default=True,
    help="How long to wait for Redis at the start. Later a worker waits as long as it takes.",
)
@setting("-v", "--verbose", is_flag=True, help="Log more.")
@setting("-q", "--quiet", is_flag=True, help="Log warnings and errors only.")
@setting(
    "--logging_level",
    "--logging-level",
    "--log-level",
    type=click.Choice(_LEVELS, case_sensitive=False),
    help="Log from this level on.",
)
@setting(
    "--log-format",
    type=LineFormat(),
    default="%(asctime)s %(message)s",
    show_default=True,
    help="Format of log lines, or json for one JSON object a line.",
)
@setting("--date-format", default="%H:%M:%S", show_default=True, help="Format of times in log lines.")
@setting("--disable-job-desc-logging", is_flag=True, help="Log job ids without the calls.")
@setting(
    "--pid", type=click.Path(dir_okay=False, writable=True), metavar="FILE", help="Write the process id into a file."
)
@setting("--worker-ttl", hidden=True)
@setting("--maintenance-interval", hidden=True)
@setting("--job-monitoring-interval", hidden=True)
@click.option("--sentry-dsn", hidden=True)
@click.option("--exception-handler", hidden=True, multiple=True)
@click.option("-d", "--disable-default-exception-handler", hidden=True, is_flag=True)
def command(target: Target, queues: tuple[str, ...], **given: Any) -> None:
    """Run jobs of QUEUES (default: default), the first named first. RQK_QUEUES holds them separated by commas.

    SIGTERM and SIGINT let the running job end (see --grace); a second one puts it back at once.
    """
    _refuse(given)
    settings = target.settings
    if "DICT_CONFIG" in settings:
        import logging.config

        with bad_input("DICT_CONFIG in the settings module"):
            logging.config.dictConfig(settings["DICT_CONFIG"])
    if "SENTRY_DSN" in settings:
        click.echo(f"SENTRY_DSN in the settings module has no effect here: {_SENTRY}.", err=True)
    configured, own_name = target.queues(), target.name()
    if given["pid"]:
        _write_pid(Path(given["pid"]))
    level = given["logging_level"] or ("DEBUG" if given["verbose"] else "WARNING" if given["quiet"] else None)
    as_json = given["log_format"] == "json"
    # Here and not above: the zygote is forked from what is imported by now.
    from rqk.worker import Worker

    client = target.client()
    with bad_input():
        worker = Worker(
            queues or configured or "default",
            given["name"] or own_name,
            client,
            serializer=given["serializer"],
            default_result_ttl=given["results_ttl"],
            abandoned=given["abandoned"],
            max_deliveries=given["max_deliveries"],
            preload=given["preload"],
            path=target.directories,
            job_memory_limit=given["job_memory_limit"],
            # A settings module is code of the user's that jobs may count on; then they inherit this process as it is.
            fresh_url=None if target.config else target.redis_url(),
            recycle_after=given["recycle_after"],
            kill_after_s=given["kill_after"],
            grace_s=given["grace"],
            lease_s=given["lease"],
            janitor_s=given["janitor"],
            stuck_s=given["stuck"],
            metrics=given["metrics"],
            metrics_host=given["metrics_host"],
            metrics_port=given["metrics_port"],
            log_job_description=not given["disable_job_desc_logging"],
            wait_for_redis_s=given["wait_for_redis"],
        )
    worker.work(
        burst=given["burst"],
        logging_level=level,
        log_format="%(message)s" if as_json else given["log_format"],
        date_format=given["date_format"],
        json_logs=as_json,
        max_jobs=given["max_jobs"],
        max_idle_time=given["max_idle_time"],
        with_scheduler=given["with_scheduler"],
        dequeue_strategy=given["dequeue_strategy"],
    )


def _refuse(given: dict[str, Any]) -> None:
    if given["verbose"] and given["quiet"]:
        raise click.UsageError("--verbose and --quiet contradict each other; give one of them.")
    for name, reason in _UNUSABLE.items():
        if given[name]:
            raise click.UsageError(f"--{name.replace('_', '-')} cannot be used here: {reason}.")
    for name, instead in _WITHOUT_EFFECT.items():
        if given[name] is not None:
            click.echo(f"--{name.replace('_', '-')} has no effect here: {instead}.", err=True)


def _write_pid(file: Path) -> None:
    try:
        file.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        raise click.UsageError(f"--pid {file}: {error.strerror}.") from error
