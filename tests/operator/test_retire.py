"""Single steps of a retirement, by example; test_retire_properties.py tries all orders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rqk_operator.retire import LOWEST_COST, Directory, Mate, Memory, Plan, _rank, crew, plan, size, still_to_mark
from rqk_operator.views import PodView

from rqk.autoscale.retire import Duty
from rqk.store.snapshot import WorkerSnapshot

UIDS = ("a", "b", "c", "d")


def pod(uid: str, **fields: Any) -> PodView:
    whole: dict[str, Any] = {
        "phase": "Running",
        "running": True,
        "ready": True,
        "assigned": True,
        "template": "t",
        **fields,
    }
    return PodView("ns", f"p-{uid}", uid, "pool", **whole)


def worker(uid: str, **fields: Any) -> WorkerSnapshot:
    return WorkerSnapshot(name=f"p-{uid}.{uid}", queues=("q",), **{"state": "idle", **fields})


def idle(uid: str, **fields: Any) -> Mate:
    return Mate(pod(uid, **fields), worker(uid), Duty.IDLE)


def busy(uid: str, **fields: Any) -> Mate:
    return Mate(pod(uid, **fields), worker(uid, state="busy"), Duty.BUSY)


def retiring(uid: str, **fields: Any) -> Mate:
    return Mate(pod(uid, **{"ready": False, "cost": LOWEST_COST, **fields}), worker(uid, retiring=True), Duty.RETIRING)


def pending(uid: str, **fields: Any) -> Mate:
    return Mate(
        pod(uid, **{"phase": "Pending", "running": False, "ready": False, "assigned": False, **fields}),
        None,
        Duty.STARTING,
    )


def again(current: int, wanted: int, mates: list[Mate], sure: str, *, probed: bool, failing: bool = False) -> Plan:
    """A round after one that saw the same, and these pods ready to go."""
    memory = Memory(frozenset(sure), {mate.pod.uid: _rank(mate.pod) for mate in mates})
    return plan(current, wanted, mates, memory, probed=probed, failing=failing)


def uids(mates: Any) -> list[str]:
    return [getattr(it, "pod", it).uid for it in mates]


def test_first_a_worker_is_asked_and_nothing_else_happens() -> None:
    steps = plan(2, 1, [busy("a"), idle("b")], Memory(), probed=True)
    assert uids(steps.retire) == ["b"]
    assert (steps.mark, steps.replicas) == ((), None)


def test_then_its_pod_is_marked() -> None:
    steps = plan(2, 1, [busy("a"), retiring("b", cost=0)], Memory(), probed=True)
    assert uids(steps.mark) == ["b"]
    assert (steps.retire, steps.replicas) == ((), None)


def test_then_a_round_is_waited() -> None:
    steps = plan(2, 1, [busy("a"), retiring("b")], Memory(), probed=True)
    assert steps.replicas is None
    assert steps.memory.may_go == {"b"}


def test_then_the_number_is_lowered() -> None:
    assert again(2, 1, [busy("a"), retiring("b")], "b", probed=True).replicas == 1


def test_not_while_the_pod_is_still_ready() -> None:
    steps = again(2, 1, [busy("a"), retiring("b", ready=True)], "b", probed=True)
    assert (steps.replicas, steps.memory.may_go) == (None, frozenset())


def test_a_worker_of_another_make_never_says_that_it_is_not_ready() -> None:
    assert again(2, 1, [busy("a"), retiring("b", ready=True)], "b", probed=False).replicas == 1


def test_not_while_a_busy_pod_would_go_first() -> None:
    """A pod whose probe has failed, or has not been asked yet, ranks before every ready one."""
    mates = [busy("a", ready=False), retiring("b", ready=True)]
    assert again(2, 1, mates, "b", probed=False).replicas is None


def test_not_while_pods_are_still_being_made() -> None:
    assert again(3, 1, [busy("a"), retiring("b")], "b", probed=True).replicas is None
    assert again(3, 1, [busy("a"), retiring("b")], "b", probed=True, failing=True).replicas == 1


def test_not_while_somebody_was_as_cheap_a_round_ago() -> None:
    """A retirement that was just taken back: the controller may not have heard of it."""
    before = {"a": _rank(retiring("a").pod), "b": _rank(retiring("b").pod)}
    mates = [busy("a"), retiring("b")]
    assert plan(2, 1, mates, Memory(frozenset("ab"), before), probed=True).replicas is None
    assert again(2, 1, mates, "b", probed=True).replicas == 1


def test_not_while_a_pod_is_new() -> None:
    known = {"b": _rank(retiring("b").pod)}
    assert plan(2, 1, [idle("a"), retiring("b")], Memory(frozenset("b"), known), probed=True).replicas is None


def test_in_a_rollout_only_everybody_can_go() -> None:
    mates = [retiring("a", template="old"), retiring("b", template="new"), busy("c", template="new")]
    assert again(3, 1, mates, "ab", probed=True).replicas is None
    assert again(2, 0, mates[:2], "ab", probed=True).replicas == 0


def test_growing_first_takes_retirements_back() -> None:
    steps = again(3, 3, [busy("a"), retiring("b"), retiring("c")], "b", probed=True)
    assert sorted(uids(steps.unretire)) == ["b", "c"]
    assert sorted(uids(steps.unmark)) == ["b", "c"]
    assert steps.replicas is None
    steps = plan(3, 5, [busy("a"), retiring("b"), retiring("c")], Memory(), probed=True)
    assert len(steps.unretire) == 2
    assert steps.replicas == 5


def test_whoever_may_be_on_the_way_out_is_not_taken_back() -> None:
    """The number was lowered by one; which of the two goes is not known."""
    mates = [retiring("a"), retiring("b")]
    assert size(1, mates) == 0
    steps = plan(1, 1, mates, Memory(), probed=True)
    assert (steps.unretire, steps.replicas) == ((), 2)


def test_pods_that_do_not_run_yet_go_before_workers() -> None:
    steps = plan(2, 1, [idle("a"), pending("b")], Memory(), probed=True)
    assert (uids(steps.retire), uids(steps.mark)) == (["b"], []), "it is marked if it agrees"
    steps = plan(2, 1, [idle("a"), pending("b")], Memory(), probed=False)
    assert (uids(steps.retire), uids(steps.mark)) == ([], ["b"])


def test_a_worker_that_has_not_come_yet_is_asked_ahead_before_the_number_falls() -> None:
    crew = [idle("a"), pending("b", cost=LOWEST_COST)]
    steps = again(2, 1, crew, "b", probed=True)
    assert (uids(steps.retire), steps.replicas) == (["b"], None)
    memory = steps.memory.asked_ahead([pod.pod for pod in crew[1:]])
    for number in (None, 1):
        steps = plan(2, 1, crew, memory, probed=True)
        assert (uids(steps.retire), steps.replicas) == ([], number)
        memory = steps.memory


def test_one_that_was_asked_ahead_is_welcome_again_when_the_pool_grows() -> None:
    crew = [idle("a"), pending("b", cost=LOWEST_COST)]
    steps = plan(2, 3, crew, Memory(ahead=frozenset("b")), probed=True)
    assert (uids(steps.unretire), uids(steps.unmark), steps.replicas) == (["b"], ["b"], 3)
    assert steps.memory.ahead == frozenset()


def test_workers_of_another_make_cannot_be_asked_ahead() -> None:
    steps = again(2, 1, [idle("a"), pending("b", cost=LOWEST_COST)], "b", probed=False)
    assert (uids(steps.retire), steps.replicas) == ([], 1)


def test_a_pod_that_does_not_run_yet_goes_in_place_of_a_warm_worker() -> None:
    steps = again(3, 2, [busy("a"), retiring("b"), pending("c")], "b", probed=True)
    assert (uids(steps.unretire), uids(steps.retire), uids(steps.unmark)) == (["b"], ["c"], ["b"])


def crashing(uid: str, **fields: Any) -> Mate:
    """Its container waits to be started again, and the record of the last one is still there."""
    view = pod(uid, **{"running": False, "ready": False, "waiting": "CrashLoopBackOff", **fields})
    return Mate(view, worker(uid), Duty.BROKEN)


def test_a_worker_that_crashed_and_still_has_a_record_leaves_in_the_same_steps() -> None:
    steps = plan(2, 1, [idle("a"), crashing("b")], Memory(), probed=True)
    assert uids(steps.retire) == ["b"]
    leaving = replace(crashing("b", cost=LOWEST_COST), worker=worker("b", retiring=True), duty=Duty.RETIRING)
    memory = steps.memory.asked_ahead([leaving.pod])
    for number in (None, 1):
        steps = plan(2, 1, [idle("a"), leaving], memory, probed=True)
        assert (uids(steps.retire), uids(steps.unmark), steps.replicas) == ([], [], number)
        memory = steps.memory
    assert uids(steps.unborn) == ["b"], "it may be started again at any time"
    gone = replace(leaving, worker=None, duty=Duty.BROKEN)
    assert again(2, 1, [idle("a"), gone], "b", probed=True).replicas is None
    steps = plan(2, 1, [idle("a"), gone], memory, probed=True)
    assert (uids(steps.retire), steps.replicas) == ([], 1), "its record has gone too, and it was asked for its return"


@pytest.mark.parametrize(("probed", "asked", "number"), [(True, ["b"], None), (False, [], 1)])
def test_a_worker_that_crashed_after_it_was_asked_is_asked_for_its_return(
    probed: bool, asked: list[str], number: int | None
) -> None:
    """Its next process would know nothing of it."""
    leaving = replace(crashing("b", cost=LOWEST_COST), worker=worker("b", retiring=True), duty=Duty.RETIRING)
    steps = again(2, 1, [idle("a"), leaving], "b", probed=probed)
    assert (uids(steps.retire), steps.replicas) == (asked, number)


def test_of_those_who_retire_a_warm_one_is_taken_back_first() -> None:
    leaving = replace(crashing("b", cost=LOWEST_COST), worker=worker("b", retiring=True), duty=Duty.RETIRING)
    steps = plan(3, 2, [leaving, retiring("c"), busy("a")], Memory(), probed=True)
    assert uids(steps.unretire) == ["c"]
    steps = plan(3, 2, [leaving, pending("c"), busy("a")], Memory(), probed=True)
    assert steps.unretire == (), "nor is it exchanged for another one that does not run"


def test_a_pod_that_came_to_life_since_it_was_planned_is_not_marked() -> None:
    before = pending("b")
    steps = plan(2, 1, [idle("a"), before], Memory(), probed=False)
    assert still_to_mark(steps, {"b": before.pod}) == (before.pod,)
    assert still_to_mark(steps, {"b": replace(before.pod, running=True)}) == ()


@pytest.mark.parametrize(("wanted", "back", "asked"), [(1, ["b"], []), (0, [], ["c"])])
def test_in_a_rollout_nobody_retires_unless_everybody_does(wanted: int, back: list[str], asked: list[str]) -> None:
    """A new worker that is not ready would hold the rollout up, for as long as the old one has jobs."""
    crew = [busy("a", template="old"), retiring("b"), idle("c")]
    steps = plan(3, wanted, crew, Memory(), probed=True)
    assert (uids(steps.unretire), uids(steps.retire), steps.replicas) == (back, asked, None)


def test_a_mark_without_a_reason_is_taken_away() -> None:
    assert uids(plan(1, 1, [idle("a", cost=LOWEST_COST)], Memory(), probed=True).unmark) == ["a"]


def test_with_everybody_busy_nothing_happens() -> None:
    assert plan(3, 0, [busy("a"), busy("b"), busy("c")], Memory(), probed=True).empty


@pytest.mark.parametrize(
    ("view", "found", "wanted"),
    [
        pytest.param(pod("a"), worker("a"), Duty.IDLE, id="idle"),
        pytest.param(pod("a"), worker("a", current_job="j"), Duty.BUSY, id="busy"),
        pytest.param(pod("a"), worker("a", retiring=True), Duty.RETIRING, id="retiring"),
        pytest.param(pod("a"), None, Duty.BUSY, id="a ready pod without a record may hold a job: Redis forgot"),
        pytest.param(pod("a", ready=False, created=1e6 - 10), None, Duty.BUSY, id="about to register"),
        pytest.param(pod("a", ready=False, created=1e6 - 999), None, Duty.BROKEN, id="never registered"),
        pytest.param(pod("a", running=False, phase="Pending"), None, Duty.STARTING, id="starting"),
        pytest.param(pod("a", running=False, waiting="CrashLoopBackOff"), None, Duty.BROKEN, id="crashing"),
        pytest.param(pod("a", running=False), worker("a", current_job="j"), Duty.BUSY, id="dead, its job unsettled"),
        pytest.param(pod("a", running=False), worker("a"), Duty.BROKEN, id="dead"),
        pytest.param(pod("a", running=False), worker("a", retiring=True), Duty.RETIRING, id="asked, then dead"),
    ],
)
def test_what_a_pod_is_doing(view: PodView, found: WorkerSnapshot | None, wanted: Duty) -> None:
    (mate,) = crew([view], Directory([found] if found else []), now=1e6)
    assert mate.duty is wanted


def test_workers_of_another_make_are_known_by_their_host() -> None:
    stranger = WorkerSnapshot(name="0c4d", queues=("q",), state="idle", hostname="p-a")
    (mate,) = crew([pod("a")], Directory([stranger]), now=0)
    assert (mate.worker, mate.duty) == (stranger, Duty.IDLE)


def test_pods_that_leave_or_failed_do_not_count() -> None:
    assert crew([pod("a", deleting=True), pod("b", phase="Failed")], Directory([]), now=0) == []


def plain(name: str, **fields: Any) -> WorkerSnapshot:
    return WorkerSnapshot(name=name, queues=("q",), **{"state": "idle", "hostname": "p-a", **fields})


@pytest.mark.parametrize("names", [("dead", "young"), ("young", "dead")])
def test_of_several_workers_of_another_make_in_one_pod_a_busy_one_counts(names: tuple[str, str]) -> None:
    """A container that started again leaves the record of the process before it; `rq worker-pool` has many."""
    workers = [plain(name, state="busy" if name == "young" else "idle") for name in names]
    (mate,) = crew([pod("a")], Directory(workers), 0.0)
    assert mate.duty is Duty.BUSY
    assert plan(1, 0, [mate], Memory(), probed=False).retire == ()


def test_of_several_idle_workers_the_retiring_one_counts_in_any_order() -> None:
    workers = [plain("x", retiring=True), plain("y")]
    for order in (workers, workers[::-1]):
        (mate,) = crew([pod("a")], Directory(order), 0.0)
        assert mate.duty is Duty.RETIRING
