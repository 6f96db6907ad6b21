"""The one run that all tests here ask about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.monitoring.stage import Played, play


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Every scenario has been played, and Prometheus still has all of it. Takes about a minute and a half."""
    with play(tmp_path_factory.mktemp("stage")) as left:
        yield left
