"""How pools of a cluster are told to people: tables, explanation, the live view."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from rqk.cli.pools_text import Table, age, explain, is_paused, span
from rqk.cli.pools_view import screen

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def ago(**words: float) -> str:
    """A time as Kubernetes writes it."""
    return (NOW - timedelta(**words)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pool(name: str = "shop", **changes: Any) -> dict[str, Any]:
    """A pool as the API server gives it; ``changes`` are of its spec."""
    return {
        "metadata": {"name": name, "namespace": "prod", "creationTimestamp": ago(days=3)},
        "spec": {
            "queues": ["critical", "default"],
            "scaling": {
                "minReplicas": 0,
                "maxReplicas": 50,
                "targetDepthPerWorker": 10,
                "targetWaitSeconds": 30,
                "scaleUp": {},
                "scaleDown": {"stabilizationSeconds": 60, "toZeroAfterSeconds": 120},
            },
            **changes,
        },
        "status": {
            "replicas": 3,
            "readyReplicas": 3,
            "busyWorkers": 2,
            "idleWorkers": 1,
            "depth": 26,
            "oldestWaitSeconds": 75,
            "desiredReplicas": 3,
            "lastScaleTime": ago(seconds=40),
            "queues": [{"name": "critical", "depth": 0}, {"name": "default", "depth": 26, "oldestWaitSeconds": 75}],
            "lastDecision": {
                "replicas": 3,
                "reason": "DepthTarget",
                "message": "ceil((26 + 0 + 2) / 10) = 3",
                "inputs": {"waiting": "26", "busy": "2"},
                "at": ago(seconds=12),
            },
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "FollowsQueues",
                    "message": "the workers follow the queues",
                    "lastTransitionTime": ago(hours=5),
                }
            ],
        },
    }


@pytest.mark.parametrize(
    ("then", "shown"),
    [
        pytest.param(ago(seconds=45), "45s", id="seconds"),
        pytest.param(ago(seconds=119), "119s", id="two minutes are still seconds"),
        pytest.param(ago(minutes=12), "12m", id="minutes"),
        pytest.param(ago(hours=5), "5h", id="hours"),
        pytest.param(ago(days=3), "3d", id="days"),
        pytest.param(ago(seconds=-5), "0s", id="a clock that is ahead"),
        pytest.param(None, "<unknown>", id="nothing known"),
    ],
)
def test_an_age_is_short(then: str | None, shown: str) -> None:
    assert age(then, NOW) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0s"), (59, "59s"), (75, "1m15s"), (None, ""), ("x", "")])
def test_a_wait_is_short(seconds: object, shown: str) -> None:
    assert span(seconds) == shown


def test_a_table_has_kubectls_form() -> None:
    head, row = Table().lines([pool()], NOW)
    assert head.split() == ["NAME", "QUEUES", "DEPTH", "WAIT", "BUSY", "READY", "DESIRED", "REASON", "AGE"]
    assert row.split() == ["shop", "critical,default", "26", "1m15s", "2", "3", "3", "DepthTarget", "3d"]
    assert head.index("REASON") == row.index("DepthTarget")


def test_a_table_that_goes_on_keeps_its_widths_and_has_one_header() -> None:
    table = Table(everywhere=True)
    first = list(table.lines([pool()], NOW))
    (later,) = table.lines([pool("mail")], NOW)
    assert len(first) == 2
    assert later.index("critical") == first[1].index("critical")


def test_a_pool_that_nobody_has_looked_at_yet_is_shown_with_gaps() -> None:
    fresh = {key: value for key, value in pool().items() if key != "status"}
    _, row = Table(wide=True).lines([fresh], NOW)
    assert row.split()[2:8] == ["-", "-", "-", "-", "-", "-"]
    assert "is it running" in "\n".join(explain(fresh, NOW))


def test_an_explanation_can_be_checked_by_hand() -> None:
    text = "\n".join(explain(pool(), NOW))
    for words in (
        "Pool prod/shop, made 3d ago",
        "wanted   3 workers",
        "there    3 workers: 2 busy, 1 idle, 0 retiring; 3 ready",
        "Why: DepthTarget, for 12s",
        "ceil((26 + 0 + 2) / 10) = 3",
        "waiting  26",
        "default   26 waiting, the first for 1m15s",
        "Targets: targetDepthPerWorker 10 and targetWaitSeconds 30; from 0 to 50 workers",
        "down  after 60 s with less to do, the last one after 120 s",
        "Ready  yes  FollowsQueues, for 5h: the workers follow the queues",
    ):
        assert words in text
    assert "Held" not in text


def test_an_explanation_says_who_holds_the_pool() -> None:
    held = pool(replicas=7)
    held["metadata"]["annotations"] = {"rqk.dev/paused": "true"}
    held["spec"]["scaling"] |= {"paused": True, "dryRun": True}
    text = "\n".join(explain(held, NOW))
    assert "set by hand to 7" in text
    assert "kubectl patch rqwp shop --type merge" in text
    assert "kubectl rqk resume shop" in text
    assert "spec.scaling.paused is true" in text
    assert "dryRun" in text


def test_an_unreadable_queue_is_not_an_empty_one() -> None:
    blind = pool()
    del blind["status"]["queues"][1]["depth"]
    assert "could not be read" in "\n".join(explain(blind, NOW))


@pytest.mark.parametrize(
    ("note", "paused"), [("true", True), ("", True), ("false", False), ("False", False), (None, False)]
)
def test_paused_by_annotation(note: str | None, paused: bool) -> None:
    noted = pool()
    noted["metadata"]["annotations"] = {} if note is None else {"rqk.dev/paused": note}
    assert is_paused(noted) is paused


def drawn(*pools: dict[str, Any], width: int = 120) -> list[str]:
    """The live view's lines."""
    console = Console(file=StringIO(), width=width, force_terminal=False)
    console.print(screen(pools, NOW, everywhere=True))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_the_live_view_has_the_pool_in_need_first() -> None:
    calm = pool("calm")
    calm["status"] |= {"oldestWaitSeconds": 1, "depth": 1}
    head, _, _, first, second = drawn(calm, pool("busy"))
    assert head == "12:00:00  2 pools, 27 jobs waiting, 6 workers, 4 busy"
    assert first.split()[:4] == ["prod", "busy", "26", "1m15s"]
    assert "██▒ 2/3/3" in first
    assert second.split()[1] == "calm"


def test_the_live_view_shows_trouble_in_place_of_the_reason() -> None:
    broken = pool()
    broken["status"]["conditions"] += [
        {"type": "RedisReachable", "status": "False", "reason": "NoAnswer", "message": "redis:6379 does not answer"}
    ]
    assert "NoAnswer: redis:6379 does not answer" in drawn(broken)[-1]


def test_the_live_view_of_nothing_is_empty() -> None:
    assert drawn()[0] == "12:00:00  0 pools, 0 jobs waiting, 0 workers, 0 busy"


def test_on_a_narrow_terminal_the_reason_gives_way_and_not_the_numbers() -> None:
    broken = pool("a-pool-with-a-name")
    broken["status"]["lastDecision"]["message"] = "a long story " * 20
    _, _, head, row = drawn(broken, width=80)
    assert {"DEPTH", "DESIRED"} <= set(head.split())
    assert "a-pool-with-a-name" in row
    assert row.rstrip().endswith("…")
