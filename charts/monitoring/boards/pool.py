"""One pool: whether its size follows its queues, how its jobs fare, and what its workers need."""

from __future__ import annotations

from charts.monitoring.board import Board, Look, Panel, Query, Row, Unit, Variable, stat
from charts.monitoring.promql import POOL, QUEUE, RANGE, RATE, events, of_workers, pod_hours, quantile
from charts.monitoring.scenario import Scenario

_WAIT = f"max(rqk_operator_pool_wait_seconds{{{QUEUE}}})"
_TARGET = f"min(rqk_operator_pool_target_wait_seconds{{{POOL}}})"
_JOBS = f"rqk_jobs_total{{{QUEUE}}}"
_TROUBLE = f'rqk_jobs_total{{{QUEUE}, outcome!~"finished|requeued"}}'
_FAILED = f'rqk_jobs_total{{{QUEUE}, outcome=~"failed|timeout|oom|crashed"}}'

# A pool at zero is known to the operator alone, and workers without the operator only by themselves.
_EITHER = '__name__=~"rqk_operator_pool_replicas|rqk_jobs_claimed_total"'


def _replicas(kind: str) -> str:
    return f'rqk_operator_pool_replicas{{{POOL}, kind="{kind}"}}'


_NOW = Row(
    "Now",
    (
        stat("Waiting", "Jobs in the pool's queues.", f"sum(rqk_operator_pool_depth{{{QUEUE}}})", Scenario.SCALING),
        stat("Oldest wait", "How long the oldest of them has waited.", _WAIT, Scenario.SCALING, Unit.SECONDS),
        stat("Ready", "Pods that take jobs.", f"sum({_replicas('ready')})", Scenario.SCALING),
        stat(
            "Time over target",
            "The part of the dashboard's time in which the oldest job waited longer than targetWaitSeconds.",
            f"avg_over_time(({_WAIT} > bool {_TARGET})[{RANGE}:])",
            Scenario.LATE,
            Unit.SHARE,
            bad_from=0.02,
        ),
        stat(
            "Pod-hours",
            "Hours that pods existed in the dashboard's time.",
            pod_hours(_replicas("actual")),
            Scenario.SCALING,
            Unit.HOURS,
        ),
        stat(
            "Busy share of them",
            "The part of the pod-hours in which a job ran.",
            f"({pod_hours(_replicas('busy'))}) / ({pod_hours(_replicas('actual'))} > 0)",
            Scenario.SCALING,
            Unit.SHARE,
        ),
    ),
)

_SCALING = Row(
    "Scaling",
    (
        Panel(
            "Waiting, running, desired, ready",
            "The pool's size should follow its work: desired follows waiting at once, ready follows desired as pods "
            "start, and both come down only when nothing waits.",
            Look.LINES,
            Unit.COUNT,
            Scenario.SCALING,
            (
                Query(f"sum(rqk_operator_pool_depth{{{QUEUE}}})", "waiting"),
                Query(f"sum({_replicas('busy')})", "running"),
                Query(f"sum({_replicas('desired')})", "desired"),
                Query(f"sum({_replicas('ready')})", "ready"),
                Query(f'sum(rqk_operator_pool_limits{{{POOL}, bound="max"}})', "max", limit=True),
                Query(f'sum(rqk_operator_pool_limits{{{POOL}, bound="min"}})', "min", limit=True),
            ),
            width=12,
            height=10,
        ),
        Panel(
            "Wait against target",
            "Oldest: of the jobs that still wait. p50 and p95: of the jobs that workers took.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.SCALING,
            (
                Query(_WAIT, "oldest"),
                Query(quantile(0.5, "rqk_job_wait_seconds", QUEUE), "p50"),
                Query(quantile(0.95, "rqk_job_wait_seconds", QUEUE), "p95"),
                Query(_TARGET, "target", limit=True),
            ),
            width=12,
            height=10,
        ),
        Panel(
            "Workers by what they do",
            "As Redis knows them. A retiring worker takes no more jobs; its pod goes next.",
            Look.STACK,
            Unit.COUNT,
            Scenario.SCALING,
            (
                Query(
                    f'sum by (kind) (rqk_operator_pool_replicas{{{POOL}, kind=~"busy|idle|retiring"}})',
                    "{{kind}}",
                ),
            ),
        ),
        Panel(
            "Decisions by reason",
            "Why the pool has the size it has; docs/scaling.md explains each word.",
            Look.BARS,
            Unit.COUNT,
            Scenario.SCALING,
            (Query(events(f"rqk_operator_decisions_total{{{POOL}}}", "reason", RATE), "{{reason}}"),),
        ),
        Panel(
            "Wait by queue",
            "95 % of the jobs that workers took from the queue had waited less.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.WORK,
            (Query(quantile(0.95, "rqk_job_wait_seconds", QUEUE, "queue"), "{{queue}}"),),
        ),
    ),
)

