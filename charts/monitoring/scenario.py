"""The situations that prove panels and alerts: tests/monitoring brings each about, with real processes."""

from __future__ import annotations

from enum import Enum


class Scenario(Enum):
    """A situation, and what a reader of the tables should imagine."""

    WORK = "workers run jobs that finish, fail, are retried, time out, are stopped and are put back"
    CRASH = "a job's process is killed in the middle of it"
    WORKER_KILLED = "a worker is killed in the middle of a job, and another one finds the job"
    REDIS_AWAY = "Redis goes away and comes back"
    NO_WORKER = "jobs wait in a queue that nobody serves"
    LATE_SCHEDULE = "a scheduled job's time has come and no scheduler moves it"
    SUSPENDED = "all workers are suspended"
    REDIS_FULL = "Redis comes near its memory limit"
    USER_METRICS = "jobs count with prometheus_client, one under a name that is refused"
    SCALING = "a pool grows from zero to its maximum, works its queue off and returns to zero"
    LATE = "a pool's jobs wait longer than its target"
    NO_PODS = "jobs wait and none of the pool's pods becomes ready"
    STUCK_RETIRING = "a worker was told to retire and does not go"
    BLIND = "the operator cannot reach a pool's Redis"
    STUCK_OPERATOR = "the leading operator's loop stands still"
    OPERATOR_ERRORS = "the operator's requests are refused"
    NO_LEADER = "two operators run and none of them leads"

    @property
    def label(self) -> str:
        """A short name for tables and test ids."""
        return self.name.lower().replace("_", " ")
