"""Log lines: for people by default, as JSON for machines; each line may carry an ``action`` word and the job's id."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

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


def setup(
    level: str | int = "INFO",
    log_format: str = "%(asctime)s %(message)s",
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
