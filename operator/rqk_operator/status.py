"""What is reported about a pool: its status and conditions. Pure, and calm: what does not change is not written again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from rqk.autoscale.decide import Decision, Limit, Observation, Reason
from rqk.autoscale.model import Pool
from rqk.autoscale.retire import Duty
from rqk_operator.manifests import selector
from rqk_operator.retire import Mate

Status = dict[str, Any]
Verdict = Literal["True", "False", "Unknown"]

_MESSAGE = 1024
_RESTING = {
    Reason.PAUSED: "Paused",
    Reason.SUSPENDED: "Suspended",
    Reason.MANUAL: "Manual",
    Reason.UNREADABLE: "Unreadable",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong: one word and a sentence. The sentence must not change while the trouble is the same."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All that goes into a status. None stands for "not known yet"."""

    observed: Observation | None = None
    decision: Decision | None = None
    mates: Sequence[Mate] = ()
    ready: int | None = None
    invalid: Trouble | None = None  # the pool's own fields
    template: Trouble | None = None  # what the API server says about the Deployment
    template_known: bool = False  # whether it was asked
    template_note: str = ""  # its warnings
    redis: Trouble | None = None
    redis_known: bool = False
    failing: Trouble | None = None  # workers that cannot be made, or do not start
    conflict: Trouble | None = None  # another manager holds fields of ours, or the Deployment's name
    push: bool = True  # news of queues are heard
    last_scale: datetime | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)


def compose(pool: Pool, facts: Facts, before: Mapping[str, Any], now: datetime) -> Status:
    """The whole status. ``before`` is the one reported last: times of what did not change are taken over from it."""
    generation = pool.metadata.generation
    found: Status = {"observedGeneration": generation, "selector": selector(pool)}
    found |= _workers(facts)
    if facts.observed is not None:
        found |= _queues(facts.observed)
    if facts.decision is not None:
        found["desiredReplicas"] = facts.decision.replicas
        found["lastDecision"] = _last_decision(facts.decision, before, now)
    scaled = _time(facts.last_scale) if facts.last_scale is not None else before.get("lastScaleTime")
    if scaled:
        found["lastScaleTime"] = scaled
    found["conditions"] = _conditions(pool, facts, before, now)
    return found


def invalid(name: str, generation: int | None, trouble: Trouble, before: Mapping[str, Any], now: datetime) -> Status:
    """The status of a pool that cannot be dealt with, such as one that cannot be understood: all else stays as it was."""
    rows: list[tuple[str, Verdict, str, str]] = [("Ready", "False", trouble.reason, trouble.message)]
    kept = [it for it in before.get("conditions") or () if it["type"] != "Ready"]
    return {**before, "observedGeneration": generation, "conditions": [*_dated(rows, generation, before, now), *kept]}


def worth_writing(before: Mapping[str, Any], after: Mapping[str, Any]) -> Literal["no", "later", "now"]:
    """Counts may wait a little; what a person acts on may not."""
    if _quiet(before) == _quiet(after):
        return "no"  # the arithmetic of a decision that stays is no news by itself
    return "later" if _weighty(before) == _weighty(after) else "now"


def news(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Trouble, ...]:
    """What has become wrong from one to the other, each thing once; for events."""
    known = {(it["type"], it["reason"]) for it in before.get("conditions") or () if _is_bad(it)}
    found: dict[str, Trouble] = {}
    for it in after.get("conditions") or ():
        if _is_bad(it) and (it["type"], it["reason"]) not in known:
            found.setdefault(it["reason"], Trouble(it["reason"], it["message"]))
    return tuple(found.values())


def _is_bad(condition: Mapping[str, Any]) -> bool:
    if condition["type"] == "ScalingActive":
        return str(condition["reason"]) == "Unreadable"  # the others are wishes, or Redis' fault and told as such
    return (condition["status"], condition["type"] == "ScalingLimited") == ("False", False)


