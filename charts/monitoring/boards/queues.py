"""A whole Redis as `rqk exporter` sees it: what rq-exporter lacks."""

from __future__ import annotations

from charts.monitoring.board import Board, Look, Panel, Query, Row, Unit, Variable, stat
from charts.monitoring.promql import RATE
from charts.monitoring.scenario import Scenario

_ONE = 'namespace=~"$namespace", job=~"$job", instance=~"$instance"'
_QUEUE = _ONE + ', queue=~"$queue"'


def _depth(state: str) -> str:
    return f'rqk_queue_depth{{{_QUEUE}, state="{state}"}}'


_USED = f'max(rqk_redis_memory_bytes{{{_ONE}, class="used"}} / on (job, instance) (rqk_redis_memory_bytes{{{_ONE}, class="max"}} > 0))'

_NOW = Row(
    "Now",
    (
        stat("Queued", "Jobs that wait, in all queues.", f"sum({_depth('queued')})", Scenario.WORK, width=3),
        stat("Running", "Jobs that workers hold.", f"sum({_depth('started')})", Scenario.WORK, width=3),
        stat(
            "Oldest wait",
            "How long the oldest waiting job has waited.",
            f"max(rqk_queue_oldest_job_age_seconds{{{_QUEUE}}})",
            Scenario.NO_WORKER,
            Unit.SECONDS,
            width=3,
        ),
        stat(
            "Overdue by",
            "By how much the earliest scheduled job is late. Grows while no scheduler runs.",
            f"max(rqk_scheduler_lag_seconds{{{_QUEUE}}})",
            Scenario.LATE_SCHEDULE,
            Unit.SECONDS,
            width=3,
            bad_from=60,
        ),
        stat(
            "Redis answers",
            "Whether the exporter reaches Redis.",
            f"min(rqk_exporter_redis_up{{{_ONE}}})",
            Scenario.WORK,
            Unit.YES_NO,
            width=3,
            bad_from=1,
            bad_below=True,
        ),
        stat(
            "Suspended",
            "Whether all workers were told to pause.",
            f"max(rqk_suspended{{{_ONE}}})",
            Scenario.SUSPENDED,
            Unit.YES_NO,
            width=3,
            bad_from=1,
        ),
        stat(
            "Memory in use",
            "The part of Redis' limit that is used; 0 if it has no limit.",
            f"{_USED} or vector(0)",
            Scenario.REDIS_FULL,
            Unit.SHARE,
            width=3,
            bad_from=0.9,
        ),
        stat(
            "Unreadable queues",
            "Queues whose keys hold something else.",
            f"max(rqk_exporter_unreadable_queues{{{_ONE}}})",
            Scenario.WORK,
            width=3,
            moves=False,
            bad_from=1,
        ),
    ),
)

_QUEUES = Row(
    "Queues",
    (
        Panel(
            "Queues",
            "Each queue now.",
            Look.TABLE,
            Unit.COUNT,
            Scenario.WORK,
            (
                *(
                    Query(f"max by (queue) ({_depth(state)})", state)
                    for state in ("queued", "started", "finished", "failed", "deferred", "scheduled", "canceled")
                ),
                Query(f"max by (queue) (rqk_queue_oldest_job_age_seconds{{{_QUEUE}}})", "oldest wait", Unit.SECONDS),
                Query(f"max by (queue) (rqk_scheduler_due_jobs{{{_QUEUE}}})", "due"),
                Query(f"max by (queue) (rqk_scheduler_lag_seconds{{{_QUEUE}}})", "overdue by", Unit.SECONDS),
                Query(f"sum by (queue) (rqk_queue_workers{{{_QUEUE}}})", "workers"),
            ),
            width=24,
            keys=("queue",),
        ),
        Panel(
            "Waiting by queue",
            "Jobs that wait for a worker.",
            Look.LINES,
            Unit.COUNT,
            Scenario.NO_WORKER,
            (Query(f"sum by (queue) ({_depth('queued')})", "{{queue}}"),),
        ),
        Panel(
            "Jobs by place",
            "Queued, on their way to a worker (intermediate), started, and so on, over the chosen queues.",
            Look.LINES,
            Unit.COUNT,
            Scenario.WORK,
            (Query(f"sum by (state) (rqk_queue_depth{{{_QUEUE}}})", "{{state}}"),),
        ),
        Panel(
            "Oldest wait by queue",
            "How long the job at the queue's head has waited.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.NO_WORKER,
            (Query(f"max by (queue) (rqk_queue_oldest_job_age_seconds{{{_QUEUE}}})", "{{queue}}"),),
        ),
        Panel(
            "Workers by queue and state",
            "Registered workers that serve the queue. None at all: state none.",
            Look.LINES,
            Unit.COUNT,
            Scenario.WORK,
            (Query(f"sum by (queue, state) (rqk_queue_workers{{{_QUEUE}}})", "{{queue}} {{state}}"),),
        ),
        Panel(
            "Scheduled jobs that are due",
            "Their time has come and they are not in their queue yet.",
            Look.LINES,
            Unit.COUNT,
            Scenario.LATE_SCHEDULE,
            (Query(f"sum by (queue) (rqk_scheduler_due_jobs{{{_QUEUE}}})", "{{queue}}"),),
        ),
        Panel(
            "Overdue by",
            "How late the earliest scheduled job is.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.LATE_SCHEDULE,
            (Query(f"max by (queue) (rqk_scheduler_lag_seconds{{{_QUEUE}}})", "{{queue}}"),),
        ),
    ),
)

_REDIS = Row(
    "Redis and exporter",
    (
        Panel(
            "Memory of Redis",
            "What it uses, its peak, what the system gave it, and its limit. Finished jobs and results stay for their TTL.",
            Look.LINES,
            Unit.BYTES,
            Scenario.REDIS_FULL,
            (
                Query(f'max by (class) (rqk_redis_memory_bytes{{{_ONE}, class!="max"}})', "{{class}}"),
                Query(f'max(rqk_redis_memory_bytes{{{_ONE}, class="max"}} > 0)', "limit", limit=True),
            ),
        ),
        Panel(
            "Time of a scrape",
            "How long a look at all queues and workers takes.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.WORK,
            (
                Query(
                    f"rate(rq_request_processing_seconds_sum{{{_ONE}}}[{RATE}])"
                    f" / rate(rq_request_processing_seconds_count{{{_ONE}}}[{RATE}])",
                    "average",
                ),
            ),
        ),
        Panel(
            "Redis answers the exporter",
            "1 while it does.",
            Look.LINES,
            Unit.COUNT,
            Scenario.WORK,
            (Query(f"min by (instance) (rqk_exporter_redis_up{{{_ONE}}})", "{{instance}}"),),
        ),
    ),
)

QUEUES = Board(
    "rqk-queues",
    "rqk / Queues",
    "Every queue of a Redis, served by rqk's workers, RQ's or nobody. Needs `rqk exporter`.",
    (
        Variable("namespace", "Namespace", "rqk_exporter_redis_up"),
        Variable("job", "Job", 'rqk_exporter_redis_up{namespace=~"$namespace"}'),
        Variable("instance", "Exporter", 'rqk_exporter_redis_up{namespace=~"$namespace", job=~"$job"}', many=False),
        Variable("queue", "Queue", f"rqk_queue_depth{{{_ONE}}}"),
    ),
    (_NOW, _QUEUES, _REDIS),
)
