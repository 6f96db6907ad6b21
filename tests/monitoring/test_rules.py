"""The rules as a file: promtool takes them, its unit tests pass, and every alert can be acted on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.monitoring.__main__ import ROOT, RULES
from charts.monitoring.alert import Alert
from charts.monitoring.alerts import ALERTS
from charts.monitoring.rules import RUNBOOKS
from tests.monitoring.prometheus import promtool

UNIT_TESTS = Path(__file__).with_name("alerts_test.yaml")
RUNBOOK_PAGE = ROOT / "docs/runbooks.md"
EVERY_ALERT = pytest.mark.parametrize("alert", [pytest.param(alert, id=alert.name) for alert in ALERTS])


def unit_tests() -> Any:
    return yaml.safe_load(UNIT_TESTS.read_text())


def runbooks() -> dict[str, str]:
    """Each alert's part of the page, by its anchor."""
    parts = re.split(r"^## ", RUNBOOK_PAGE.read_text(), flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0].strip().lower(): part for part in parts}


def test_promtool_finds_nothing_to_complain_about() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(ROOT / RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtools_unit_tests_pass(tmp_path: Path) -> None:
    tests = {**unit_tests(), "rule_files": [str(ROOT / RULES)]}
    file = tmp_path / "alerts_test.yaml"
    file.write_text(yaml.safe_dump(tests, sort_keys=False, width=1000))
    done = promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


@EVERY_ALERT
def test_an_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_is_quiet(alert: Alert) -> None:
    cases = [
        case for test in unit_tests()["tests"] for case in test["alert_rule_test"] if case["alertname"] == alert.name
    ]
    assert any(case["exp_alerts"] for case in cases)
    assert any(not case["exp_alerts"] for case in cases)


@EVERY_ALERT
def test_an_alert_says_what_happens_and_where_to_read_on(alert: Alert) -> None:
    assert alert.description.endswith(".")
    assert not alert.summary.endswith(".")
    assert alert.name.startswith("Rqk")
    part = runbooks()[alert.anchor]
    for heading in ("**Means:**", "**Look:**", "**Do:**"):
        assert heading in part, f"{alert.name}: {heading} is missing in {RUNBOOK_PAGE.name}"


def test_the_runbooks_tell_of_alerts_that_exist_and_in_their_order() -> None:
    assert list(runbooks()) == [alert.anchor for alert in ALERTS]


def test_each_rule_links_to_its_runbook() -> None:
    rules = [rule for group in yaml.safe_load((ROOT / RULES).read_text())["groups"] for rule in group["rules"]]
    for rule in rules:
        if "alert" in rule:
            assert rule["annotations"]["runbook_url"] == f"{RUNBOOKS}#{rule['alert'].lower()}"
