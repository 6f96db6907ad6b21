"""A model of what stands between the operator and a pod's end: the API server, the ReplicaSet controller, the kubelet,
workers that claim and finish jobs, and caches that lag behind.

What it takes for granted, and nothing else: a container that has just started needs longer until its worker claims a
job than the watches lag behind; for workers of another make, which cannot be asked before they come, also longer than
the controller needs to act on a number that was written before they were seen to run; and the controller knows what the
operator saw a round ago.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from zlib import crc32

from rqk_operator.retire import LOWEST_COST, Directory, Mate, Memory, Plan, crew, plan, size, still_holds, still_to_mark
from rqk_operator.views import PodView

from rqk.store.snapshot import WorkerSnapshot

NOW = 1e6


@dataclass(frozen=True)
class Objects:
    """What the API server stores; caches hold older ones."""

    replicas: int
    pods: dict[str, PodView]


@dataclass
class Worker:
    """The process in a pod, as Redis knows it. The rules are those of claim.lua and retire.lua."""

    busy: bool = False
    retiring: bool = False
    claimed: int = 0
    dead: bool = False  # only its record is there


@dataclass
class Model:
    """One pool on one cluster."""

    probed: bool = True
    history: list[Objects] = field(default_factory=lambda: [Objects(0, {})])
    workers: dict[str, Worker] = field(default_factory=dict)
    seen_by_operator: int = 0
    seen_by_controller: int = 0
    seen_a_round_ago: int = 0
    memory: Memory = field(default_factory=Memory)
    resized: tuple[int, int] = (0, 0)  # when the operator last wrote the number, and which: it knows that at once
    # The pods seen to run when the operator wrote a number on which the controller did not act yet; None: it did.
    ran_then: frozenset[str] | None = None
    expected_gone: set[str] = field(default_factory=set)
    made: int = 0
    told: set[str] = field(default_factory=set)  # asked to retire before they came, or came again
    killed_busy: list[str] = field(default_factory=list)

    @property
    def now(self) -> Objects:
        return self.history[-1]

    def store(self, *, replicas: int | None = None, pods: Mapping[str, PodView | None] = MappingProxyType({})) -> None:
        found = {**self.now.pods}
        for uid, pod in pods.items():
            if pod is None:
                found.pop(uid)
            else:
                found[uid] = pod
        self.history.append(Objects(self.now.replicas if replicas is None else replicas, found))

    def change(self, uid: str, **fields: object) -> None:
        self.store(pods={uid: replace(self.now.pods[uid], **fields)})  # type: ignore[arg-type]

    # The kubelet and the workers
    def start_container(self, uid: str) -> None:
        self.change(uid, assigned=True, phase="Running", running=True, waiting="")

    def crash(self, uid: str) -> None:
        """The container ends, and waits to be started again; the record of its worker stays for a while."""
        self.change(uid, running=False, ready=False, waiting="CrashLoopBackOff")
        if uid in self.workers:
            self.workers[uid].dead = True

    def is_there(self, uid: str) -> bool:
        return uid in self.workers and not self.workers[uid].dead

    def forget(self, uid: str) -> None:
        """The record ends."""
        del self.workers[uid]

    def may_register(self, uid: str) -> bool:
        caches = (self.history[self.seen_by_operator], self.history[self.seen_by_controller])
        return all(uid in cache.pods and cache.pods[uid].running for cache in caches)

    def register(self, uid: str) -> None:
        if not self.is_there(uid):
            self.workers[uid] = Worker(retiring=uid in self.told)

    def probe(self, uid: str) -> None:
        worker = self.workers.get(uid)
        ready = worker is not None and not worker.dead and not (self.probed and worker.retiring)
        if self.now.pods[uid].ready != ready:
            self.change(uid, ready=ready)

    def claim(self, uid: str) -> bool:
        worker = self.workers[uid]
        if worker.busy or worker.retiring or worker.dead or self.now.pods[uid].deleting:
            return False
        if not self.probed and self.ran_then is not None and uid not in self.ran_then:
            return False
        worker.busy = True
        worker.claimed += 1
        return True

    def snapshot(self) -> list[WorkerSnapshot]:
        return [
            WorkerSnapshot(
                name=self.now.pods[uid].worker,
                queues=("default",),
                state="busy" if worker.busy else "idle",
                executions=int(worker.busy),
                retiring=worker.retiring,
            )
            for uid, worker in self.workers.items()
            if uid in self.now.pods
        ]

    # The ReplicaSet controller
    def control(self, tie: int) -> None:
        """One sync by what its cache holds. ``tie`` decides between pods that rank the same."""
        cache = replace(
            self.history[self.seen_by_controller], replicas=self.now.replicas
        )  # two watches: one may be ahead
        if not self.expected_gone.isdisjoint(uid for uid, pod in cache.pods.items() if pod.active):
            return  # it waits until it has seen what it did last
        self.expected_gone.clear()
        self.ran_then = None
        active = [pod for pod in cache.pods.values() if pod.active]
        if len(active) < cache.replicas:
            for _ in range(cache.replicas - len(active)):
                self.made += 1
                uid = f"u{self.made}"
                self.store(pods={uid: PodView("ns", f"p{self.made}", uid, "pool", created=NOW - 100 + self.made)})
            self.seen_by_controller = len(self.history) - 1
            return
        order = {"Pending": 0, "Running": 2}
        ranked = sorted(
            active,
            key=lambda pod: (pod.assigned, order[pod.phase], pod.ready, pod.cost, crc32(f"{pod.uid} {tie}".encode())),
        )
        for pod in ranked[: len(active) - cache.replicas]:
            self.expected_gone.add(pod.uid)
            self.delete(pod.uid)

    def delete(self, uid: str) -> None:
        if uid not in self.now.pods or self.now.pods[uid].deleting:
            return
        if uid in self.workers and self.workers[uid].busy:
            self.killed_busy.append(uid)
        self.change(uid, deleting=True)

    def remove(self, uid: str) -> None:
        self.workers.pop(uid, None)
        self.store(pods={uid: None})

    # The operator
    def look(self) -> tuple[list[Mate], int]:
        """What it sees; jobs may be claimed before it acts."""
        cache = self.history[self.seen_by_operator]
        written, number = self.resized
        replicas = number if self.seen_by_operator < written else cache.replicas
        return crew(cache.pods.values(), Directory(self.snapshot()), now=NOW), replicas

    def act(self, mates: list[Mate], replicas: int, wanted: int) -> Plan:
        """One round. Before it, the controller has caught up with the round before."""
        self.seen_by_controller = max(self.seen_by_controller, self.seen_a_round_ago)
        self.seen_a_round_ago = self.seen_by_operator
        steps = plan(replicas, wanted, mates, self.memory, probed=self.probed)
        self.memory = steps.memory
        by_name = {self.now.pods[uid].worker: worker for uid, worker in self.workers.items() if uid in self.now.pods}
        for mate in steps.unretire:
            self.told.discard(mate.pod.uid)
            if mate.pod.worker in by_name:
                by_name[mate.pod.worker].retiring = False
        agreed = []
        for mate in steps.retire:
            worker = by_name.get(mate.pod.worker)
            if worker is not None and worker.busy:
                continue
            if worker is not None:
                worker.retiring = True
            elif not mate.away:
                continue
            if mate.away and self.probed:
                self.told.add(mate.pod.uid)
            agreed.append(mate.pod)
        self.memory = self.memory.asked_ahead(agreed)
        for pod in (*still_to_mark(steps, self.history[self.seen_by_operator].pods), *agreed):
            if pod.uid in self.now.pods:
                self.change(pod.uid, cost=LOWEST_COST)
        for pod in steps.unmark:
            if pod.uid in self.now.pods:
                self.change(pod.uid, cost=0)
        lowers = steps.replicas is not None and steps.replicas < replicas
        if lowers and not still_holds(steps, self.history[self.seen_by_operator].pods):
            return steps
        if steps.replicas is not None and self.now.replicas == replicas:  # the patch's test
            self.store(replicas=steps.replicas)
            self.resized = (len(self.history) - 1, steps.replicas)
            running = frozenset(uid for uid, pod in self.history[self.seen_by_operator].pods.items() if pod.running)
            self.ran_then = running if self.ran_then is None else self.ran_then & running
        return steps

    def catch_up(self) -> None:
        self.seen_by_operator = self.seen_by_controller = len(self.history) - 1

    def size(self) -> int:
        mates, replicas = self.look()
        return size(replicas, mates)
