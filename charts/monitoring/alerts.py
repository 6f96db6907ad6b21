"""The alerts, by where their metrics come from."""

from __future__ import annotations

from charts.monitoring.alert import Alert, Group, Recorded, Severity
from charts.monitoring.promql import events
from charts.monitoring.scenario import Scenario

OVER_TARGET = "rqk:pool_over_target:bool"
BUDGET = 0.02
"""The part of the time that a pool's oldest job may wait longer than its target."""
_WHERE = "namespace, pool"
_THE_QUEUE = "{{ $labels.queue }}{{ with $labels.pool }} of pool {{ . }}{{ end }}"


def _burn(rate: float, long: str, short: str) -> str:
    """Both windows burn the budget that much too fast: the long one says it matters, the short one that it still does."""
    bound = f"{rate * BUDGET:g}"
    return f"avg_over_time({OVER_TARGET}[{long}]) > {bound} and avg_over_time({OVER_TARGET}[{short}]) > {bound}"


_POOLS = Group(
    "rqk-pools",
    "needs the operator",
    (
        Recorded(
            OVER_TARGET,
            f"max by ({_WHERE}) (rqk_operator_pool_wait_seconds)"
            f" > bool on ({_WHERE}) max by ({_WHERE}) (rqk_operator_pool_target_wait_seconds)",
            "1 while the pool's oldest job waits longer than targetWaitSeconds, else 0.",
        ),
    ),
    (
        Alert(
            "RqkPoolWaitOverTargetFast",
            _burn(14.4, "1h", "5m"),
            "2m",
            Severity.CRITICAL,
            "Jobs of pool {{ $labels.namespace }}/{{ $labels.pool }} wait far too long",
            "For {{ $value | humanizePercentage }} of the last hour, and of the last five minutes, the oldest job of pool"
            " {{ $labels.namespace }}/{{ $labels.pool }} waited longer than targetWaitSeconds.",
            Scenario.LATE,
        ),
        Alert(
            "RqkPoolWaitOverTargetSlow",
            _burn(6, "6h", "30m"),
            "15m",
            Severity.WARNING,
            "Jobs of pool {{ $labels.namespace }}/{{ $labels.pool }} often wait too long",
            "For {{ $value | humanizePercentage }} of the last six hours, and of the last half an hour, the oldest job of"
            " pool {{ $labels.namespace }}/{{ $labels.pool }} waited longer than targetWaitSeconds.",
            Scenario.LATE,
        ),
        Alert(
            "RqkPoolAtMaximum",
            f'max by ({_WHERE}) (rqk_operator_pool_replicas{{kind="desired"}})'
            f' >= max by ({_WHERE}) (rqk_operator_pool_limits{{bound="max"}})'
            f" and sum by ({_WHERE}) (rqk_operator_pool_depth) > 0",
            "30m",
            Severity.WARNING,
            "Pool {{ $labels.namespace }}/{{ $labels.pool }} is at its maximum and jobs wait",
            "Pool {{ $labels.namespace }}/{{ $labels.pool }} has had maxReplicas ({{ $value }}) for half an hour, and there"
            " are still jobs waiting.",
            Scenario.SCALING,
        ),
        Alert(
            "RqkPoolWithoutReadyWorkers",
            f"sum by ({_WHERE}) (rqk_operator_pool_depth) > 0"
            f' and on ({_WHERE}) max by ({_WHERE}) (rqk_operator_pool_replicas{{kind="ready"}}) == 0',
            "10m",
            Severity.CRITICAL,
            "Nobody works for pool {{ $labels.namespace }}/{{ $labels.pool }}",
            "{{ $value }} jobs wait for pool {{ $labels.namespace }}/{{ $labels.pool }}, and none of its pods has been ready"
            " for ten minutes.",
            Scenario.NO_PODS,
        ),
        Alert(
            "RqkPoolRedisUnreachable",
            f"min by ({_WHERE}) (rqk_operator_pool_redis_up) == 0",
            "2m",
            Severity.CRITICAL,
            "The Redis of pool {{ $labels.namespace }}/{{ $labels.pool }} does not answer the operator",
            "The operator has not reached the Redis of pool {{ $labels.namespace }}/{{ $labels.pool }} for two minutes."
            " The pool keeps its size until it does.",
            Scenario.BLIND,
        ),
        Alert(
            "RqkWorkersStuckRetiring",
            f'max by ({_WHERE}) (rqk_operator_pool_replicas{{kind="retiring"}}) > 0',
            "30m",
            Severity.WARNING,
            "Workers of pool {{ $labels.namespace }}/{{ $labels.pool }} retire and do not go",
            "For half an hour pool {{ $labels.namespace }}/{{ $labels.pool }} has had retiring workers ({{ $value }} now)."
            " They take no jobs and cost a pod each.",
            Scenario.STUCK_RETIRING,
        ),
    ),
)

