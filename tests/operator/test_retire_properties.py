"""Whatever happens in whatever order: no busy worker is ever removed because a pool shrinks, and the pool gets its size."""

from __future__ import annotations

from zlib import crc32

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rqk_operator.retire import Mate

from tests.operator.cluster_model import Model
from tests.support.examples import examples

MOST = 6


class Shrinking(RuleBasedStateMachine):
    """Claims, ends, starts, crashes, probes, lost pods, stale caches, hand scaling up, and rounds of the operator in any
    order."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.looked: tuple[list[Mate], int] | None = None
        self.hopeless: set[str] = set()  # their containers never start again

    def startable(self) -> list[str]:
        pods = self.model.now.pods.items()
        return [uid for uid, pod in pods if not pod.running and not pod.deleting and uid not in self.hopeless]

    def pick(self, choice: int, uids: list[str]) -> str | None:
        return uids[choice % len(uids)] if uids else None

    @rule(choice=st.integers(0, 50))
    def a_container_starts(self, choice: int) -> None:
        if uid := self.pick(choice, self.startable()):
            self.model.start_container(uid)

    @rule(choice=st.integers(0, 50))
    def a_worker_registers(self, choice: int) -> None:
        model = self.model
        pods = [u for u, p in model.now.pods.items() if p.running and not model.is_there(u) and model.may_register(u)]
        if uid := self.pick(choice, pods):
            model.register(uid)

    @rule(choice=st.integers(0, 50))
    def a_worker_claims(self, choice: int) -> None:
        if uid := self.pick(choice, [uid for uid in self.model.workers if uid in self.model.now.pods]):
            self.model.claim(uid)

    @rule(choice=st.integers(0, 50))
    def a_pod_comes_to_life(self, choice: int) -> None:
        """All the way to its first job, which by single steps happens too seldom between a look and a write."""
        model = self.model
        there = [uid for uid, pod in model.now.pods.items() if pod.running and not pod.deleting]
        pods = [uid for uid in (*there, *self.startable()) if not model.is_there(uid)]
        if uid := self.pick(choice, pods):
            if not model.now.pods[uid].running:
                model.start_container(uid)
            model.catch_up()
            model.register(uid)
            model.claim(uid)

    @rule(choice=st.integers(0, 50))
    def a_worker_finishes(self, choice: int) -> None:
        if uid := self.pick(choice, [uid for uid, worker in self.model.workers.items() if worker.busy]):
            self.model.workers[uid].busy = False

    @rule(choice=st.integers(0, 50), for_good=st.booleans())
    def an_idle_worker_crashes(self, choice: int, for_good: bool) -> None:
        model = self.model
        idle = [
            uid
            for uid, pod in model.now.pods.items()
            if pod.running and not pod.deleting and not (uid in model.workers and model.workers[uid].busy)
        ]
        if uid := self.pick(choice, idle):
            model.crash(uid)
            if for_good:
                self.hopeless.add(uid)

    @rule(choice=st.integers(0, 50))
    def a_record_ends(self, choice: int) -> None:
        if uid := self.pick(choice, [uid for uid, worker in self.model.workers.items() if worker.dead]):
            self.model.forget(uid)

    @rule(choice=st.integers(0, 50))
    def the_kubelet_probes(self, choice: int) -> None:
        if uid := self.pick(choice, [uid for uid, pod in self.model.now.pods.items() if pod.running]):
            self.model.probe(uid)

    @rule(choice=st.integers(0, 50))
    def the_kubelet_removes(self, choice: int) -> None:
        if uid := self.pick(choice, [uid for uid, pod in self.model.now.pods.items() if pod.deleting]):
            self.model.remove(uid)

    @rule(choice=st.integers(0, 50))
    def an_idle_pod_is_evicted(self, choice: int) -> None:
        idle = [
            uid
            for uid, pod in self.model.now.pods.items()
            if not pod.deleting and not (uid in self.model.workers and self.model.workers[uid].busy)
        ]
        if uid := self.pick(choice, idle):
            self.model.delete(uid)

    @rule(steps=st.integers(0, 10))
    def the_operators_watch_gets_on(self, steps: int) -> None:
        model = self.model
        model.seen_by_operator = min(len(model.history) - 1, model.seen_by_operator + steps)

    @rule(steps=st.integers(0, 10))
    def the_controllers_watch_gets_on(self, steps: int) -> None:
        model = self.model
        model.seen_by_controller = min(len(model.history) - 1, model.seen_by_controller + steps)

    @rule(tie=st.integers(0, 1000))
    def the_controller_syncs(self, tie: int) -> None:
        self.model.control(tie)

    @rule(more=st.integers(1, 3))
    def somebody_scales_up_by_hand(self, more: int) -> None:
        now = self.model.now.replicas
        self.model.store(replicas=max(now, min(MOST, now + more)))

    @initialize(size=st.integers(2, MOST), probed=st.booleans())
    def a_pool_at_work(self, size: int, probed: bool) -> None:
        self.model.probed = probed
        self.model.store(replicas=size)
        self.model.catch_up()
        self.model.control(0)
        self.all_is_quiet()

    @rule()
    def all_is_quiet(self) -> None:
        """Pods start, workers register, probes say so, and everybody knows it."""
        model = self.model
        for uid in self.startable():
            model.start_container(uid)
        model.catch_up()
        for uid, pod in list(model.now.pods.items()):
            if pod.running:
                model.register(uid)
                model.probe(uid)
        model.catch_up()

    @rule(count=st.integers(1, MOST), tie=st.integers(0, 1000))
    def jobs_come(self, count: int, tie: int) -> None:
        waiting = sorted(
            (uid for uid in self.model.workers if uid in self.model.now.pods),
            key=lambda uid: crc32(f"{uid} {tie}".encode()),
        )
        for uid in waiting[:count]:
            self.model.claim(uid)

    @rule(wanted=st.integers(0, MOST), late=st.booleans(), born=st.booleans(), tie=st.integers(0, 1000))
    def a_round(self, wanted: int, late: bool, born: bool, tie: int) -> None:
        """The operator looks and acts; a job or a worker may come in between; the controller acts on what it knows."""
        model = self.model
        self.looked = None  # a look that a round has overtaken is not acted on (Site.is_overtaken)
        model.seen_by_operator = len(model.history) - 1
        looked = model.look()
        if late:
            self.jobs_come(1, tie)
        if born:
            self.a_pod_comes_to_life(tie)
        model.act(*looked, wanted)
        model.control(tie)

    @rule()
    def the_operator_looks(self) -> None:
        self.looked = self.model.look()

    @precondition(lambda self: self.looked is not None)
    @rule(wanted=st.integers(0, MOST))
    def the_operator_acts(self, wanted: int) -> None:
        assert self.looked is not None
        mates, replicas = self.looked
        self.looked = None
        self.model.act(mates, replicas, wanted)

    @invariant()
    def no_busy_worker_is_removed(self) -> None:
        assert self.model.killed_busy == []

    def teardown(self) -> None:
        """Left alone, the pool gets the size that is wanted, and nobody is left half retired."""
        model = self.model
        for uid in list(model.workers):
            model.workers[uid].busy = False
        wanted = 2
        for _ in range(40):
            model.catch_up()
            for uid, pod in list(model.now.pods.items()):
                if pod.deleting:
                    model.remove(uid)
                elif not pod.running:
                    if uid not in self.hopeless:
                        model.start_container(uid)
                elif not model.is_there(uid):
                    model.register(uid)
                else:
                    model.probe(uid)
            model.catch_up()
            model.act(*model.look(), wanted)
            model.catch_up()
            model.control(0)
        model.catch_up()
        assert len([pod for pod in model.now.pods.values() if pod.active]) == wanted
        assert model.now.replicas == wanted
        assert not any(worker.retiring for worker in model.workers.values())
        assert all(pod.cost == 0 for pod in model.now.pods.values() if pod.active)
        assert model.killed_busy == []


TestShrinking = Shrinking.TestCase
TestShrinking.settings = settings(
    max_examples=examples(300), stateful_step_count=60, suppress_health_check=[HealthCheck.too_slow]
)
