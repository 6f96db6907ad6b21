"""Log lines: for people by default, as JSON for machines; each line may carry an ``action`` word and the job's id."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

LOGGER = "rqk"
_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class _Below(logging.Filter):
    """Passes what is below a level."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < self.level


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message and whatever the caller put into ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({key: value for key, value in record.__dict__.items() if key not in _PLAIN})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Short:
    """Writes the lines that every job has, in a fifth of the time that the logging module takes, where the result is the same.

    That is where setup() has made the logger's only handlers and nobody has changed them since; else each line goes the
    usual way, with its ``extra``.
    """

    handlers: list[logging.Handler] | None = None  # as setup() has left them
    date_format: str | None = None  # None: the format is not the default one

    def __init__(self, logger: logging.Logger) -> None:
        self._logger, self._ours = logger, logging.getLogger(LOGGER)
        self._second = -1
        self._stamp = ""

    def info(self, message: str, extra: Callable[[], dict[str, Any]]) -> None:
        """One line of level INFO; ``message`` is final, ``extra`` is asked for if the line goes the usual way."""
        if not self._is_plain():
            self._logger.info("%s", message, extra=extra())
        elif self._logger.isEnabledFor(logging.INFO):
            self._write(message)

    def _is_plain(self) -> bool:
        logger, ours = self._logger, self._ours
        return (
            self.date_format is not None
            and ours.handlers == self.handlers
            and not ours.filters
            and not logger.handlers
            and not logger.filters
            and logger.propagate
            and logger.parent is ours
        )

    def _write(self, message: str) -> None:
        handler: Any = self.handlers[0] if self.handlers else None
        now = int(time.time())
        if now != self._second:
            self._second, self._stamp = now, time.strftime(self.date_format or "", time.localtime(now))
        try:
            with handler.lock:
                handler.stream.write(f"{self._stamp} {message}\n")
                handler.stream.flush()
        except Exception:  # noqa: BLE001 - a full disk or a closed pipe stops no worker, as with logging itself
            handler.handleError(logging.makeLogRecord({"msg": message}))


DEFAULT_FORMAT = "%(asctime)s %(message)s"


def setup(
    level: str | int = "INFO",
    log_format: str = DEFAULT_FORMAT,
    date_format: str = "%H:%M:%S",
    *,
    json_lines: bool = False,
) -> None:
    """Configure the ``rqk`` logger as RQ's worker does its own: below ERROR to stdout, the rest to stderr.

    Does nothing if the user has given the logger (or the root) handlers already.
    """
    logger = logging.getLogger(LOGGER)
    logger.setLevel(level.upper() if isinstance(level, str) else level)
    if logger.handlers or logging.getLogger().handlers:
        return
    formatter: logging.Formatter = JsonFormatter() if json_lines else logging.Formatter(log_format, date_format)
    for stream, below in ((sys.stdout, True), (sys.stderr, False)):
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        if below:
            handler.addFilter(_Below(logging.ERROR))
        else:
            handler.setLevel(logging.ERROR)
        logger.addHandler(handler)
    logger.propagate = False
    Short.handlers = list(logger.handlers)
    Short.date_format = date_format if log_format == DEFAULT_FORMAT and not json_lines else None