_OPERATOR = Group(
    "rqk-operator",
    "needs the operator",
    (),
    (
        Alert(
            "RqkNoLeader",
            "max(rqk_operator_leader) == 0 or absent(rqk_operator_leader)",
            "2m",
            Severity.CRITICAL,
            "No operator leads",
            "For two minutes no rqk operator has been leading, or none can be scraped. No pool is scaled meanwhile;"
            " running workers go on.",
            Scenario.NO_LEADER,
        ),
        Alert(
            "RqkOperatorLag",
            "time() - max by (namespace, job, instance) (rqk_operator_last_tick_timestamp_seconds > 0)"
            " > 30 and on (namespace, job, instance) rqk_operator_leader == 1",
            "1m",
            Severity.CRITICAL,
            "The operator's scaling loop stands still",
            "The leading operator {{ $labels.instance }} ended its last round {{ $value | humanizeDuration }} ago."
            " No pool is scaled meanwhile; running workers go on.",
            Scenario.STUCK_OPERATOR,
        ),
        Alert(
            "RqkOperatorErrors",
            "sum by (namespace, kind) (increase(rqk_operator_errors_total[10m])) > 5",
            "10m",
            Severity.WARNING,
            "The operator keeps failing at something ({{ $labels.kind }})",
            "The operator had {{ $value | humanize }} errors of kind {{ $labels.kind }} in the last ten minutes.",
            Scenario.OPERATOR_ERRORS,
        ),
    ),
)

_CRASHED = 'rqk_jobs_total{outcome=~"oom|crashed|lost"}'
_LOST_WORKERS = 'rqk_janitor_jobs_total{action!="returned"}'
_BAD = 'rqk_jobs_total{outcome=~"failed|timeout|oom|crashed"}'
_QUEUE = f"{_WHERE}, queue"

_WORKERS = Group(
    "rqk-workers",
    "needs the workers' own metrics",
    (),
    (
        Alert(
            "RqkJobsAbandoned",
            f"sum by ({_QUEUE}, action) (increase({_LOST_WORKERS}[15m])) > 0",
            "0m",
            Severity.WARNING,
            f"Workers died while they ran jobs of queue {_THE_QUEUE}",
            "In the last 15 minutes {{ $value | humanize }} jobs of queue " + _THE_QUEUE + " were found whose worker is"
            " gone. What became of them: {{ $labels.action }}.",
            Scenario.WORKER_KILLED,
        ),
        Alert(
            "RqkJobsCrashed",
            f"{events(_CRASHED, f'{_QUEUE}, func, outcome', '15m')} > 0",
            "0m",
            Severity.WARNING,
            "The process of {{ $labels.func }} died ({{ $labels.outcome }})",
            "In the last 15 minutes {{ $value | humanize }} jobs that call {{ $labels.func }} in queue "
            + _THE_QUEUE
            + ""
            " ended without an answer: {{ $labels.outcome }}.",
            Scenario.CRASH,
        ),
        Alert(
            "RqkJobsFailing",
            f"{events(_BAD, _QUEUE, '15m')} / {events('rqk_jobs_total', _QUEUE, '15m')} > 0.1"
            f" and {events('rqk_jobs_total', _QUEUE, '15m')} > 10",
            "5m",
            Severity.WARNING,
            f"Many jobs of queue {_THE_QUEUE} fail",
            "{{ $value | humanizePercentage }} of the jobs of queue "
            + _THE_QUEUE
            + " that ended in the last 15 minutes"
            " failed.",
            Scenario.WORK,
        ),
        Alert(
            "RqkWorkerSilent",
            "time() - (rqk_worker_last_heartbeat_timestamp_seconds > 0) > 60",
            "1m",
            Severity.CRITICAL,
            "Worker {{ $labels.instance }} does not reach Redis",
            "Worker {{ $labels.instance }} wrote its last heartbeat {{ $value | humanizeDuration }} ago. It runs, but other"
            " workers will take it for dead and its job for abandoned.",
            Scenario.REDIS_AWAY,
        ),
    ),
)

