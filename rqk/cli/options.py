"""What commands' options have in common: their environment variables, kinds of values, and the choice of a Redis."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from rqk.cli.target import Target

if TYPE_CHECKING:
    _Kind = click.ParamType[Any]  # generic in newer releases of click only
else:
    _Kind = click.ParamType

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Setting(click.Option):
    """An option whose variable is blamed for what the variable held."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """What to mend, as an error names it."""
        if ctx and self.name and ctx.get_parameter_source(self.name) is ParameterSource.ENVIRONMENT and self.envvar:
            return f"'{self.envvar if isinstance(self.envvar, str) else self.envvar[0]}'"
        return super().get_error_hint(ctx)


def setting(*declarations: str, **attributes: Any) -> Callable[[_Command], _Command]:
    """An option that can also be given as RQK_<ITS LONG NAME>; other variables may come with ``envvar``."""
    long = next(part for part in declarations if part.startswith("--"))
    name = long.split("/")[0].strip("- ").replace("-", "_").upper()
    attributes["envvar"] = [f"RQK_{name}", *attributes.get("envvar", ())]
    return click.option(*declarations, cls=_Setting, **attributes)


@contextmanager
def bad_input(about: str = "") -> Iterator[None]:
    """What the library says of wrong values is told as a usage error, with what it is about. Put nothing that runs for long inside."""
    try:
        yield
    except (ValueError, TypeError, NotImplementedError, ImportError) as error:
        raise click.UsageError(f"{about} cannot be used: {error}." if about else str(error)) from error


class Duration(_Kind):
    """Seconds, or a number with a unit: ``90``, ``0.5``, ``90s``, ``5m``, ``2h``, ``1d``. ``whole``: given as an int."""

    name = "duration"

    def __init__(self, least: float | None = None, *, whole: bool = False) -> None:
        self.least = least
        self.whole = whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | int:
        """Seconds, or a usage error."""
        from rqk.core.times import parse_duration
        from rqk.errors import TimeoutFormatError

        try:
            seconds = float(value)
        except ValueError:
            try:
                seconds = float(parse_duration(value) or 0)
            except TimeoutFormatError as error:
                self.fail(f"{error}.", param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        if self.least is not None and seconds < self.least:
            self.fail(f"it must be at least {self.least:g} seconds, not {value}.", param, ctx)
        return int(seconds) if self.whole else seconds


class Count(click.IntRange):
    """A whole number from ``min`` on."""

    name = "number"


class LineFormat(_Kind):
    """A format of log lines in the style of Python's logging, or ``json``."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The format, or a usage error: logging itself would complain at each line."""
        import logging

        try:
            if value != "json":
                logging.Formatter(value).format(logging.makeLogRecord({}))
        except (ValueError, TypeError, KeyError) as error:
            self.fail(
                f"{value!r} cannot be used: {error}. Give fields such as %(asctime)s, %(levelname)s and %(message)s, or json.",
                param,
                ctx,
            )
        return str(value)


class Size(_Kind):
    """Bytes as Kubernetes writes them: ``512Mi``, ``1.5Gi``, ``2G``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes, or a usage error."""
        from rqk.worker.limits import parse_size

        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class Port(_Kind):
    """A port's number, 0 for any free one."""

    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, or a usage error."""
        # For a Service named rqk-metrics Kubernetes sets RQK_METRICS_PORT=tcp://10.0.0.7:9727; only its number is meant.
        digits = str(value).rsplit(":", 1)[-1] if str(value).startswith("tcp://") else str(value)
        if not (digits.isascii() and digits.isdigit()) or int(digits) > 65_535:
            self.fail(f"{value!r} is not a port: a number from 0 to 65535.", param, ctx)
        return int(digits)


class QueueName(_Kind):
    """A queue's name: any text without a comma. In an environment variable several are separated by commas."""

    name = "queue"
    envvar_list_splitter = ","

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, or a usage error."""
        if not value:
            self.fail("a queue's name cannot be empty.", param, ctx)
        if "," in value:
            one_by_one = " ".join(part.strip() for part in value.split(",") if part.strip())
            several = f"; give several queues as words: {one_by_one}" if isinstance(param, click.Argument) else ""
            self.fail(f"{value!r}: a queue's name cannot hold a comma{several}", param, ctx)
        return str(value)


class Moment(_Kind):
    """``2026-11-24T09:30:00``, local time; with an offset or ``Z`` of that zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment, or a usage error."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-24T09:30:00 or 2026-11-24T09:30:00Z.", param, ctx)


# Options of rq that choose a class of the user's. Ours has none to choose from; silence would be worse than a refusal.
_CLASSES = {
    "worker_class": (
        ("-w", "--worker-class"),
        "rqk has one kind of worker; instead of SimpleWorker use --recycle-after N",
    ),
    "job_class": (("-j", "--job-class"), "rqk has one kind of job"),
    "queue_class": (("--queue-class",), "rqk has one kind of queue"),
    "connection_class": (("--connection-class",), "rqk makes its connection from the URL"),
}


def redis_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --url, --config and --path; the command gets them as ``target``."""

    @functools.wraps(command)
    def chosen(*args: Any, url: str | None, config: str | None, path: tuple[str, ...], **rest: Any) -> Any:
        for name, (words, reason) in _CLASSES.items():
            if rest.pop(name) is not None:
                raise click.UsageError(f"{words[-1]} cannot be used here: {reason}.")
        return command(*args, target=Target(url, config, path), **rest)

    given: Callable[..., Any] = chosen
    for words, _ in reversed(_CLASSES.values()):
        given = click.option(*words, hidden=True)(given)
    given = setting(
        "-P",
        "--path",
        type=click.Path(exists=True),
        multiple=True,
        default=(".",),
        show_default=True,
        help="Directory to import from; repeatable.",
    )(given)
    given = setting(
        "-c",
        "--config",
        metavar="MODULE",
        envvar=("RQ_CONFIG",),
        help="Module with settings: REDIS_URL, SENTINEL, QUEUES, …",
    )(given)
    return setting(
        "-u",
        "--url",
        envvar=("RQ_REDIS_URL",),
        help="redis://, rediss://, unix:// or redis+sentinel://host:port,host:port/master/db",
    )(given)


def serializer_option(command: _Command) -> _Command:
    """Add --serializer."""
    words = "json, pickle (the default) or a dotted path to something with dumps and loads."
    return setting("-S", "--serializer", help=words)(command)
