"""Statuses and conditions: complete, and calm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rqk_operator.status import Facts, Trouble, compose, merge_patch, worth_writing

from rqk.autoscale.decide import Decision, Limit, Reason
from rqk.autoscale.seen import Observation, QueueSeen, WorkersSeen
from rqk.autoscale.wanted import Inputs
from tests.operator.test_manifests import pool

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INPUTS = Inputs(
    waiting=3, due=0, busy=1, idle=0, starting=0, oldest_wait_seconds=2.6, job_seconds=0.5, arrivals_per_second=None
)


def decision(reason: Reason = Reason.STEADY, limited: Limit | None = None) -> Decision:
    return Decision(2, 2, 2, reason, "because", INPUTS, limited)


def facts(**changes: Any) -> Facts:
    seen = Observation(2, (QueueSeen("high", 3, oldest_wait=2.6), QueueSeen("low", 0)), WorkersSeen(busy=1, idle=1))
    whole: dict[str, Any] = {
        "observed": seen,
        "decision": decision(),
        "ready": 2,
        "template_known": True,
        "redis_known": True,
        **changes,
    }
    return Facts(**whole)


def condition(status: dict[str, Any], kind: str) -> tuple[str, str]:
    (found,) = [it for it in status["conditions"] if it["type"] == kind]
    return found["status"], found["reason"]


def test_a_pool_that_is_well() -> None:
    status = compose(pool(), facts(), {}, NOW)
    assert [it["type"] for it in status["conditions"]] == [
        "Ready", "RedisReachable", "ScalingActive", "ScalingLimited", "TemplateValid",
    ]  # fmt: skip
    assert condition(status, "Ready") == ("True", "FollowsQueues")
    assert status["depth"] == 3
    assert status["queues"] == [{"name": "high", "depth": 3, "oldestWaitSeconds": 2}, {"name": "low", "depth": 0}]
    assert status["lastDecision"]["inputs"]["oldestWaitSeconds"] == "2.6"
    assert (status["busyWorkers"], status["idleWorkers"], status["desiredReplicas"]) == (1, 1, 2)
    assert status["selector"] == "rqk.dev/pool=shop"


def test_a_queue_that_could_not_be_read_has_no_depth_and_no_sum() -> None:
    seen = Observation(2, (QueueSeen("high", None), QueueSeen("low", 4)), WorkersSeen())
    status = compose(pool(), facts(observed=seen, unreadable={"high": "WRONGTYPE"}), {}, NOW)
    assert status["queues"] == [{"name": "high"}, {"name": "low", "depth": 4}]
    assert "depth" not in status
    assert condition(status, "ScalingActive") == ("False", "Unreadable")


def test_what_is_wrong_first_is_said_first() -> None:
    redis, template = Trouble("Unreachable", "no answer"), Trouble("Rejected", "bad port")
    assert condition(compose(pool(), facts(redis=redis), {}, NOW), "Ready") == ("False", "Unreachable")
    both = compose(pool(), facts(redis=redis, template=template), {}, NOW)
    assert condition(both, "Ready") == ("False", "Rejected")
    assert condition(both, "RedisReachable") == ("False", "Unreachable")
    assert condition(both, "ScalingActive") == ("False", "RedisUnreachable")


def test_a_limit_is_shown_only_if_a_person_can_change_it() -> None:
    limited = compose(pool(), facts(decision=decision(limited=Limit.MAX_REPLICAS)), {}, NOW)
    assert condition(limited, "ScalingLimited") == ("True", "MaxReplicas")
    passing = compose(pool(), facts(decision=decision(limited=Limit.BUSY_WORKERS)), {}, NOW)
    assert condition(passing, "ScalingLimited") == ("False", "WithinLimits")


def test_what_stays_keeps_its_time_and_is_not_written() -> None:
    before = compose(pool(), facts(), {}, NOW)
    after = compose(pool(), facts(), before, NOW + timedelta(hours=1))
    assert after == before
    assert worth_writing(before, after) == "no"
    assert merge_patch(before, after) == {}


def test_counts_can_wait_and_conditions_cannot() -> None:
    before = compose(pool(), facts(), {}, NOW)
    seen = Observation(2, (QueueSeen("high", 9), QueueSeen("low", 0)), WorkersSeen(busy=1, idle=1))
    assert worth_writing(before, compose(pool(), facts(observed=seen), before, NOW)) == "later"
    assert worth_writing(before, compose(pool(), facts(redis=Trouble("Unreachable", "x")), before, NOW)) == "now"
    assert worth_writing(before, compose(pool(), facts(ready=1), before, NOW)) == "now"


JSON = st.recursive(
    st.integers(0, 3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.sampled_from("abc"), JSON), st.dictionaries(st.sampled_from("abc"), JSON))
def test_a_merge_patch_leads_from_one_status_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert patched(before, merge_patch(before, after)) == after


def patched(target: Any, patch: Any) -> Any:
    """RFC 7386, in its own words."""
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = patched(found.get(name), value)
    return found
