"""docs/metrics.md is what the catalogue says."""

from __future__ import annotations

from pathlib import Path

import pytest

from rqk.metrics import catalogue
from rqk.metrics.document import MARKER, main, page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
EVERY_FAMILY = catalogue.WORKER_FAMILIES + catalogue.EXPORTER_FAMILIES + catalogue.DJANGO_FAMILIES


def test_the_page_is_up_to_date() -> None:
    assert main(["--check", str(PAGE)]) == 0, "run: python -m rqk.metrics.document --write docs/metrics.md"


def test_every_declared_family_is_in_a_table() -> None:
    declared = [value for value in vars(catalogue).values() if isinstance(value, catalogue.Family)]
    assert {family.name for family in declared} == {family.name for family in EVERY_FAMILY}
    for family in EVERY_FAMILY:
        assert page().count(f"| `{family.name}` |") == 1


@pytest.mark.parametrize("family", EVERY_FAMILY, ids=lambda family: family.name)
def test_names_follow_prometheus_habits(family: catalogue.Family) -> None:
    if family.name.startswith("rqk_"):
        assert family.name.endswith("_total") == (family.kind is catalogue.Kind.COUNTER)
        assert family.help.endswith(".")
        for unit in ("seconds", "bytes"):
            assert family.unit.startswith(unit) == family.name.removesuffix("_total").endswith(unit)
    assert bool(family.buckets) == (family.kind is catalogue.Kind.HISTOGRAM)
    assert list(family.buckets) == sorted(set(family.buckets))


def test_a_stale_page_is_noticed_and_rewritten_and_the_other_section_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "metrics.md"
    target.write_text(f"old\n{MARKER}\n## Panels\n\nmany\n")
    assert main(["--check", str(target)]) == 1
    assert f"--write {target}" in capsys.readouterr().err
    assert main(["--write", str(target)]) == 0
    assert target.read_text() == page() + "## Panels\n\nmany\n"
    assert main(["--check", str(target)]) == 0


def test_it_prints_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == page()
