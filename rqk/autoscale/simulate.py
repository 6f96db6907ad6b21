"""A pool of workers in a made-up time: how a policy would do on a trace, before a cluster has to show it.

Discrete events, seeded, no clock: an hour takes milliseconds. A pod needs ``start_s`` to serve, runs one job at a time
in order of arrival, and when told to leave finishes its job within ``grace_s`` or is killed, upon which the job goes
back to the head of the queue at once (which flatters whoever kills: with RQ it is found minutes later, or lost).
:class:`Rqk` is :func:`rqk.autoscale.decide.decide` itself; :mod:`rqk.autoscale.keda` is what it is compared with.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Protocol

from rqk.autoscale.decide import decide
from rqk.autoscale.history import History
from rqk.autoscale.model import PoolSpec
from rqk.autoscale.retire import Duty, Member, choose_victims
from rqk.autoscale.seen import Counter, Observation, QueueSeen, WorkersSeen
from rqk.autoscale.traces import Arrival, Trace


@dataclass(slots=True)
class Pod:
    """A simulated worker."""

    number: int
    born: float
    ready: bool = False
    leaving: bool = False
    job: Arrival | None = None
    job_since: float = 0.0
    jobs: int = 0
    seconds: float = 0.0

    @property
    def duty(self) -> Duty:
        if not self.ready:
            return Duty.STARTING
        return Duty.IDLE if self.job is None else Duty.BUSY


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went. Times in seconds; ``killed`` counts jobs whose worker was killed under them."""

    jobs: int
    killed: int
    thrown_away: float
    wait_p50: float
    wait_p95: float
    pod_seconds: float
    useful_seconds: float
    peak: int
    # When the last job ended; None if the horizon came first.
    done_at: float | None
    # When the pool was empty for good; None if it never was.
    empty_at: float | None
    # Size after each change, for tests and pictures.
    sizes: tuple[tuple[float, int], ...]


class Policy(Protocol):
    """What sizes the pool: called now and then, it changes the world through ``grow`` and ``remove``."""

    def timers(self, chance: random.Random) -> list[tuple[float, float, Callable[[World], None]]]:
        """(first call, period, what to call)."""

    def arrived(self, world: World) -> None:
        """A job has come."""


