"""``rqk-operator``: the program."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Sequence

from rqk import logs
from rqk.errors import RqkError
from rqk_operator import settings as settings_module

log = logging.getLogger("rqk.operator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator until it is told to stop; returns the exit code."""
    settings = settings_module.read(arguments)
    logs.setup(settings.log_level, json_lines=settings.log_format == "json")
    _share_log(settings.log_level)
    try:
        from rqk_operator.running import operate  # not before the options are known to be good: it takes half a second
    except ModuleNotFoundError as error:
        log.critical("the operator needs %s: pip install 'rqk[operator]'", error.name)
        return 1
    # What is kept of thousands of pools is not garbage, and lists of them make millions of objects: look less often.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    try:
        asyncio.run(operate(settings))
    except RqkError as error:
        log.critical("%s", error)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _share_log(level: str) -> None:
    """kopf's warnings in the same form; what it does in detail is for debugging only."""
    ours, theirs = logging.getLogger(logs.LOGGER), logging.getLogger("kopf")
    theirs.handlers = ours.handlers
    theirs.setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)
    theirs.propagate = False


if __name__ == "__main__":
    sys.exit(main())