_ONE_REDIS = "namespace, job, instance"

_EXPORTER = Group(
    "rqk-exporter",
    "needs `rqk exporter`",
    (),
    (
        Alert(
            "RqkRedisUnreachable",
            "rqk_exporter_redis_up == 0",
            "2m",
            Severity.CRITICAL,
            "Redis does not answer {{ $labels.instance }}",
            "The exporter {{ $labels.instance }} has not reached its Redis for two minutes. Workers wait for it, and"
            " running jobs go on.",
            Scenario.REDIS_AWAY,
        ),
        Alert(
            "RqkQueueWithoutWorker",
            f'sum by ({_ONE_REDIS}, queue) (rqk_queue_depth{{state="queued"}}) > 0'
            f" unless sum by ({_ONE_REDIS}, queue)"
            ' (rqk_queue_workers{state!~"suspended|retiring|none"}) > 0',
            "10m",
            Severity.CRITICAL,
            "Nobody serves queue {{ $labels.queue }}",
            "{{ $value }} jobs have waited in queue {{ $labels.queue }} for ten minutes, and no worker serves it.",
            Scenario.NO_WORKER,
        ),
        Alert(
            "RqkSchedulerLag",
            f"max by ({_ONE_REDIS}, queue) (rqk_scheduler_lag_seconds) > 60",
            "5m",
            Severity.WARNING,
            "Scheduled jobs of queue {{ $labels.queue }} are late",
            "The earliest scheduled job of queue {{ $labels.queue }} is {{ $value | humanizeDuration }} late: nobody runs"
            " a scheduler for it.",
            Scenario.LATE_SCHEDULE,
        ),
        Alert(
            "RqkSuspended",
            f"max by ({_ONE_REDIS}) (rqk_suspended) == 1",
            "1h",
            Severity.WARNING,
            "All workers of a Redis have been suspended for an hour",
            "`rqk suspend` was said on the Redis of {{ $labels.instance }}, and nobody has said `rqk resume` for an hour.",
            Scenario.SUSPENDED,
        ),
        Alert(
            "RqkRedisMemoryNearlyFull",
            f'max by ({_ONE_REDIS}) (rqk_redis_memory_bytes{{class="used"}}) / on ({_ONE_REDIS})'
            f' (max by ({_ONE_REDIS}) (rqk_redis_memory_bytes{{class="max"}}) > 0) > 0.9',
            "10m",
            Severity.WARNING,
            "The Redis of {{ $labels.instance }} is nearly full",
            "{{ $value | humanizePercentage }} of the memory limit is used. At the limit Redis refuses new jobs, or evicts"
            " keys, which loses jobs.",
            Scenario.REDIS_FULL,
        ),
    ),
)

GROUPS = (_POOLS, _OPERATOR, _WORKERS, _EXPORTER)
ALERTS = tuple(alert for group in GROUPS for alert in group.alerts)
