"""The demo, as ``make demo`` runs it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from examples.wordcount.corpus import pages
from examples.wordcount.demo import mixed
from tests.support.workers import ROOT, ProcessWithLog

DEMO = [sys.executable, "-m", "examples.wordcount.demo"]


def test_the_pages_are_the_same_each_time() -> None:
    texts = pages()
    assert texts == pages()
    assert 200 < len(texts) < 1000
    assert all(text.split() for text in texts.values())
    assert sorted(mixed(texts)) == sorted(texts)


@pytest.mark.timeout(150)
def test_it_counts_right_and_goes_back_to_zero(tmp_path: Path) -> None:
    demo = ProcessWithLog(DEMO, tmp_path / "demo.log", cwd=ROOT)
    try:
        code = demo.wait(100)
        assert code == 0, demo.log
    finally:
        demo.close()
    assert "Every count is right, and the pool is back at zero." in demo.log
    assert f"{len(pages())} finished, 0 failed, 0 missing, 0 wrong" in demo.log
    assert "0 → " in demo.log
    assert "Traceback" not in demo.log


def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    demo = ProcessWithLog(DEMO, tmp_path / "demo.log", cwd=ROOT)
    try:
        demo.wait_for_log("wordcount: 0 to ")
        demo.signal(signal.SIGINT)
        assert demo.wait(30) == 130
        assert "Interrupted; all processes are gone." in demo.log
        assert "Traceback" not in demo.log
        assert not demo.descendants()
    finally:
        demo.close()