@dataclass
class World:
    """The simulated pool; policies look at it and change its size."""

    start_s: float
    grace_s: float
    chance: random.Random
    now: float = 0.0
    pods: dict[int, Pod] = field(default_factory=dict)
    waiting: deque[Arrival] = field(default_factory=deque)
    waits: list[float] = field(default_factory=list)
    sizes: list[tuple[float, int]] = field(default_factory=list)
    killed: int = 0
    thrown_away: float = 0.0
    pod_seconds: float = 0.0
    useful_seconds: float = 0.0
    last_end: float | None = None
    ended: int = 0
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Have something happen at a time; what is due together happens in the order in which it was asked for."""
        self._count += 1
        heapq.heappush(self._events, (when, self._count, call))

    def run(self, until: Callable[[], bool], horizon: float) -> None:
        """Let time pass until the predicate holds or the horizon is reached."""
        while self._events and not until():
            self.now, _, call = heapq.heappop(self._events)
            if self.now > horizon:
                self.now = horizon
                return
            call()

    @property
    def members(self) -> list[Pod]:
        """Pods that count towards the size: all but the leaving ones."""
        return [pod for pod in self.pods.values() if not pod.leaving]

    def grow(self, by: int) -> None:
        for _ in range(by):
            self._count += 1
            pod = Pod(self._count, self.now)
            self.pods[pod.number] = pod
            self.at(self.now + self.start_s, lambda pod=pod: self._ready(pod))  # type: ignore[misc]
        self._note()

    def remove(self, pod: Pod) -> None:
        """SIGTERM: the job may end within the grace period; an idle or starting pod is gone at once."""
        pod.leaving = True
        if pod.job is None:
            self._gone(pod)
        else:
            self.at(self.now + self.grace_s, lambda: self._kill(pod))
        self._note()

    def retire(self, pod: Pod) -> bool:
        """The handshake: leave only if there is no job in hand."""
        if pod.number not in self.pods or pod.leaving or pod.job is not None:
            return False
        self.remove(pod)
        return True

    def enqueue(self, job: Arrival) -> None:
        self.waiting.append(job)
        self._hand_out()

    def _note(self) -> None:
        self.sizes.append((self.now, len(self.members)))

    def _ready(self, pod: Pod) -> None:
        if pod.number in self.pods:
            pod.ready = True
            self._hand_out()

    def _hand_out(self) -> None:
        for pod in self.pods.values():
            if not self.waiting:
                return
            if pod.ready and pod.job is None and not pod.leaving:
                job = self.waiting.popleft()
                pod.job, pod.job_since = job, self.now
                self.waits.append(self.now - job.at)
                self.at(self.now + job.seconds, lambda pod=pod, job=job: self._end(pod, job))  # type: ignore[misc]

    def _end(self, pod: Pod, job: Arrival) -> None:
        if pod.number not in self.pods or pod.job is not job:
            return  # killed before
        pod.job = None
        pod.jobs += 1
        pod.seconds += job.seconds
        self.useful_seconds += job.seconds
        self.ended += 1
        self.last_end = self.now
        if pod.leaving:
            self._gone(pod)
        else:
            self._hand_out()

    def _kill(self, pod: Pod) -> None:
        if pod.number in self.pods and pod.job is not None:
            self.killed += 1
            self.thrown_away += self.now - pod.job_since
            self.waiting.appendleft(Arrival(self.now, pod.job.seconds))
            self._gone(pod)
            self._hand_out()

    def _gone(self, pod: Pod) -> None:
        self.pod_seconds += self.now - pod.born
        del self.pods[pod.number]


@dataclass
class Rqk:
    """rqk's own policy: a look each ``tick_s``, at once if a job comes while the pool is at zero.

    ``stale_s``: the choice of who leaves rests on what was seen so long ago; the handshake has to make up for it.
    """

    spec: PoolSpec
    tick_s: float = 1.0
    stale_s: float = 0.0
    history: History = field(default_factory=History)

    def timers(self, chance: random.Random) -> list[tuple[float, float, Callable[[World], None]]]:
        return [(chance.uniform(0, self.tick_s), self.tick_s, self.tick)]

    def arrived(self, world: World) -> None:
        if not world.members:
            self.tick(world)

    def tick(self, world: World) -> None:
        seen = look(world, self.spec.queues[0])
        decision, self.history = decide(self.spec, seen, self.history, world.now)
        if decision.change > 0:
            world.grow(decision.change)
        elif decision.change < 0:
            members = [Member(str(pod.number), pod.duty, pod.born) for pod in world.members]
            chosen = [int(member.name) for member in choose_victims(members, -decision.change)]
            world.at(world.now + self.stale_s, lambda: self._retire(world, chosen))

    def _retire(self, world: World, chosen: list[int]) -> None:
        for number in chosen:
            if number in world.pods:
                world.retire(world.pods[number])


def look(world: World, queue: str) -> Observation:
    """What the snapshot of Redis would say."""
    duties = [pod.duty for pod in world.members]
    oldest = world.now - world.waiting[0].at if world.waiting else None
    return Observation(
        replicas=len(duties),
        queues=(QueueSeen(queue, len(world.waiting), oldest_wait=oldest),),
        workers=WorkersSeen(
            idle=duties.count(Duty.IDLE),
            busy=duties.count(Duty.BUSY),
            starting=duties.count(Duty.STARTING),
            counters=tuple(Counter(str(pod.number), pod.jobs, pod.seconds) for pod in world.members if pod.ready),
        ),
    )


def simulate(
    trace: Trace,
    policy: Policy,
    *,
    seed: int = 0,
    start_s: float = 5.0,
    grace_s: float = 30.0,
    horizon: float = 20_000.0,
    to_zero: bool = True,
) -> Outcome:
    """Run a trace through a pool; ends when all jobs are done and (with ``to_zero``) the pool is empty, or at the horizon."""
    chance = random.Random(seed)
    world = World(start_s, grace_s, chance)

    def come(job: Arrival) -> None:
        world.enqueue(job)
        policy.arrived(world)

    for job in trace:
        world.at(job.at, lambda job=job: come(job))  # type: ignore[misc]
    for first, period, call in policy.timers(chance):
        _every(world, first, period, call)
    world.run(lambda: world.ended == len(trace) and (not world.pods or not to_zero), horizon)
    left = sum(world.now - pod.born for pod in world.pods.values())
    done = world.ended == len(trace)
    p50, p95 = _percentiles(world.waits)
    return Outcome(
        jobs=len(trace),
        killed=world.killed,
        thrown_away=world.thrown_away,
        wait_p50=p50,
        wait_p95=p95,
        pod_seconds=world.pod_seconds + left,
        useful_seconds=world.useful_seconds,
        peak=max((size for _, size in world.sizes), default=0),
        done_at=world.last_end if done else None,
        empty_at=world.now if done and not world.pods else None,
        sizes=tuple(world.sizes),
    )


def _every(world: World, first: float, period: float, call: Callable[[World], None]) -> None:
    def again() -> None:
        call(world)
        world.at(world.now + period, again)

    world.at(first, again)


def _percentiles(waits: list[float]) -> tuple[float, float]:
    if len(waits) < 2:
        only = waits[0] if waits else 0.0
        return only, only
    cuts = quantiles(waits, n=20, method="inclusive")
    return cuts[9], cuts[18]
