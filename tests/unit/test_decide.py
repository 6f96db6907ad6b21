"""The pool's size: a table a person can check by hand, and the rules over time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from rqk.autoscale.decide import Decision, History, Limit, decide
from rqk.autoscale.history import OUT_OF_SIGHT_S, learn
from rqk.autoscale.model import PoolSpec, ScaleDown, ScaleUp, Scaling
from rqk.autoscale.retire import Duty, Member, choose_victims
from rqk.autoscale.seen import Counter, Observation, QueueSeen, WorkersSeen
from rqk.autoscale.wanted import Reason

START = 1_000_000.0


def spec(
    *,
    depth: int | None = None,
    wait: int | None = None,
    least: int = 0,
    most: int = 100,
    stable: int = 60,
    zero: int = 120,
    step: int | None = None,
    replicas: int | None = None,
    paused: bool = False,
) -> PoolSpec:
    return PoolSpec(
        queues=("q",),
        replicas=replicas,
        scaling=Scaling(
            min_replicas=least,
            max_replicas=most,
            target_depth_per_worker=depth,
            target_wait_seconds=wait,
            scale_up=ScaleUp(max_per_tick=step),
            scale_down=ScaleDown(stabilization_seconds=stable, to_zero_after_seconds=zero),
            paused=paused,
        ),
    )


def look(
    waiting: int | None = 0,
    replicas: int = 0,
    *,
    busy: int = 0,
    due: int = 0,
    oldest: float | None = None,
    starting: int = 0,
    counters: Iterable[Counter] = (),
    abandoned: int = 0,
    suspended: bool = False,
) -> Observation:
    idle = max(0, replicas - busy - starting)
    crew = WorkersSeen(idle=idle, busy=busy, starting=starting, counters=tuple(counters))
    queue = QueueSeen("q", waiting, due=due, oldest_wait=oldest)
    return Observation(replicas, (queue,), crew, abandoned=abandoned, suspended=suspended)


def once(
    pool: PoolSpec, seen: Observation, history: History | None = None, now: float = START, **more: Any
) -> Decision:
    return decide(pool, seen, history or History(), now, **more)[0]


def after(pool: PoolSpec, looks: Iterable[tuple[float, Observation]]) -> tuple[Decision, History]:
    """The last decision after several looks, each at so many seconds after the start."""
    history, decision = History(), None
    for at, seen in looks:
        decision, history = decide(pool, seen, history, START + at)
    assert decision is not None
    return decision, history


@pytest.mark.parametrize(
    ("target", "seen", "size"),
    [
        pytest.param(10, look(0), 0, id="nothing"),
        pytest.param(10, look(1), 1, id="a part of a worker counts as one"),
        pytest.param(10, look(10), 1, id="exactly one"),
        pytest.param(10, look(11), 2, id="one more"),
        pytest.param(10, look(25, due=6), 4, id="due ones wait too"),
        pytest.param(10, look(18, 2, busy=3), 3, id="running ones count: ceil(21 / 10)"),
        pytest.param(1, look(40, 20, busy=20), 60, id="one worker for each job"),
        pytest.param(1, look(4000), 100, id="never above the maximum"),
    ],
)
def test_depth(target: int, seen: Observation, size: int) -> None:
    decision = once(spec(depth=target), seen)
    assert decision.replicas == size
    if size > seen.replicas:
        assert decision.reason is Reason.DEPTH_TARGET


def test_the_message_holds_the_arithmetic() -> None:
    decision = once(spec(depth=10), look(25, 1, busy=1, due=2))
    assert decision.message == "25 waiting + 2 due + 1 running, 10 per worker: ceil(28 / 10) = 3"
    assert decision.inputs.texts() == {
        "waiting": "25", "due": "2", "busy": "1", "idle": "0", "starting": "0", "byDepth": "3",
    }  # fmt: skip


def known(seconds: float) -> History:
    """A pool that knows how long jobs take."""
    return History.resumed(service_seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "seen", "size"),
    [
        pytest.param(3.0, look(100), 10, id="100 x 3 s within 30 s"),
        pytest.param(3.0, look(91, 9, busy=9), 10, id="running ones are part of the work"),
        pytest.param(0.01, look(100), 1, id="short jobs need one worker"),
        pytest.param(600.0, look(20), 20, id="a long job never needs two"),
        pytest.param(600.0, look(3, 4, busy=4), 7, id="running long ones do not come free in time"),
        pytest.param(3.0, look(0), 0, id="nothing"),
        pytest.param(15.0, look(6), 3, id="half a worker each"),
    ],
)
def test_wait_for_a_backlog(seconds: float, seen: Observation, size: int) -> None:
    assert once(spec(wait=30), seen, known(seconds)).replicas == size


def test_wait_without_knowing_how_long_jobs_take_starts_one_for_each() -> None:
    decision = once(spec(wait=30), look(7))
    assert decision.replicas == 7
    assert "not known yet" in decision.message


def test_with_both_targets_depth_answers_until_the_time_is_known_and_then_the_larger_counts() -> None:
    both = spec(depth=10, wait=30)
    assert once(both, look(100)).replicas == 10
    assert once(both, look(100), known(0.1)).replicas == 10
    assert once(both, look(100), known(15.0)).replicas == 50


def steady(rate: int, seconds: float, length: int, busy: int) -> tuple[Decision, History]:
    """A pool where ``rate`` jobs come and end each second."""
    looks = []
    for tick in range(length):
        done = Counter("w", rate * tick, rate * tick * seconds)
        looks.append((float(tick), look(0, busy, busy=busy, counters=[done])))
    return after(spec(wait=30, stable=0), looks)


def test_a_steady_stream_keeps_rate_times_seconds_workers() -> None:
    decision, history = steady(rate=4, seconds=2.5, length=90, busy=10)
    assert history.arrivals_per_second() == pytest.approx(4.0)
    assert history.service_seconds == pytest.approx(2.5)
    assert decision.wanted == 10


def test_a_burst_is_a_backlog_and_not_a_rate() -> None:
    looks = [(0.0, look(0))] + [(float(tick), look(1000, 10)) for tick in range(1, 90)]
    _, history = after(spec(wait=30), looks)
    assert history.arrivals_per_second() == 0.0


def test_a_rate_needs_half_a_minute() -> None:
    _, history = after(spec(wait=30), [(float(tick), look(tick)) for tick in range(25)])
    assert history.arrivals_per_second() is None


def test_jobs_that_do_not_end_are_longer_than_the_mean_says() -> None:
    """The mean says 1 s, but four have run for a minute without one ending: the waiting ones need workers of their own."""
    pool = spec(wait=30)
    history = known(1.0)
    decision, history = decide(pool, look(5, 4, busy=4), history, START)
    assert decision.wanted == 1
    decision, history = decide(pool, look(5, 4, busy=4), history, START + 60)
    assert decision.replicas == 9


def test_late_with_nobody_idle_grows_by_a_quarter_but_not_beyond_the_jobs() -> None:
    pool = spec(depth=1000, wait=30)
    late = once(pool, look(50, 8, busy=8, oldest=46.0))
    assert (late.replicas, late.reason) == (10, Reason.LATE)
    assert once(pool, look(1, 8, busy=8, oldest=46.0)).replicas == 9
    assert once(pool, look(50, 8, busy=7, oldest=46.0)).replicas == 8, "one is idle: it will take the job"
    assert once(pool, look(50, 8, busy=7, starting=1, oldest=46.0)).replicas == 8, "one is on its way"


def test_up_is_one_step_unless_bounded() -> None:
    assert once(spec(depth=1), look(50)).replicas == 50
    slow = once(spec(depth=1, step=7), look(50, 3))
    assert (slow.replicas, slow.limited) == (10, Limit.MAX_PER_TICK)


def test_a_step_is_for_a_second_however_many_decisions_there_are() -> None:
    """News of any pool brings a decision for all of them."""
    pool, history, size, sizes = spec(depth=1, step=5), History(), 0, []
    for tick in range(31):
        waiting = 3 if tick == 0 else 100
        decision, history = decide(pool, look(waiting, size), history, START + tick / 10)
        assert decision.limited is (None if tick == 0 else Limit.MAX_PER_TICK)
        size = decision.replicas
        sizes.append(size)
    assert sizes[0] == 3, "the first ones come at once"
    assert sizes[1] == 5, "and the rest of the step does not wait"
    assert sizes[8] == 5
    assert sizes[10] == 10
    assert size <= 20


def test_rounds_that_come_a_little_early_all_take_a_step() -> None:
    looks = [(tick * 0.98, look(100, 5 * tick)) for tick in range(10)]
    assert after(spec(depth=1, step=5), looks)[0].replicas == 50


def test_bounds_are_said() -> None:
    top = once(spec(depth=1, most=10), look(50))
    assert (top.replicas, top.wanted, top.limited) == (10, 50, Limit.MAX_REPLICAS)
    bottom = once(spec(depth=1, least=2), look(0))
    assert (bottom.replicas, bottom.limited, bottom.reason) == (2, Limit.MIN_REPLICAS, Reason.MINIMUM)


def test_down_waits_for_the_largest_wish_of_the_window() -> None:
    pool = spec(depth=1, stable=60, zero=0)
    looks = [(0.0, look(10)), (1.0, look(0, 10, busy=10)), (20.0, look(0, 10, busy=4)), (59.0, look(0, 10))]
    held, history = after(pool, looks)
    assert (held.replicas, held.reason) == (10, Reason.STABILIZING)
    partly, history = decide(pool, look(0, 10), history, START + 62)
    assert (partly.replicas, partly.reason) == (4, Reason.SURPLUS)
    gone, _ = decide(pool, look(0, 4), history, START + 81)
    assert (gone.replicas, gone.reason) == (0, Reason.IDLE)


def test_at_first_sight_what_is_there_counts_as_wished_for() -> None:
    pool = spec(depth=1, stable=60)
    first, history = decide(pool, look(0, 8), History(), START)
    assert (first.replicas, first.reason) == (8, Reason.STABILIZING)
    later, _ = decide(pool, look(0, 8), history, START + 61)
    assert later.replicas == 1


@pytest.mark.parametrize(("stable", "away"), [(60, OUT_OF_SIGHT_S + 1), (300, OUT_OF_SIGHT_S + 1), (60, 3600.0)])
def test_a_pool_that_was_long_out_of_sight_is_seen_for_the_first_time_again(stable: int, away: float) -> None:
    """Another operator led, or its spec was invalid: whatever was wished for before that says nothing about now."""
    pool = spec(depth=1, stable=stable, zero=30)
    counters = [Counter("w", 10, 20.0)]
    _, history = after(pool, [(0.0, look(0, 1, busy=1)), (1.0, look(0, 1, counters=counters)), (2.0, look(0, 1))])
    back = START + 2 + away
    again, history = decide(pool, look(0, 10), history, back)
    assert (again.replicas, again.reason) == (10, Reason.STABILIZING)
    assert history.service_seconds == pytest.approx(2.0), "how long jobs take is still known"
    for second in range(1, stable + 1):
        again, history = decide(pool, look(0, 10), history, back + second)
        assert again.replicas == 10
    later, history = decide(pool, look(0, 10), history, back + stable + 1)
    assert later.replicas == 0


def test_the_last_one_stays_warm_after_a_long_time_out_of_sight() -> None:
    pool = spec(depth=1, stable=0, zero=600)
    _, history = after(pool, [(0.0, look(0, 1, busy=1))])
    warm, history = decide(pool, look(0, 1), history, START + 601)
    warm, history = decide(pool, look(0, 1), history, START + 602)
    assert (warm.replicas, warm.reason) == (1, Reason.KEPT_WARM)


def test_a_lowered_maximum_counts_at_once_for_all_that_are_idle() -> None:
    _, history = after(spec(depth=1), [(0.0, look(50)), (1.0, look(0, 50, busy=20))])
    decision, _ = decide(spec(depth=1, most=5), look(0, 50, busy=20), history, START + 2)
    assert (decision.replicas, decision.reason) == (20, Reason.BUSY_WORKERS)


def test_never_below_the_busy() -> None:
    decision = once(spec(depth=100, stable=0), look(0, 10, busy=7), History(wishes=((START - 1, 1),)))
    assert (decision.replicas, decision.reason, decision.limited) == (7, Reason.BUSY_WORKERS, Limit.BUSY_WORKERS)


def test_the_last_one_stays_until_nothing_has_happened_for_a_while() -> None:
    pool = spec(depth=1, stable=0, zero=120)
    _, history = after(pool, [(0.0, look(3)), (10.0, look(0, 3, busy=1))])
    warm, history = decide(pool, look(0, 3), history, START + 11)
    assert (warm.replicas, warm.reason) == (1, Reason.KEPT_WARM)
    warm, history = decide(pool, look(0, 1), history, START + 129)
    assert warm.replicas == 1
    cold, _ = decide(pool, look(0, 1), history, START + 130)
    assert (cold.replicas, cold.reason) == (0, Reason.IDLE)


def test_jobs_too_short_to_be_seen_running_keep_it_warm() -> None:
    pool = spec(depth=1, stable=0, zero=30)
    looks = [(float(tick), look(0, 1, counters=[Counter("w", tick, tick * 0.01)])) for tick in range(100)]
    decision, _ = after(pool, looks)
    assert decision.replicas == 1


@pytest.mark.parametrize("size", [0, 1, 7])
def test_unknown_is_never_zero(size: int) -> None:
    pool = spec(depth=1, stable=0, zero=0)
    blind = Observation(size, (QueueSeen("q", None),), None)
    history = History()
    for tick in range(500):
        decision, history = decide(pool, blind, history, START + tick)
        assert decision.replicas == size
    if size:
        assert decision.reason is Reason.UNREADABLE
        assert "queue q could not be read" in decision.message
    # Seeing again, it does not fall at once: nobody knows what was needed meanwhile.
    again, _ = decide(spec(depth=1, stable=60), look(0, size), history, START + 501)
    assert again.replicas == size


def test_one_unreadable_queue_forbids_less_but_not_more() -> None:
    def two(waiting: int) -> Observation:
        crew = WorkersSeen(idle=5)
        return Observation(5, (QueueSeen("a", waiting), QueueSeen("b", None)), crew)

    seen_before = History(wishes=((START - 1, 1),))
    assert once(spec(depth=1, stable=0), two(2), seen_before).replicas == 5
    assert once(spec(depth=1, stable=0), two(9), seen_before).replicas == 9


def test_unknown_workers_may_all_be_busy() -> None:
    seen = Observation(5, (QueueSeen("q", 0),), None)
    assert once(spec(depth=1, stable=0), seen, History(wishes=((START - 1, 0),))).replicas == 5
    assert once(spec(depth=1, replicas=0), seen).replicas == 5


def test_paused_and_suspended_pools_keep_their_size() -> None:
    assert once(spec(depth=1, paused=True), look(50, 3)).reason is Reason.PAUSED
    assert once(spec(depth=1), look(50, 3), paused=True).replicas == 3
    assert once(spec(depth=1), look(0, 3, suspended=True)).replicas == 3
    assert once(spec(depth=1), look(50, 3, suspended=True)).reason is Reason.SUSPENDED


def test_a_number_set_by_hand_rules_but_spares_the_busy() -> None:
    by_hand = once(spec(depth=1, most=10, replicas=20, paused=True), look(0, 3))
    assert (by_hand.replicas, by_hand.reason) == (20, Reason.MANUAL)
    lower = once(spec(depth=1, replicas=0), look(5, 6, busy=4))
    assert (lower.replicas, lower.limited) == (4, Limit.BUSY_WORKERS)


def test_an_abandoned_job_brings_a_worker_to_find_it_but_not_for_a_hiccup() -> None:
    pool = spec(depth=1)
    _, history = after(pool, [(0.0, look(0, abandoned=1))])
    soon, history = decide(pool, look(0, abandoned=1), history, START + 14)
    assert soon.replicas == 0
    found, _ = decide(pool, look(0, abandoned=1), history, START + 15)
    assert (found.replicas, found.reason) == (1, Reason.ABANDONED_JOBS)


def test_the_mean_follows_the_counters_and_outlives_their_workers() -> None:
    history = learn(History(), look(0, 1, counters=[Counter("a", 100, 900.0)]), START)
    assert history.service_seconds is None, "at the first look nobody knows since when"
    history = learn(history, look(0, 1, counters=[Counter("a", 104, 908.0)]), START + 1)
    assert history.service_seconds == pytest.approx(2.0)
    history = learn(history, look(0, 1, counters=[Counter("b", 4, 16.0)]), START + 2)
    assert history.service_seconds == pytest.approx(3.0, rel=0.01)
    history = learn(history, look(0, 0), START + 1_000_000)
    assert history.service_seconds == pytest.approx(3.0, rel=0.01)


def test_the_time_of_the_last_change_is_kept() -> None:
    decision, history = decide(spec(depth=1), look(2), History(), START)
    assert history.last_scale == START
    _, history = decide(spec(depth=1), look(2, decision.replicas), history, START + 9)
    assert history.last_scale == START


def test_victims_are_those_who_serve_nobody_then_the_newest_idle_and_never_the_busy() -> None:
    crew = [
        Member("old", Duty.IDLE, 1), Member("new", Duty.IDLE, 9), Member("busy", Duty.BUSY, 10),
        Member("on its way", Duty.STARTING, 8), Member("broken", Duty.BROKEN, 2), Member("asked", Duty.RETIRING, 3),
    ]  # fmt: skip
    assert [member.name for member in choose_victims(crew, 99)] == ["broken", "on its way", "asked", "new", "old"]
    assert [member.name for member in choose_victims(crew, 1)] == ["broken"]
    assert choose_victims(crew, 0) == choose_victims(crew, -3) == ()
