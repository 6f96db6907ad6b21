"""The pictures of docs/scaling.md show what the code says, and what draws them says what it draws."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from charts.scaling import FOLDER, ROOT, Picture, asked, draw, main, pictures, run, stale
from rqk.autoscale.compare import spec
from rqk.autoscale.keda import KedaHpa
from rqk.autoscale.simulate import Rqk, simulate
from rqk.autoscale.traces import burst


@pytest.fixture(scope="module")
def drawn() -> tuple[Picture, ...]:
    return pictures()


def test_every_picture_is_up_to_date() -> None:
    assert stale() == [], "run: python -m charts.scaling --write"


def test_the_page_shows_each_of_them_and_says_what_is_in_it(drawn: tuple[Picture, ...]) -> None:
    shown = dict(re.findall(r"!\[([^\]]+)\]\(images/(scaling-\w+)\.svg\)", (ROOT / "docs/scaling.md").read_text()))
    assert sorted(shown.values()) == sorted(picture.name for picture in drawn)
    assert all(len(text) > 40 for text in shown)


def test_a_picture_of_other_data_or_none_is_noticed(tmp_path: Path, drawn: tuple[Picture, ...]) -> None:
    shutil.copytree(ROOT / FOLDER, tmp_path / FOLDER)
    (tmp_path / FOLDER / "scaling-life.svg").unlink()
    targets = next(picture for picture in drawn if picture.name == "scaling-targets")
    panel = replace(targets.panels[0], curves={"other": ((0.0, 1.0), (5.0, 1.0))})
    draw(replace(targets, panels=(panel,)), tmp_path / FOLDER / "scaling-targets.svg")
    assert stale(tmp_path) == ["docs/images/scaling-targets.svg", "docs/images/scaling-life.svg"]


def test_the_same_data_gives_the_same_file_of_valid_xml(tmp_path: Path, drawn: tuple[Picture, ...]) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    draw(drawn[0], first)
    draw(drawn[0], second)
    assert first.read_bytes() == second.read_bytes()
    assert ET.parse(first).getroot().tag.endswith("svg")


def test_curves_are_those_of_the_simulation() -> None:
    panel = run("a burst", burst(30, 20), Rqk(spec(depth=1)), every=1, until=600)
    outcome = simulate(burst(30, 20), Rqk(spec(depth=1)), horizon=600)
    assert max(value for _, value in panel.curves["pods"]) == outcome.peak == 30
    assert panel.curves["pods"][-1] == (600, 0.0)
    assert max(value for _, value in panel.curves["running"]) == 30
    assert "0 running jobs killed" in panel.note
    assert "killed so far" not in panel.curves


def test_killed_jobs_are_counted_on_the_picture() -> None:
    panel = run("a burst", burst(100, 600), KedaHpa(list_length=5), every=5, until=3600)
    outcome = simulate(burst(100, 600), KedaHpa(list_length=5), horizon=3600)
    assert outcome.killed
    assert panel.curves["killed so far"][-1] == (3600, float(outcome.killed))


def test_what_targets_ask_for_is_the_arithmetic_of_the_page() -> None:
    assert asked([100], wait=30, job_seconds=3) == ((100.0, 10.0),)
    assert asked([100], wait=30, job_seconds=0.01) == ((100.0, 1.0),)
    assert asked([28], depth=10) == ((28.0, 3.0),)


@pytest.mark.parametrize("words", [[], ["--draw"]])
def test_a_wrong_word_is_told_the_right_ones(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "--write | --check" in capsys.readouterr().err
