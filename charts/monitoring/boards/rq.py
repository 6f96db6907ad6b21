"""The well-known RQ dashboard (Grafana 12196) for today's Grafana: only rq-exporter's names, so that both exporters do."""

from __future__ import annotations

from charts.monitoring.board import Board, Look, Panel, Query, Row, Unit, Variable, stat
from charts.monitoring.promql import RANGE, RATE
from charts.monitoring.scenario import Scenario

_ONE = 'job=~"$job", instance=~"$instance"'
_JOBS = f"rq_jobs{{{_ONE}}}"
_CHOSEN = f'rq_jobs{{{_ONE}, queue=~"$queue"}}'
_STATUSES = ("queued", "started", "finished", "failed", "deferred", "scheduled")
_MEANING = {
    "queued": "Near zero is best: jobs are taken without delay. High for long: more workers are needed.",
    "started": "Jobs that run now.",
    "finished": "Jobs that returned and whose result is still kept.",
    "failed": "Jobs that raised and are still kept. Requeue or delete them.",
    "deferred": "Jobs that wait for other jobs.",
    "scheduled": "Jobs that wait for their time.",
}
# What some scenario leaves in every status: without it a share of zero would prove nothing.
_SHOWN_BY = {"queued": Scenario.NO_WORKER, "scheduled": Scenario.LATE_SCHEDULE}


def _status(name: str) -> str:
    return f'rq_jobs{{{_ONE}, queue=~"$queue", status="{name}"}}'


def _workers(state: str) -> str:
    return f'(count(rq_workers{{{_ONE}, state="{state}"}}) or vector(0)) / count(rq_workers{{{_ONE}}})'


_OVERVIEW = Row(
    "Overview",
    (
        stat("RQ workers", "Registered workers.", f"count(rq_workers{{{_ONE}}}) or vector(0)", Scenario.WORK, height=6),
        stat(
            "Average time of a scrape",
            "How long the exporter needs to ask Redis.",
            f"sum(rate(rq_request_processing_seconds_sum{{{_ONE}}}[{RANGE}]))"
            f" / sum(rate(rq_request_processing_seconds_count{{{_ONE}}}[{RANGE}]))",
            Scenario.WORK,
            Unit.SECONDS,
            height=6,
            bad_from=0.5,
        ),
        Panel(
            "Workers' capacity",
            "The part of the workers that is busy, and that is idle.",
            Look.STACK,
            Unit.SHARE,
            Scenario.WORK,
            (Query(_workers("busy"), "busy"), Query(_workers("idle"), "idle")),
            width=16,
            height=6,
        ),
        Panel(
            "Current jobs",
            "Jobs by queue and status, now.",
            Look.TABLE,
            Unit.COUNT,
            Scenario.WORK,
            tuple(Query(f"sum by (queue) ({_status(name)})", name) for name in _STATUSES),
            width=24,
            height=7,
            keys=("queue",),
        ),
    ),
)

_BY_STATUS = Row(
    "Jobs by status",
    (
        *(
            stat(
                name.capitalize(),
                _MEANING[name],
                f"sum({_status(name)}) / (sum({_JOBS}) > 0)",
                _SHOWN_BY.get(name, Scenario.WORK),
                Unit.SHARE,
                bad_from=0.5 if name in ("queued", "failed") else None,
            )
            for name in _STATUSES
        ),
        Panel(
            "Jobs by status",
            "Over the chosen queues.",
            Look.STACK,
            Unit.COUNT,
            Scenario.WORK,
            (Query(f"sum by (status) ({_CHOSEN})", "{{status}}"),),
            width=12,
        ),
        Panel(
            "Share by status",
            "Of all jobs of this Redis.",
            Look.STACK,
            Unit.SHARE,
            Scenario.WORK,
            (
                Query(
                    f"sum by (status) ({_CHOSEN}) / ignoring (status) group_left () (sum({_JOBS}) > 0)",
                    "{{status}}",
                ),
            ),
            width=12,
        ),
    ),
)

_BY_QUEUE = Row(
    "Jobs by queue",
    (
        Panel(
            "Jobs by queue",
            "In any status.",
            Look.STACK,
            Unit.COUNT,
            Scenario.WORK,
            (Query(f"sum by (queue) ({_CHOSEN})", "{{queue}}"),),
            width=12,
        ),
        Panel(
            "Jobs by queue and status",
            "Each queue and status.",
            Look.LINES,
            Unit.COUNT,
            Scenario.WORK,
            (Query(f"sum by (queue, status) ({_CHOSEN})", "{{queue}} {{status}}"),),
            width=12,
        ),
    ),
)

_WORKERS = Row(
    "Workers",
    (
        Panel(
            "Workers by state",
            "Registered workers.",
            Look.STACK,
            Unit.COUNT,
            Scenario.WORK,
            (Query(f"count by (state) (rq_workers{{{_ONE}}})", "{{state}}"),),
        ),
        Panel(
            "Jobs done",
            "By workers that are still registered: a worker that leaves takes its numbers along.",
            Look.LINES,
            Unit.JOBS_PER_SECOND,
            Scenario.WORK,
            (
                Query(f"sum(rate(rq_workers_success_total{{{_ONE}}}[{RATE}]))", "successful"),
                Query(f"sum(rate(rq_workers_failed_total{{{_ONE}}}[{RATE}]))", "failed"),
            ),
        ),
        Panel(
            "Working time",
            "Seconds of work per second: how many workers are busy on average.",
            Look.LINES,
            Unit.COUNT,
            Scenario.WORK,
            (Query(f"sum(rate(rq_workers_working_time_total{{{_ONE}}}[{RATE}]))", "busy workers"),),
        ),
        Panel(
            "Workers",
            "Name, queues, state, and what they have done.",
            Look.TABLE,
            Unit.COUNT,
            Scenario.WORK,
            (
                Query(f"max by (name, queues, state) (rq_workers{{{_ONE}}})", "registered", hidden=True),
                Query(f"max by (name, queues) (rq_workers_success_total{{{_ONE}}})", "successful"),
                Query(f"max by (name, queues) (rq_workers_failed_total{{{_ONE}}})", "failed"),
                Query(f"max by (name, queues) (rq_workers_working_time_total{{{_ONE}}})", "working time", Unit.SECONDS),
            ),
            width=24,
            keys=("name", "queues", "state"),
        ),
    ),
)

RQ = Board(
    "rqk-rq",
    "RQ",
    "A Redis with RQ's or rqk's workers, through `rqk exporter` or rq-exporter: the successor of dashboard 12196.",
    (
        Variable("job", "Job", "rq_jobs"),
        Variable("instance", "Exporter", 'rq_jobs{job=~"$job"}', many=False),
        Variable("queue", "Queue", f"rq_jobs{{{_ONE}}}"),
    ),
    (_OVERVIEW, _BY_STATUS, _BY_QUEUE, _WORKERS),
)
