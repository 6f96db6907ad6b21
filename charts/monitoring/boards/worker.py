"""Single workers: which, in what state, doing what, and how they stand with Redis."""

from __future__ import annotations

from charts.monitoring.board import Board, Look, Panel, Query, Row, Unit, Variable, stat
from charts.monitoring.promql import POOL, RANGE, RATE, events, of_workers, quantile
from charts.monitoring.scenario import Scenario

_ONE = POOL + ', instance=~"$instance"'
_QUEUE = _ONE + ', queue=~"$queue"'
_HEARTBEAT = f"time() - (rqk_worker_last_heartbeat_timestamp_seconds{{{_ONE}}} > 0)"
_SEEN = f"time() - (rqk_queue_seen_timestamp_seconds{{{_ONE}}} > 0)"

_WHO = Row(
    "Who",
    (
        stat("Workers", "Workers that Prometheus scrapes.", f"count(rqk_worker_info{{{_ONE}}})", Scenario.WORK),
        stat(
            "Busy",
            "Those that run a job.",
            f'sum(rqk_worker_state{{{_ONE}, state="busy"}})',
            Scenario.WORK,
        ),
        stat(
            "Oldest heartbeat",
            "Seconds since the most silent worker last reached Redis.",
            f"max({_HEARTBEAT})",
            Scenario.WORK,
            Unit.SECONDS,
            bad_from=60,
        ),
        stat(
            "Oldest view",
            "How old the most outdated view of the queues is; the numbers by place are as old as this.",
            f"max({_SEEN})",
            Scenario.WORK,
            Unit.SECONDS,
            bad_from=120,
        ),
        stat(
            "Bad ends",
            "Jobs that did not end well, in the dashboard's time.",
            "round(sum("
            + events(f'rqk_jobs_total{{{_QUEUE}, outcome=~"failed|timeout|oom|crashed|lost"}}', "queue", RANGE)
            + "))",
            Scenario.WORK,
            bad_from=1,
        ),
        stat(
            "Back from lost Redis",
            "How often these workers lost Redis and came back, in the dashboard's time.",
            f"round(sum(increase(rqk_redis_reconnects_total{{{_ONE}}}[{RANGE}])))",
            Scenario.REDIS_AWAY,
            bad_from=1,
        ),
        Panel(
            "Each worker",
            "Name in Redis, queues, state and versions.",
            Look.TABLE,
            Unit.COUNT,
            Scenario.WORK,
            (
                Query(f"max by (instance, worker, queues) (rqk_worker_info{{{_ONE}}})", "up", hidden=True),
                Query(f"max by (instance, state) (rqk_worker_state{{{_ONE}}} == 1)", "in state", hidden=True),
                Query(f"max by (instance, version, python) (rqk_build_info{{{_ONE}}})", "build", hidden=True),
                Query(f"max by (instance) ({_HEARTBEAT})", "heartbeat", Unit.SECONDS),
                Query(f"sum by (instance) (rqk_jobs_running{{{_ONE}}})", "running"),
            ),
            width=24,
            height=7,
            keys=("instance", "worker", "queues", "state", "version", "python"),
        ),
    ),
)

_WORK = Row(
    "Work",
    (
        Panel(
            "State",
            "How many workers are in each state.",
            Look.STACK,
            Unit.COUNT,
            Scenario.WORK,
            (Query(f"sum by (state) (rqk_worker_state{{{_ONE}}})", "{{state}}"),),
        ),
        Panel(
            "Jobs by outcome",
            "How the jobs of these workers end.",
            Look.STACK,
            Unit.JOBS_PER_SECOND,
            Scenario.WORK,
            (Query(f"sum by (outcome) (rate(rqk_jobs_total{{{_QUEUE}}}[{RATE}]))", "{{outcome}}"),),
        ),
        Panel(
            "Taken, by worker",
            "Jobs per second. One that falls behind its peers runs long jobs, or its node is slow.",
            Look.LINES,
            Unit.JOBS_PER_SECOND,
            Scenario.WORK,
            (Query(f"sum by (instance) (rate(rqk_jobs_claimed_total{{{_QUEUE}}}[{RATE}]))", "{{instance}}"),),
        ),
        Panel(
            "Run time",
            "p50 and p95 over these workers.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.WORK,
            (
                Query(quantile(0.5, "rqk_job_duration_seconds", _QUEUE), "p50"),
                Query(quantile(0.95, "rqk_job_duration_seconds", _QUEUE), "p95"),
            ),
        ),
        Panel(
            "Wait before the claim",
            "p50 and p95 over these workers.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.WORK,
            (
                Query(quantile(0.5, "rqk_job_wait_seconds", _QUEUE), "p50"),
                Query(quantile(0.95, "rqk_job_wait_seconds", _QUEUE), "p95"),
            ),
        ),
        Panel(
            "Running",
            "Jobs that the worker holds.",
            Look.LINES,
            Unit.COUNT,
            Scenario.WORK,
            (Query(f"sum by (instance) (rqk_jobs_running{{{_QUEUE}}})", "{{instance}}"),),
        ),
    ),
)

