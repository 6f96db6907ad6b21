"""What docs/library.md shows is run, block by block, with a worker beside it."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py

from rqk.connections import _current
from tests.conftest import StartWorker
from tests.support.workers import ROOT

PAGE = ROOT / "docs" / "library.md"


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on the import path, whose modules are forgotten at the end."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "app":
            del sys.modules[name]
    importlib.invalidate_caches()


def test_what_the_page_shows_works(
    importable: Path, start_worker: StartWorker, redis: redis_py.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, *blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert module.startswith("# app/jobs.py\n")
    (importable / "app").mkdir()
    (importable / "app" / "jobs.py").write_text(module, encoding="utf-8")
    start_worker("default", "low", options=["--path", str(importable)])
    monkeypatch.setattr(_current, "connection", None)
    monkeypatch.setenv("RQ_REDIS_URL", redis_url)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"block {number} of {PAGE.name}", "exec"), names)  # noqa: S102 - our own documentation
    assert len(blocks) == 4
    assert redis.keys("shop:report:*")
