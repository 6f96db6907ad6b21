"""``rqk exporter``: the metrics of a whole Redis on one target, under rq-exporter's names."""

from __future__ import annotations

import click

from rqk.cli.options import LineFormat, Port, redis_options, setting
from rqk.cli.target import Target


@click.command(name="exporter", short_help="Serve the metrics of a whole Redis.")
@redis_options
@click.option("--host", help="Address to listen on.  [env var: RQ_EXPORTER_HOST; default: 0.0.0.0]")
@click.option("--port", type=Port(), help="Port to listen on.  [env var: RQ_EXPORTER_PORT; default: 9726]")
@click.option("--django-names", is_flag=True, help="Also the names of django-rq's collector.")
@setting("--log-format", type=LineFormat(), help="Format of log lines, or json for one JSON object a line.")
def command(target: Target, host: str | None, port: int | None, django_names: bool, log_format: str | None) -> None:
    """Serve rq-exporter's metrics (rq_jobs, rq_workers, …) and more for all queues and workers of one Redis.

    rq-exporter's environment variables are understood, so that only the image has to change.
    """
    from rqk import logs
    from rqk.metrics.exporter import serve
    from rqk.metrics.settings import exporter_settings
    from rqk.store.connect import connect

    chosen = target.chosen_url()
    settings = exporter_settings(url=chosen)
    form = log_format or settings.log_format or "%(asctime)s %(message)s"
    as_json = form == "json"
    logs.setup(
        settings.log_level,
        "%(message)s" if as_json else form,
        settings.log_date_format or "%H:%M:%S",
        json_lines=as_json,
    )
    serve(
        connect(settings.redis_url),
        settings.host if host is None else host,
        settings.port if port is None else port,
        django_names=django_names or settings.django_names,
    )
