"""Log lines: what the short way writes is what the logging module would have written. In programs of their own, for pytest
keeps handlers on the root logger.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

START = """
import io, logging, sys
from rqk import logs
logger = logging.getLogger("rqk.worker")
extra = {"action": "start", "job_id": "j"}
"""
BOTH = """
logger.info("%s", "high: a 100% job (j)", extra=extra)
logs.Short(logger).info("high: a 100% job (j)", lambda: extra)
"""


def said(code: str) -> list[str]:
    """What a program prints, line by line, times made neutral."""
    done = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [re.sub(r"^\d\d:\d\d:\d\d", "TIME", line) for line in done.stdout.splitlines()]


def test_both_ways_write_the_same() -> None:
    assert said("logs.setup()" + BOTH) == ["TIME high: a 100% job (j)"] * 2


def test_the_short_way_is_taken() -> None:
    assert said("logs.setup(); logger.info = None; logs.Short(logger).info('m', lambda: extra)") == ["TIME m"]


@pytest.mark.parametrize("options", ["json_lines=True", "log_format='%(levelname)s %(message)s'"])
def test_other_formats_go_the_usual_way(options: str) -> None:
    usual, short = said(f"logs.setup({options})" + BOTH)
    if "json" in options:
        assert json.loads(short).pop("action") == json.loads(usual)["action"] == "start"
    else:
        assert short == usual == "INFO high: a 100% job (j)"


@pytest.mark.parametrize("whose", ["logger", "logging.getLogger('rqk')"])
def test_handlers_of_others_are_heeded(whose: str) -> None:
    lines = said(
        f"""
logs.setup()
{whose}.addHandler(logging.StreamHandler(theirs := io.StringIO()))
logs.Short(logger).info("m", lambda: extra)
print("theirs:", theirs.getvalue(), end="")
"""
    )
    assert lines == ["TIME m", "theirs: m"]


def test_a_higher_level_says_nothing() -> None:
    assert said("logs.setup('WARNING'); logs.Short(logger).info('m', lambda: extra)") == []


def test_a_broken_output_stops_nobody() -> None:
    assert said("logs.setup(); logging.raiseExceptions = False; out = sys.stdout; logging.getLogger('rqk').handlers[0].stream = io.StringIO(); logging.getLogger('rqk').handlers[0].stream.close(); logs.Short(logger).info('m', lambda: extra)") == []  # fmt: skip
