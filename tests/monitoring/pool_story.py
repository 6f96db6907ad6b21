"""Pools for the operator's page: their sizes are decided by the product's own rules, their jobs and pods are made up."""

from __future__ import annotations

from dataclasses import dataclass, field

from rqk.autoscale.decide import Decision, History, Observation, decide
from rqk.autoscale.model import Pool
from rqk.autoscale.seen import QueueSeen, WorkersSeen

POD_START_SECONDS = 3.0


@dataclass
class Seen:
    """What one look at a pool found, and what was decided."""

    observation: Observation
    decision: Decision
    actual: int
    ready: int


@dataclass
class PoolStory:
    """One whose jobs all take ``job_seconds`` and whose pods start in POD_START_SECONDS. Times: any clock."""

    pool: Pool
    job_seconds: float
    waiting: list[float] = field(default_factory=list)
    """When each waiting job came, the oldest first."""
    pods: list[float] = field(default_factory=list)
    """When each pod is, or was, ready."""
    busy: list[float] = field(default_factory=list)
    """When each running job ends."""
    done: int = 0
    stuck: bool = False
    """No pod becomes ready."""
    history: History = field(default_factory=History)

    def come(self, jobs: int, now: float) -> None:
        """So many jobs are enqueued."""
        self.waiting += [now] * jobs

    def look(self, now: float) -> Seen:
        """Let time pass until now, look at the pool, decide, act."""
        ended = [end for end in self.busy if end <= now]
        self.done += len(ended)
        self.busy = [end for end in self.busy if end > now]
        ready = 0 if self.stuck else sum(at <= now for at in self.pods)
        while self.waiting and len(self.busy) < ready:
            self.waiting.pop(0)
            self.busy.append(now + self.job_seconds)
        idle = max(0, ready - len(self.busy))
        observation = Observation(
            len(self.pods),
            (
                QueueSeen(
                    self.pool.spec.queues[0],
                    len(self.waiting),
                    oldest_wait=now - self.waiting[0] if self.waiting else None,
                ),
            ),
            WorkersSeen(idle=idle, busy=len(self.busy), starting=len(self.pods) - ready),
        )
        decision, self.history = decide(self.pool.spec, observation, self.history, now)
        actual = len(self.pods)
        self.pods = sorted(self.pods)[: decision.replicas]
        self.pods += [now + POD_START_SECONDS] * (decision.replicas - len(self.pods))
        return Seen(observation, decision, actual, ready)
