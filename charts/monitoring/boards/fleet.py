"""All pools at a glance: who is late, who is at its limit, what it costs, and how the operator itself is."""

from __future__ import annotations

from charts.monitoring.board import Board, Look, Panel, Query, Row, Unit, Variable, stat
from charts.monitoring.promql import POOL, RANGE, RATE, events, pod_hours, quantile
from charts.monitoring.scenario import Scenario

_BY_POOL = "namespace, pool"
_WAIT = f"max by ({_BY_POOL}) (rqk_operator_pool_wait_seconds{{{POOL}}})"
_TARGET = f"max by ({_BY_POOL}) (rqk_operator_pool_target_wait_seconds{{{POOL}}})"
_DEPTH = f"sum by ({_BY_POOL}) (rqk_operator_pool_depth{{{POOL}}})"


def _replicas(kind: str) -> str:
    return f'rqk_operator_pool_replicas{{{POOL}, kind="{kind}"}}'


def _each(kind: str) -> str:
    return f"max by ({_BY_POOL}) ({_replicas(kind)})"


_AT_MAX = (
    f'{_each("desired")} >= max by ({_BY_POOL}) (rqk_operator_pool_limits{{{POOL}, bound="max"}}) and {_DEPTH} > 0'
)
_BAD = f'rqk_jobs_total{{{POOL}, outcome=~"failed|timeout|oom|crashed|lost"}}'
_IDLE_HOURS = f"clamp_min({pod_hours(_replicas('actual'))} - {pod_hours(_replicas('busy'))}, 0)"

_NOW = Row(
    "Now",
    (
        stat("Pools", "Pools that the operator serves.", "max(rqk_operator_pools)", Scenario.SCALING),
        stat("Worker pods", "Pods that exist.", f"sum({_replicas('actual')})", Scenario.SCALING),
        stat("Busy", "Workers that run a job.", f"sum({_replicas('busy')})", Scenario.SCALING),
        stat("Waiting jobs", "Jobs in all queues of all pools.", f"sum({_DEPTH})", Scenario.SCALING),
        stat(
            "Longest wait",
            "How long the oldest waiting job of any pool has waited.",
            f"max({_WAIT})",
            Scenario.SCALING,
            Unit.SECONDS,
        ),
        stat(
            "Over target",
            "Pools whose oldest job waits longer than targetWaitSeconds.",
            f"count({_WAIT} > {_TARGET}) or vector(0)",
            Scenario.LATE,
            bad_from=1,
        ),
        stat(
            "At maximum",
            "Pools at maxReplicas while jobs wait.",
            f"count({_AT_MAX}) or vector(0)",
            Scenario.SCALING,
            bad_from=1,
        ),
        stat(
            "Redis away",
            "Pools whose Redis did not answer the operator.",
            f"count(rqk_operator_pool_redis_up{{{POOL}}} == 0) or vector(0)",
            Scenario.BLIND,
            bad_from=1,
        ),
        stat(
            "Bad ends",
            "Jobs that failed, timed out, crashed, ran out of memory or lost their lease, in the dashboard's time.",
            f"round(sum({events(_BAD, 'pool', RANGE)}))",
            Scenario.WORK,
            bad_from=1,
        ),
        stat(
            "Busy pod-hours",
            "Hours in which pods ran jobs, in the dashboard's time.",
            pod_hours(_replicas("busy")),
            Scenario.SCALING,
            Unit.HOURS,
        ),
        stat(
            "Idle pod-hours",
            "Hours in which pods existed and ran nothing: starting, waiting for work, retiring.",
            _IDLE_HOURS,
            Scenario.SCALING,
            Unit.HOURS,
        ),
        stat(
            "Alerts",
            "Alerts of rqk that fire now.",
            'count(ALERTS{alertname=~"Rqk.*", alertstate="firing"}) or vector(0)',
            Scenario.SCALING,
            moves=False,
            bad_from=1,
        ),
    ),
)

_POOLS = Row(
    "Pools",
    (
        Panel(
            "Pools",
            "Each pool now; the longest waits are the ones to look at. Bad ends and pod-hours are of the dashboard's time.",
            Look.TABLE,
            Unit.COUNT,
            Scenario.SCALING,
            (
                Query(_DEPTH, "waiting"),
                Query(_WAIT, "oldest wait", Unit.SECONDS),
                Query(_TARGET, "target", Unit.SECONDS),
                Query(_each("desired"), "desired"),
                Query(_each("ready"), "ready"),
                Query(_each("busy"), "busy"),
                Query(_each("idle"), "idle"),
                Query(f'max by ({_BY_POOL}) (rqk_operator_pool_limits{{{POOL}, bound="min"}})', "min"),
                Query(f'max by ({_BY_POOL}) (rqk_operator_pool_limits{{{POOL}, bound="max"}})', "max"),
                Query(f"round({events(_BAD, _BY_POOL, RANGE)})", "bad ends"),
                Query(pod_hours(_replicas("actual"), _BY_POOL), "pod-hours", Unit.HOURS),
            ),
            width=24,
            keys=("namespace", "pool"),
        ),
    ),
)

