"""KEDA 2.20 with the Kubernetes 1.37 HPA on a Redis list, as a policy for the simulator: what rqk is compared with.

Two loops that do not know of each other. KEDA polls (30 s) and owns 0 to 1 and N to 0 (after 300 s without a waiting
job); the HPA syncs (15 s) and owns 1 to N: ``ceil(length / target)`` outside a tolerance of a tenth, at most doubled
each time (or 4), and down to the largest recommendation of 300 s. Neither chooses who leaves: the ReplicaSet takes
pods that are not ready, then newer ones by powers of two of their age, then any, busy or not.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from rqk.autoscale.simulate import Pod, World


@dataclass
class KedaHpa:
    """``list_length`` is the target; ``count_running`` is the expert's setting that adds running jobs to the length."""

    list_length: int = 5
    count_running: bool = False
    max_replicas: int = 100
    polling_s: float = 30.0
    cooldown_s: float = 300.0
    sync_s: float = 15.0
    tolerance: float = 0.1
    stabilization_s: float = 300.0
    last_active: float = 0.0
    recommendations: list[tuple[float, int]] = field(default_factory=list)

    def timers(self, chance: random.Random) -> list[tuple[float, float, Callable[[World], None]]]:
        return [
            (chance.uniform(0, self.polling_s), self.polling_s, self.poll),
            (chance.uniform(0, self.sync_s), self.sync_s, self.sync),
        ]

    def arrived(self, world: World) -> None:
        """A list pushes nothing: both loops find out when they look."""

    def poll(self, world: World) -> None:
        size = len(world.members)
        if self._length(world) > 0:
            self.last_active = world.now
            if size == 0:
                world.grow(1)
        elif size and self.last_active + self.cooldown_s < world.now:
            self._shrink(world, size)

    def sync(self, world: World) -> None:
        size = len(world.members)
        if size == 0:
            return
        length = self._length(world)
        ratio = length / (self.list_length * size)
        near = abs(ratio - 1) <= self.tolerance
        wish = size if near else math.ceil(length / self.list_length)
        if not self.recommendations:
            self.recommendations.append((world.now, size))
        self.recommendations.append((world.now, wish))
        since = world.now - self.stabilization_s
        self.recommendations = [(at, n) for at, n in self.recommendations if at >= since]
        settled = max(n for _, n in self.recommendations)
        size_now = min(max(settled, 1), self.max_replicas, max(2 * size, 4))
        if size_now > size:
            world.grow(size_now - size)
        else:
            self._shrink(world, size - size_now)

    def _length(self, world: World) -> int:
        running = sum(1 for pod in world.pods.values() if pod.job is not None)
        return len(world.waiting) + (running if self.count_running else 0)

    def _shrink(self, world: World, by: int) -> None:
        def order(pod: Pod) -> tuple[bool, float, float]:
            age = max(1.0, world.now - pod.born)
            return pod.ready, math.floor(math.log2(age)), world.chance.random()

        for pod in sorted(world.members, key=order)[:by]:
            world.remove(pod)