_WORK = Row(
    "Jobs",
    (
        Panel(
            "Jobs by outcome",
            "How jobs end.",
            Look.STACK,
            Unit.JOBS_PER_SECOND,
            Scenario.WORK,
            (Query(f"sum by (outcome) (rate({_JOBS}[{RATE}]))", "{{outcome}}"),),
        ),
        Panel(
            "Bad ends",
            "Every end but finished and requeued, the very first of its kind included.",
            Look.BARS,
            Unit.COUNT,
            Scenario.WORK,
            (Query(events(_TROUBLE, "outcome", RATE), "{{outcome}}"),),
        ),
        Panel(
            "Taken and running",
            "Jobs that workers take per second, and how many they hold.",
            Look.LINES,
            Unit.COUNT,
            Scenario.WORK,
            (
                Query(f"sum(rate(rqk_jobs_claimed_total{{{QUEUE}}}[{RATE}]))", "taken per second"),
                Query(f"sum(rqk_jobs_running{{{QUEUE}}})", "running"),
            ),
        ),
        Panel(
            "Run time",
            "How long jobs run, whatever their outcome.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.WORK,
            tuple(
                Query(quantile(share, "rqk_job_duration_seconds", QUEUE), name)
                for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ),
        ),
        Panel(
            "Jobs by place",
            "As the workers last saw their queues.",
            Look.LINES,
            Unit.COUNT,
            Scenario.WORK,
            (Query(f"sum by (status) (max by (queue, status) (rqk_queue_jobs{{{QUEUE}}}))", "{{status}}"),),
        ),
        Panel(
            "Oldest wait by queue",
            "As the workers last saw their queues; of pools without workers only the operator knows.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.WORK,
            (Query(f"max by (queue) (rqk_queue_oldest_wait_seconds{{{QUEUE}}})", "{{queue}}"),),
        ),
        Panel(
            "Functions",
            "What the pool's jobs call, in the dashboard's time.",
            Look.TABLE,
            Unit.COUNT,
            Scenario.WORK,
            (
                Query(f"round({events(_JOBS, 'queue, func', RANGE)})", "ended"),
                Query(f"round({events(_FAILED, 'queue, func', RANGE)})", "failed"),
                Query(quantile(0.5, "rqk_job_duration_seconds", QUEUE, "queue, func", RANGE), "p50", Unit.SECONDS),
                Query(quantile(0.95, "rqk_job_duration_seconds", QUEUE, "queue, func", RANGE), "p95", Unit.SECONDS),
                Query(f"max by (queue, func) (rqk_job_peak_memory_bytes{{{QUEUE}}})", "peak memory", Unit.BYTES),
            ),
            width=24,
            keys=("queue", "func"),
        ),
    ),
)

_WORKERS = Row(
    "Workers",
    (
        Panel(
            "Peak memory by function",
            "The largest process that ran the function: what a pod's memory limit, or --job-memory-limit, must allow.",
            Look.LINES,
            Unit.BYTES,
            Scenario.WORK,
            (Query(f"max by (func) (rqk_job_peak_memory_bytes{{{QUEUE}}})", "{{func}}"),),
        ),
        Panel(
            "Memory of the supervisors",
            "The processes that hold the jobs' reins; the jobs' own memory is not in it.",
            Look.LINES,
            Unit.BYTES,
            Scenario.WORK,
            (
                Query(f"max{of_workers(f'process_resident_memory_bytes{{{POOL}}}')}", "largest"),
                Query(f"avg{of_workers(f'process_resident_memory_bytes{{{POOL}}}')}", "average"),
            ),
        ),
        Panel(
            "CPU of the supervisors",
            "In cores. A supervisor needs some, only while jobs begin and end.",
            Look.LINES,
            Unit.COUNT,
            Scenario.WORK,
            (Query(f"sum{of_workers(f'rate(process_cpu_seconds_total{{{POOL}}}[{RATE}])')}", "all"),),
        ),
        Panel(
            "Time to fork",
            "From asking for a process for a job to having it. Grows with the memory of the preloaded modules.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.WORK,
            tuple(
                Query(quantile(s, "rqk_fork_seconds", POOL, window=RANGE), n) for s, n in ((0.5, "p50"), (0.95, "p95"))
            ),
        ),
        Panel(
            "Time for Redis to answer",
            "One step of a worker, as it sees it.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.WORK,
            tuple(Query(quantile(s, "rqk_redis_roundtrip_seconds", POOL), n) for s, n in ((0.5, "p50"), (0.95, "p95"))),
        ),
        Panel(
            "Restarts",
            "Supervisors that began anew in their container, and zygotes that had to be replaced.",
            Look.BARS,
            Unit.COUNT,
            Scenario.WORKER_KILLED,
            (
                Query(f"sum{of_workers(f'changes(process_start_time_seconds{{{POOL}}}[{RATE}])')}", "supervisors"),
                Query(f"sum(increase(rqk_zygote_restarts_total{{{POOL}}}[{RATE}]))", "zygotes"),
            ),
        ),
        Panel(
            "Jobs of dead workers",
            "Found by the workers that live, and what became of them.",
            Look.BARS,
            Unit.COUNT,
            Scenario.WORKER_KILLED,
            (Query(f"sum by (action) (increase(rqk_janitor_jobs_total{{{QUEUE}}}[{RATE}]))", "{{action}}"),),
        ),
        Panel(
            "Redis lost and found",
            "How often workers lost Redis and came back to it.",
            Look.BARS,
            Unit.COUNT,
            Scenario.REDIS_AWAY,
            (Query(f"sum(increase(rqk_redis_reconnects_total{{{POOL}}}[{RATE}]))", "returns"),),
        ),
        Panel(
            "Redis answers the operator",
            "1 while it does. While it does not, the pool keeps its size.",
            Look.LINES,
            Unit.COUNT,
            Scenario.SCALING,
            (Query(f"min by (namespace, pool) (rqk_operator_pool_redis_up{{{POOL}}})", "{{namespace}}/{{pool}}"),),
        ),
    ),
)

POOL_BOARD = Board(
    "rqk-pool",
    "rqk / Pool",
    "One pool: size, waits, jobs, workers. Without the operator the panels of the worker's own metrics have data.",
    (
        Variable("namespace", "Namespace", f"{{{_EITHER}}}"),
        Variable("pool", "Pool", f'{{{_EITHER}, namespace=~"$namespace"}}'),
        Variable("queue", "Queue", f"rqk_jobs_claimed_total{{{POOL}}}"),
    ),
    (_NOW, _SCALING, _WORK, _WORKERS),
)
