"""Helm, if there is one."""

from __future__ import annotations

import pytest

from tests.chart.helm import MISSING, Helm, find_helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    """The tests of the chart are skipped without helm; `make test-cluster` builds it."""
    program = find_helm()
    if program is None:
        pytest.skip(MISSING)
    return Helm(program)