_OVER_TIME = Row(
    "Over time",
    (
        Panel(
            "Waiting jobs",
            "By pool. A hill that does not come down is a pool at its maximum, or one without workers.",
            Look.LINES,
            Unit.COUNT,
            Scenario.SCALING,
            (Query(_DEPTH, "{{namespace}}/{{pool}}"),),
        ),
        Panel(
            "Oldest wait",
            "By pool: how long its oldest waiting job has waited.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.SCALING,
            (Query(_WAIT, "{{namespace}}/{{pool}}"),),
        ),
        Panel(
            "Worker pods",
            "By pool: pods that exist.",
            Look.STACK,
            Unit.COUNT,
            Scenario.SCALING,
            (Query(_each("actual"), "{{namespace}}/{{pool}}"),),
        ),
        Panel(
            "Jobs by outcome",
            "How jobs end, over all workers that Prometheus scrapes.",
            Look.STACK,
            Unit.JOBS_PER_SECOND,
            Scenario.WORK,
            (Query(f"sum by (outcome) (rate(rqk_jobs_total{{{POOL}}}[{RATE}]))", "{{outcome}}"),),
        ),
        Panel(
            "Bad ends by pool",
            "Jobs that failed, timed out, crashed, ran out of memory or lost their lease, per interval.",
            Look.BARS,
            Unit.COUNT,
            Scenario.WORK,
            (Query(events(_BAD, _BY_POOL, RATE), "{{namespace}}/{{pool}}"),),
        ),
        Panel(
            "Busy share of the pods",
            "What part of the existing pods runs a job. Low for long: lower toZeroAfterSeconds or minReplicas.",
            Look.LINES,
            Unit.SHARE,
            Scenario.SCALING,
            (
                Query(
                    f"{_each('busy')} / ({_each('actual')} > 0)",
                    "{{namespace}}/{{pool}}",
                ),
            ),
        ),
    ),
)

_OPERATOR = Row(
    "Operator",
    (
        stat(
            "Leaders",
            "Operators that lead: one. None: nobody scales.",
            "sum(rqk_operator_leader)",
            Scenario.SCALING,
            bad_from=1,
            bad_below=True,
        ),
        stat(
            "Last round",
            "Seconds since the leader's loop last ended a round.",
            "min(time() - (rqk_operator_last_tick_timestamp_seconds > 0))",
            Scenario.SCALING,
            Unit.SECONDS,
            moves=False,
            bad_from=30,
        ),
        Panel(
            "Operators",
            "Which versions run, and who of them leads.",
            Look.TABLE,
            Unit.COUNT,
            Scenario.SCALING,
            (
                Query("max by (instance, version, python) (rqk_operator_build_info)", "running", hidden=True),
                Query("max by (instance) (rqk_operator_leader)", "leads"),
            ),
            width=16,
            height=4,
            keys=("instance", "version", "python"),
        ),
        Panel(
            "Length of a round",
            "One round looks at every Redis, decides for every pool and writes what differs.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.SCALING,
            (
                Query(quantile(0.5, "rqk_operator_tick_seconds", ""), "p50"),
                Query(quantile(0.99, "rqk_operator_tick_seconds", ""), "p99"),
            ),
        ),
        Panel(
            "Reaction",
            "From the enqueue of the job that made a pool grow to the new number of replicas.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.SCALING,
            (
                Query(quantile(0.5, "rqk_operator_reaction_seconds", "", window=RANGE), "p50"),
                Query(quantile(0.95, "rqk_operator_reaction_seconds", "", window=RANGE), "p95"),
            ),
        ),
        Panel(
            "Decisions by reason",
            "One a round and pool. Steady is the sound of nothing happening.",
            Look.BARS,
            Unit.COUNT,
            Scenario.SCALING,
            (Query(events(f"rqk_operator_decisions_total{{{POOL}}}", "reason", RATE), "{{reason}}"),),
        ),
        Panel(
            "Looks at Redis",
            "One a round and Redis.",
            Look.LINES,
            Unit.PER_SECOND,
            Scenario.SCALING,
            (Query(f"sum by (outcome) (rate(rqk_operator_polls_total[{RATE}]))", "{{outcome}}"),),
        ),
        Panel(
            "Requests to the API server",
            "By verb and HTTP status; 0 is no answer. A quiet fleet asks for little.",
            Look.LINES,
            Unit.PER_SECOND,
            Scenario.SCALING,
            (
                Query(
                    f"sum by (verb, status) (rate(rqk_operator_api_requests_total[{RATE}]))",
                    "{{verb}} {{status}}",
                ),
            ),
        ),
        Panel(
            "Errors",
            "What the operator could not do, by kind: redis, kubernetes, manifest (a pool it cannot read), internal.",
            Look.BARS,
            Unit.COUNT,
            Scenario.OPERATOR_ERRORS,
            (Query(f"sum by (kind) (increase(rqk_operator_errors_total[{RATE}]))", "{{kind}}"),),
        ),
    ),
)

FLEET = Board(
    "rqk-fleet",
    "rqk / Fleet",
    "All pools: waits, sizes, limits, cost, and the operator that keeps them.",
    (
        Variable("namespace", "Namespace", "rqk_operator_pool_replicas"),
        Variable("pool", "Pool", 'rqk_operator_pool_replicas{namespace=~"$namespace"}'),
    ),
    (_NOW, _POOLS, _OVER_TIME, _OPERATOR),
)