def merge_patch(before: Any, after: Any) -> Any:
    """The JSON merge patch that leads from one to the other."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return after
    changed = {key: merge_patch(before.get(key), value) for key, value in after.items() if before.get(key) != value}
    return changed | {key: None for key in before if key not in after}


def _quiet(status: Mapping[str, Any]) -> dict[str, Any]:
    decision = status.get("lastDecision") or {}
    return {**status, "lastDecision": {key: decision.get(key) for key in ("replicas", "reason", "at")}}


def _weighty(status: Mapping[str, Any]) -> object:
    decision = status.get("lastDecision") or {}
    conditions = [(it["type"], it["status"], it["reason"]) for it in status.get("conditions") or ()]
    counts = [status.get(name) for name in ("observedGeneration", "replicas", "readyReplicas", "desiredReplicas")]
    return counts, decision.get("replicas"), decision.get("reason"), conditions


def _workers(facts: Facts) -> Status:
    duties = [mate.duty for mate in facts.mates]
    found: Status = {"replicas": len(duties)}
    if facts.ready is not None:
        found["readyReplicas"] = facts.ready
    if facts.observed is not None and facts.observed.workers is not None:
        found["busyWorkers"] = facts.observed.workers.busy
        found["idleWorkers"] = facts.observed.workers.idle
        found["retiringWorkers"] = duties.count(Duty.RETIRING)
    return found


def _queues(seen: Observation) -> Status:
    rows: list[Status] = []
    for queue in seen.queues:
        row: Status = {"name": queue.name}
        if queue.waiting is not None:
            row["depth"] = queue.waiting + queue.due
        if queue.oldest_wait is not None:
            row["oldestWaitSeconds"] = int(queue.oldest_wait)
        rows.append(row)
    found: Status = {"queues": rows}
    if seen.readable:
        found["depth"] = seen.waiting + seen.due
    if seen.oldest_wait is not None:
        found["oldestWaitSeconds"] = int(seen.oldest_wait)
    return found


def _last_decision(decision: Decision, before: Mapping[str, Any], now: datetime) -> Status:
    last = before.get("lastDecision") or {}
    same = (last.get("replicas"), last.get("reason")) == (decision.replicas, decision.reason.value)
    return {
        "replicas": decision.replicas,
        "reason": decision.reason.value,
        "message": decision.message[:_MESSAGE],
        "inputs": decision.inputs.texts(),
        "at": last["at"] if same and last.get("at") else _time(now),
    }


def _conditions(pool: Pool, facts: Facts, before: Mapping[str, Any], now: datetime) -> list[Status]:
    rows = [_ready(facts), _redis(facts), _active(pool, facts), _limited(facts), _template(facts)]
    return _dated(rows, pool.metadata.generation, before, now)


def _dated(
    rows: Sequence[tuple[str, Verdict, str, str]], generation: int | None, before: Mapping[str, Any], now: datetime
) -> list[Status]:
    known = {it["type"]: it for it in before.get("conditions") or ()}
    found: list[Status] = []
    for kind, verdict, reason, message in rows:
        last = known.get(kind, {})
        since = last.get("lastTransitionTime") if last.get("status") == verdict else None
        row: Status = {"type": kind, "status": verdict, "reason": reason, "message": message[:_MESSAGE]}
        row["lastTransitionTime"] = since or _time(now)
        if generation is not None:
            row["observedGeneration"] = generation
        found.append(row)
    return found


def _ready(facts: Facts) -> tuple[str, Verdict, str, str]:
    for trouble in (facts.invalid, facts.conflict, facts.template, facts.redis, facts.failing):
        if trouble is not None:
            return "Ready", "False", trouble.reason, trouble.message
    if not (facts.template_known and facts.redis_known):
        return "Ready", "Unknown", "Starting", "the pool was not looked at yet"
    return "Ready", "True", "FollowsQueues", "the workers follow the queues"


def _redis(facts: Facts) -> tuple[str, Verdict, str, str]:
    if facts.redis is not None:
        return "RedisReachable", "False", facts.redis.reason, facts.redis.message
    if not facts.redis_known:
        return "RedisReachable", "Unknown", "Starting", "Redis was not asked yet"
    if not facts.push:
        return (
            "RedisReachable",
            "True",
            "PolledOnly",
            "Redis answers, but sends no news: a pool at zero wakes up with the next poll",
        )
    return "RedisReachable", "True", "Answers", "Redis answers"


def _active(pool: Pool, facts: Facts) -> tuple[str, Verdict, str, str]:
    decision = facts.decision
    if facts.redis is not None:
        return "ScalingActive", "False", "RedisUnreachable", "the queues cannot be seen: the size stays as it is"
    if decision is None:
        return "ScalingActive", "Unknown", "Starting", "nothing was decided yet"
    if facts.unreadable:
        what = "; ".join(f"queue {name}: {text}" for name, text in sorted(facts.unreadable.items()))
        return (
            "ScalingActive",
            "False",
            "Unreadable",
            f"{what}: what is unknown is not zero, so the pool does not shrink",
        )
    resting = _RESTING.get(decision.reason)
    if resting is not None:
        return "ScalingActive", "False", resting, decision.message
    if pool.spec.scaling.dry_run:
        return "ScalingActive", "False", "DryRun", "decisions are reported, not carried out (scaling.dryRun)"
    return "ScalingActive", "True", "FollowsQueues", "the number of workers follows the queues"


def _limited(facts: Facts) -> tuple[str, Verdict, str, str]:
    decision = facts.decision
    if decision is None:
        return "ScalingLimited", "Unknown", "Starting", "nothing was decided yet"
    # Steps on the way (maxPerTick, workers still busy) pass by themselves and would only make the condition flap.
    if decision.limited is Limit.MAX_REPLICAS:
        return "ScalingLimited", "True", "MaxReplicas", "the queues ask for more workers than maxReplicas allows"
    if decision.limited is Limit.MIN_REPLICAS:
        return "ScalingLimited", "True", "MinReplicas", "the queues ask for fewer workers than minReplicas keeps"
    return "ScalingLimited", "False", "WithinLimits", "the queues ask for a number within the limits"


def _template(facts: Facts) -> tuple[str, Verdict, str, str]:
    if facts.template is not None:
        return "TemplateValid", "False", facts.template.reason, facts.template.message
    if not facts.template_known:
        return "TemplateValid", "Unknown", "Starting", "the API server was not asked yet"
    note = facts.template_note
    return "TemplateValid", "True", "Warnings" if note else "Accepted", note or "the API server accepts the Deployment"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
