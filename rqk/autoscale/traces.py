"""Made-up workloads for the simulator: when jobs come and how long they take. The same seed gives the same trace."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job: it comes at ``at`` and runs for ``seconds``."""

    at: float
    seconds: float


Trace = tuple[Arrival, ...]


def burst(jobs: int, seconds: float, *, at: float = 0.0) -> Trace:
    """All at once."""
    return tuple(Arrival(at, seconds) for _ in range(jobs))


def poisson(rate: float, mean_seconds: float, sigma: float, length: float, seed: int) -> Trace:
    """``rate`` jobs a second at random for ``length`` seconds, durations log-normal with this mean and sigma."""
    chance = random.Random(seed)
    mu = math.log(mean_seconds) - sigma * sigma / 2
    found: list[Arrival] = []
    at = chance.expovariate(rate)
    while at < length:
        found.append(Arrival(at, chance.lognormvariate(mu, sigma)))
        at += chance.expovariate(rate)
    return tuple(found)


def sparse(every: float, seconds: float, length: float) -> Trace:
    """One job now and then."""
    return tuple(Arrival(every * number, seconds) for number in range(int(length // every)))