_PROCESS = Row(
    "Process and Redis",
    (
        Panel(
            "Resident memory",
            "Of the supervisor; jobs run in other processes.",
            Look.LINES,
            Unit.BYTES,
            Scenario.WORK,
            (Query(of_workers(f"process_resident_memory_bytes{{{_ONE}}}"), "{{instance}}"),),
        ),
        Panel(
            "CPU",
            "Of the supervisor, in cores.",
            Look.LINES,
            Unit.COUNT,
            Scenario.WORK,
            (Query(of_workers(f"rate(process_cpu_seconds_total{{{_ONE}}}[{RATE}])"), "{{instance}}"),),
        ),
        Panel(
            "Open files",
            "Of the supervisor: connections, pipes to its children, the endpoint. Grows without end: a leak.",
            Look.LINES,
            Unit.COUNT,
            Scenario.WORK,
            (Query(of_workers(f"process_open_fds{{{_ONE}}}"), "{{instance}}"),),
        ),
        Panel(
            "Time to fork",
            "95 % are faster.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.WORK,
            (Query(quantile(0.95, "rqk_fork_seconds", _ONE, "instance", RANGE), "{{instance}}"),),
        ),
        Panel(
            "Time for Redis to answer",
            "95 % are faster.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.WORK,
            (Query(quantile(0.95, "rqk_redis_roundtrip_seconds", _ONE, "instance"), "{{instance}}"),),
        ),
        Panel(
            "Heartbeat age",
            "Seconds since the worker last reached Redis.",
            Look.LINES,
            Unit.SECONDS,
            Scenario.REDIS_AWAY,
            (Query(_HEARTBEAT, "{{instance}}"),),
        ),
        Panel(
            "Zygotes replaced",
            "The process that forks the jobs' processes died and was started again.",
            Look.BARS,
            Unit.COUNT,
            Scenario.WORKER_KILLED,
            (Query(f"sum by (instance) (increase(rqk_zygote_restarts_total{{{_ONE}}}[{RATE}]))", "{{instance}}"),),
        ),
        Panel(
            "Jobs of dead workers",
            "Found by this worker, and what became of them.",
            Look.BARS,
            Unit.COUNT,
            Scenario.WORKER_KILLED,
            (Query(f"sum by (action) (increase(rqk_janitor_jobs_total{{{_QUEUE}}}[{RATE}]))", "{{action}}"),),
        ),
        Panel(
            "Metrics of the jobs",
            "Series of the users' own metrics that the workers keep; the limit is 10,000 each.",
            Look.LINES,
            Unit.COUNT,
            Scenario.USER_METRICS,
            (Query(f"max by (instance) (rqk_user_metrics_series{{{_ONE}}})", "{{instance}}"),),
        ),
        Panel(
            "Refused metrics of the jobs",
            "What jobs sent and the worker did not take, by reason.",
            Look.BARS,
            Unit.COUNT,
            Scenario.USER_METRICS,
            (Query(f"sum by (reason) (increase(rqk_user_metrics_dropped_total{{{_ONE}}}[{RATE}]))", "{{reason}}"),),
        ),
    ),
)

WORKER = Board(
    "rqk-worker",
    "rqk / Worker",
    "Single workers, in Kubernetes or not.",
    (
        Variable("namespace", "Namespace", "rqk_worker_info"),
        Variable("pool", "Pool", 'rqk_worker_info{namespace=~"$namespace"}'),
        Variable("instance", "Worker", f"rqk_worker_info{{{POOL}}}"),
        Variable("queue", "Queue", f"rqk_jobs_claimed_total{{{_ONE}}}"),
    ),
    (_WHO, _WORK, _PROCESS),
)
