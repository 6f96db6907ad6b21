"""Whole lives of pools in made-up time: ours beside KEDA's, and random interleavings of all that may happen."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rqk.autoscale.compare import spec
from rqk.autoscale.decide import History, decide
from rqk.autoscale.keda import KedaHpa
from rqk.autoscale.model import PoolSpec
from rqk.autoscale.retire import Duty, Member, choose_victims
from rqk.autoscale.seen import Observation, QueueSeen, WorkersSeen
from rqk.autoscale.simulate import Outcome, Rqk, World, simulate
from rqk.autoscale.traces import Arrival, Trace, burst, poisson, sparse
from tests.support.examples import examples


def first_size(outcome: Outcome) -> tuple[float, int]:
    """When the pool first reached its peak, and the peak."""
    return next((at, size) for at, size in outcome.sizes if size == outcome.peak)


def test_a_burst_is_met_in_one_step_and_no_busy_worker_dies() -> None:
    outcome = simulate(burst(100, 600), Rqk(spec(depth=1)))
    assert outcome.killed == 0
    assert first_size(outcome)[1] == 100
    assert first_size(outcome)[0] <= 1.0
    assert outcome.wait_p95 <= 6.5
    assert outcome.empty_at is not None


def test_a_pool_at_zero_is_woken_by_the_first_job() -> None:
    outcome = simulate((Arrival(500.0, 1.0),), Rqk(spec(depth=1)))
    assert outcome.sizes[0] == (500.0, 1)
    assert outcome.wait_p50 == pytest.approx(5.0)


def test_a_wait_target_is_met_when_the_time_jobs_take_is_known() -> None:
    """2000 jobs of 2 s in 30 s need 134 workers, and the 5 s that a pod needs to start come on top."""
    policy = Rqk(spec(wait=30, most=1000), history=History.resumed(service_seconds=2.0))
    outcome = simulate(burst(2000, 2.0), policy)
    assert outcome.peak == 134
    assert outcome.wait_p95 <= 35


def test_it_does_not_grow_while_it_drains() -> None:
    """Running jobs weigh no more than waiting ones: what was started for a burst is enough until the end."""
    policy = Rqk(spec(wait=30, most=1000), history=History.resumed(service_seconds=10.0))
    outcome = simulate(burst(600, 10.0), policy)
    assert outcome.peak <= 220


def test_keda_kills_busy_workers_on_long_jobs_and_rqk_does_not() -> None:
    trace = burst(100, 600)
    keda = simulate(trace, KedaHpa(list_length=5), horizon=5.5 * 3600)
    ours = simulate(trace, Rqk(spec(depth=1)))
    assert keda.killed > 20
    assert keda.thrown_away > 3600
    assert ours.killed == 0
    assert ours.thrown_away == 0


def test_even_keda_tuned_by_an_expert_kills_waits_longer_and_costs_more() -> None:
    trace = poisson(0.2, 60, 1.5, 3600, seed=0)
    keda = simulate(trace, KedaHpa(list_length=1, count_running=True))
    ours = simulate(trace, Rqk(spec(depth=1)))
    assert keda.killed > 0
    assert ours.killed == 0
    assert ours.wait_p95 < keda.wait_p95
    assert ours.pod_seconds < keda.pod_seconds


def test_keda_doubles_from_one() -> None:
    outcome = simulate(burst(1000, 10), KedaHpa(list_length=1))
    sizes = [size for _, size in outcome.sizes]
    assert sizes[:6] == [1, 4, 8, 16, 32, 64]
    assert 75 <= first_size(outcome)[0] <= 120


def test_a_pool_for_rare_jobs_is_empty_most_of_the_time() -> None:
    outcome = simulate(sparse(600, 5, 3600), Rqk(spec(depth=1)))
    assert outcome.pod_seconds < 0.25 * 3600
    assert outcome.peak == 1


def test_the_same_seed_gives_the_same_life() -> None:
    trace = poisson(0.5, 10, 1.0, 600, seed=3)
    assert simulate(trace, KedaHpa(), seed=5) == simulate(trace, KedaHpa(), seed=5)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    jobs = draw(st.lists(st.tuples(st.floats(0, 300), st.floats(0.01, 200)), min_size=1, max_size=60))
    return tuple(Arrival(at, seconds) for at, seconds in sorted(jobs))


@settings(max_examples=examples(40))
@given(trace=traces(), depth=st.none() | st.integers(1, 20), stale=st.floats(0, 3), seed=st.integers(0, 99))
def test_every_job_of_any_trace_runs_once_and_the_pool_empties(
    trace: Trace, depth: int | None, stale: float, seed: int
) -> None:
    pool = spec(depth=depth, wait=30 if depth is None else None, most=20)
    outcome = simulate(trace, Rqk(pool, stale_s=stale), seed=seed)
    assert outcome.killed == 0
    assert outcome.done_at is not None
    assert outcome.empty_at is not None
    assert outcome.useful_seconds == pytest.approx(sum(job.seconds for job in trace))
    assert outcome.peak <= 20


class Interleavings(RuleBasedStateMachine):
    """Claims, ends, starts, deaths, looks and retirements in any order: what was seen is stale when it is acted on."""

    def __init__(self) -> None:
        super().__init__()
        self.pool: PoolSpec = spec(depth=2, most=8)
        self.world = World(start_s=1.0, grace_s=0.0, chance=random.Random(0))
        self.history = History()
        self.seen: Observation | None = None
        self.crew: list[Member] = []
        self.refused = 0

    @initialize(depth=st.integers(1, 5))
    def choose(self, depth: int) -> None:
        self.pool = spec(depth=depth, most=8)

    @rule(jobs=st.integers(1, 6), seconds=st.floats(0.1, 300))
    def enqueue(self, jobs: int, seconds: float) -> None:
        for _ in range(jobs):
            self.world.enqueue(Arrival(self.world.now, seconds))

    @rule(seconds=st.floats(0.01, 200))
    def time_passes(self, seconds: float) -> None:
        until = self.world.now + seconds
        self.world.at(until, lambda: None)
        self.world.run(lambda: self.world.now >= until, until)

    @rule()
    def see(self) -> None:
        pods = self.world.members
        duties = [pod.duty for pod in pods]
        crew = WorkersSeen(
            idle=duties.count(Duty.IDLE), busy=duties.count(Duty.BUSY), starting=duties.count(Duty.STARTING)
        )
        self.seen = Observation(len(pods), (QueueSeen("default", len(self.world.waiting)),), crew)
        self.crew = [Member(str(pod.number), pod.duty, pod.born) for pod in pods]

    @precondition(lambda self: self.seen is not None)
    @rule()
    def act(self) -> None:
        """On what was seen some time ago; workers may have taken jobs, or gone, since."""
        assert self.seen is not None
        decision, self.history = decide(self.pool, self.seen, self.history, self.world.now)
        self.seen = None
        if decision.change > 0:
            self.world.grow(decision.change)
            return
        for member in choose_victims(self.crew, -decision.change):
            assert member.duty is not Duty.BUSY
            pod = self.world.pods.get(int(member.name))
            if pod is None:
                continue
            was_busy = pod.job is not None
            gone = self.world.retire(pod)
            assert not (gone and was_busy)
            self.refused += was_busy

    @precondition(lambda self: self.world.pods)
    @rule(data=st.data())
    def a_pod_dies(self, data: st.DataObject) -> None:
        """Of itself; its job comes back to the queue."""
        number = data.draw(st.sampled_from(sorted(self.world.pods)))
        pod = self.world.pods.pop(number)
        if pod.job is not None:
            self.world.waiting.appendleft(pod.job)

    @invariant()
    def nobody_was_killed_by_us(self) -> None:
        assert self.world.killed == 0
        assert not [pod for pod in self.world.pods.values() if pod.leaving]

    def teardown(self) -> None:
        """Left alone, the pool does what there is to do and empties."""
        for _ in range(3000):
            if not self.world.waiting and not self.world.pods:
                return
            self.see()
            self.act()
            self.time_passes(1.0)
        raise AssertionError(f"{len(self.world.waiting)} jobs wait, {len(self.world.pods)} pods are left")


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=examples(40), stateful_step_count=30)
