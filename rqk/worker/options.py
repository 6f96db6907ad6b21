"""What a worker is told to do; one frozen value, each field with its unit and default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rqk.core.call import Serializer
from rqk.core.moves import DEFAULT_RESULT_TTL, Policy

Strategy = Literal["default", "round_robin", "random"]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Settings of one worker."""

    queues: tuple[str, ...]  # order is priority under the default strategy
    name: str
    burst: bool = False  # leave when nothing waits
    max_jobs: int | None = None  # leave after so many
    max_idle_s: float | None = None  # leave after waiting so long
    with_scheduler: bool = True  # move due jobs into queues
    strategy: Strategy = "default"
    serializer: Serializer | str | None = None
    result_ttl_s: int = DEFAULT_RESULT_TTL  # for jobs that name none
    lease_s: int = 30  # a worker that says nothing for so long has lost its job
    janitor_s: float = 5.0  # between looks for jobs of dead workers, by one worker of the fleet at a time
    stuck_s: int = 10  # an id may stay so long in an intermediate list before it goes back
    policy: Policy = field(default_factory=Policy)
    kill_after_s: float = 10.0  # from the soft time limit to the hard one
    grace_s: float | None = None  # after SIGTERM: give the job so long, then put it back; None waits for its end
    preload: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    fresh_url: str | None = (
        None  # start the zygote as a new interpreter, whose jobs find Redis there; None forks this process
    )
    recycle_after: int = 1  # jobs per horse; 1 is a fork of its own for each job
    job_memory_limit: int | None = None  # bytes
    metrics: bool = True
    metrics_host: str = "0.0.0.0"  # noqa: S104 - Prometheus scrapes pods on their pod address
    metrics_port: int = 9727
    log_job_description: bool = True
    wait_for_redis_s: float = 0.0  # at start only; later a worker waits as long as it takes

    @property
    def beat_s(self) -> float:
        """Between signs of life: three of them fit into a lease."""
        return max(self.lease_s / 3, 0.3)

    @property
    def worker_ttl_s(self) -> int:
        """How long a silent worker stays listed."""
        return 2 * self.lease_s
