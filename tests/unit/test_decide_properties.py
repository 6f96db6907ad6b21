"""What holds for every pool, whatever happens to it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rqk.autoscale.decide import History, decide
from rqk.autoscale.model import PoolSpec, ScaleDown, ScaleUp, Scaling
from rqk.autoscale.seen import Counter, Observation, QueueSeen, WorkersSeen
from tests.support.examples import examples

counts = st.integers(0, 200)


@st.composite
def specs(draw: st.DrawFn) -> PoolSpec:
    most = draw(st.integers(1, 60))
    depth = draw(st.none() | st.integers(1, 50))
    return PoolSpec(
        queues=("a", "b"),
        scaling=Scaling(
            min_replicas=draw(st.integers(0, most)),
            max_replicas=most,
            target_depth_per_worker=depth,
            target_wait_seconds=draw(st.integers(1, 600) if depth is None else st.none() | st.integers(1, 600)),
            scale_up=ScaleUp(max_per_tick=draw(st.none() | st.integers(1, 10))),
            scale_down=ScaleDown(
                stabilization_seconds=draw(st.integers(0, 90)), to_zero_after_seconds=draw(st.integers(0, 90))
            ),
        ),
    )


@st.composite
def looks(draw: st.DrawFn, replicas: int) -> Observation:
    """Anything that Redis and the platform could say about a pool of this size."""
    busy = draw(st.integers(0, replicas))
    starting = draw(st.integers(0, replicas - busy))
    crew = WorkersSeen(
        idle=replicas - busy - starting,
        busy=busy,
        starting=starting,
        retiring=draw(st.integers(0, 3)),
        counters=tuple(
            Counter(name, draw(st.integers(0, 10_000)), draw(st.floats(0, 1e6)))
            for name in draw(st.sets(st.sampled_from("xyz")))
        ),
    )
    queues = tuple(
        QueueSeen(
            name,
            draw(st.none() | counts),
            due=draw(st.integers(0, 5)),
            oldest_wait=draw(st.none() | st.floats(0, 1e5)),
        )
        for name in ("a", "b")
    )
    return Observation(
        replicas,
        queues,
        draw(st.none() | st.just(crew)),
        draw(st.integers(0, 2)),
        draw(st.sampled_from([False] * 9 + [True])),
    )


@settings(max_examples=examples(150))
@given(spec=specs(), data=st.data())
def test_a_size_is_always_within_its_bounds_and_never_below_the_busy(spec: PoolSpec, data: st.DataObject) -> None:
    history, now, size = History(), 0.0, data.draw(st.integers(0, 70), "size at first")
    scaling = spec.scaling
    for _ in range(data.draw(st.integers(1, 12), "looks")):
        seen = data.draw(looks(size))
        decision, history = decide(spec, seen, history, now)
        known = seen.readable and seen.workers is not None
        assert decision.replicas >= min(seen.busy, size), "a busy worker would have to go"
        if decision.change > 0:
            assert decision.replicas <= scaling.max_replicas
            assert scaling.scale_up.max_per_tick is None or decision.change <= scaling.scale_up.max_per_tick
        if decision.change < 0:
            assert known, "shrunk blindly"
            assert not seen.suspended
            assert decision.replicas >= scaling.min_replicas
        if known and not seen.suspended:
            assert decision.replicas <= max(scaling.max_replicas, seen.busy)
            if decision.replicas == 0 and size > 0:
                assert seen.waiting + seen.due + seen.busy == 0
        if scaling.scale_up.max_per_tick is None and not seen.suspended:
            assert decision.replicas >= min(decision.wanted, scaling.max_replicas), "up is at once"
            assert decision.replicas >= scaling.min_replicas
        assert decision.message
        assert all(text for text in decision.inputs.texts().values())
        size = decision.replicas
        now += data.draw(st.sampled_from([0.1, 1.0, 7.0, 61.0, 1000.0]), "seconds until the next look")


@settings(max_examples=examples(60))
@given(spec=specs(), data=st.data())
def test_a_quiet_pool_comes_to_its_minimum_and_rests_there(spec: PoolSpec, data: st.DataObject) -> None:
    history, now, size = History(), 0.0, data.draw(st.integers(0, 70))
    for _ in range(data.draw(st.integers(0, 6))):
        decision, history = decide(spec, data.draw(looks(size)), history, now)
        size, now = decision.replicas, now + 1

    def quiet() -> Observation:
        queues = (QueueSeen("a", 0), QueueSeen("b", 0))
        return Observation(size, queues, WorkersSeen(idle=size))

    for _ in range(800):
        decision, history = decide(spec, quiet(), history, now)
        size, now = decision.replicas, now + 1
    assert size == spec.scaling.min_replicas


@settings(max_examples=examples(100))
@given(spec=specs(), waiting=counts, more=st.integers(0, 100), size=st.integers(0, 70), data=st.data())
def test_more_waiting_jobs_never_mean_fewer_workers(
    spec: PoolSpec, waiting: int, more: int, size: int, data: st.DataObject
) -> None:
    busy = data.draw(st.integers(0, size))

    def sized(depth: int) -> int:
        seen = Observation(size, (QueueSeen("a", depth),), WorkersSeen(idle=size - busy, busy=busy))
        return decide(spec, seen, History.resumed(service_seconds=5.0), 0.0)[0].replicas

    assert sized(waiting) <= sized(waiting + more)
