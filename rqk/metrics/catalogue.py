"""Every metric that rqk exposes, as data.

families.py and exporter.py build their instruments from these declarations and document.py prints them, so that
neither a name nor its documentation can drift from what is on /metrics. Nothing here needs prometheus_client.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """A metric's type in Prometheus' own words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


@dataclass(frozen=True)
class Family:
    """One metric family: its name as Prometheus stores it (a counter's ends in ``_total``), and what it means."""

    name: str
    kind: Kind
    help: str
    source: str
    """Who sets it and when, for a person who wonders why a number is what it is."""
    labels: tuple[str, ...] = ()
    unit: str = ""
    """The unit of the value; empty for plain counts and ones."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram in its unit, without the infinite one."""


RUN_SECONDS = (0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""celery-exporter's bounds, with two more below: a job of ours may well take a millisecond."""
WAIT_SECONDS = (0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
ROUNDTRIP_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
FORK_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

OUTCOMES = ("finished", "failed", "retried", "timeout", "oom", "crashed", "stopped", "requeued", "lost")
"""How a claim ends: returned; raised; raised and will run again; ran too long; ran out of memory; its process died
otherwise; stopped by a command; put back into its queue unharmed; its lease went to somebody else."""

WORKER_STATES = ("started", "idle", "busy", "suspended", "retiring", "stopping")
JANITOR_ACTIONS = ("failed", "requeued", "retried", "returned", "dropped")
"""What happened to a job whose worker is gone: failed; put back; retried by its own policy; given back to its queue's
head because it had never started; forgotten because its hash is gone."""

DROP_REASONS = ("limit", "conflict", "name", "malformed", "oversize")

BUILD_INFO = Family(
    "rqk_build_info",
    Kind.GAUGE,
    "Always 1; which rqk and which Python this worker runs.",
    "worker, at start",
    ("version", "python"),
)
WORKER_INFO = Family(
    "rqk_worker_info",
    Kind.GAUGE,
    "Always 1; the worker's name in Redis and the queues it serves, in its order, joined by commas.",
    "worker, at start",
    ("worker", "queues"),
)
WORKER_STATE = Family(
    "rqk_worker_state",
    Kind.GAUGE,
    "1 for the state the worker is in, 0 for the others: " + ", ".join(WORKER_STATES) + ".",
    "worker, at each change of state",
    ("state",),
)
WORKER_HEARTBEAT = Family(
    "rqk_worker_last_heartbeat_timestamp_seconds",
    Kind.GAUGE,
    "When the worker last wrote its heartbeat to Redis, by its own clock; 0 before the first.",
    "worker, at each heartbeat that Redis accepted",
    unit="seconds since 1970",
)
JOBS_CLAIMED = Family(
    "rqk_jobs_claimed_total",
    Kind.COUNTER,
    "Jobs this worker took from a queue.",
    "worker, at each claim",
    ("queue",),
)
JOBS_RUNNING = Family(
    "rqk_jobs_running",
    Kind.GAUGE,
    "Jobs this worker has claimed and not yet settled.",
    "worker, at scrape time",
    ("queue",),
)
JOBS = Family(
    "rqk_jobs_total",
    Kind.COUNTER,
    "Claims this worker settled, by function and outcome: " + ", ".join(OUTCOMES) + ". "
    "Functions beyond the configured number are counted as func=other.",
    "worker, when an outcome is written to Redis",
    ("queue", "func", "outcome"),
)
JOB_DURATION = Family(
    "rqk_job_duration_seconds",
    Kind.HISTOGRAM,
    "How long jobs ran, from the moment their process had them to their end, whatever the outcome.",
    "worker, at each job's end",
    ("queue", "func"),
    "seconds",
    RUN_SECONDS,
)
JOB_WAIT = Family(
    "rqk_job_wait_seconds",
    Kind.HISTOGRAM,
    "How long jobs were in their queue before this worker took them; says nothing of jobs without enqueued_at.",
    "worker, at each claim",
    ("queue",),
    "seconds",
    WAIT_SECONDS,
)
JOB_PEAK_MEMORY = Family(
    "rqk_job_peak_memory_bytes",
    Kind.GAUGE,
    "The largest resident memory that any process running this function has had since this worker started, "
    "pages shared with the preloaded parent included. A guide for memory limits.",
    "worker, from the kernel's account of the ended process",
    ("queue", "func"),
    "bytes",
)
QUEUE_JOBS = Family(
    "rqk_queue_jobs",
    Kind.GAUGE,
    "Jobs of the queues this worker serves, by where they are. Every worker of a queue reports the same number: "
    "use max by (queue, status), never sum.",
    "worker, from a look at Redis that changes nothing; a queue that cannot be read has no series",
    ("queue", "status"),
)
QUEUE_OLDEST_WAIT = Family(
    "rqk_queue_oldest_wait_seconds",
    Kind.GAUGE,
    "How long the job at the queue's head has been waiting; 0 if none waits.",
    "worker, with rqk_queue_jobs",
    ("queue",),
    "seconds",
)
QUEUE_SEEN = Family(
    "rqk_queue_seen_timestamp_seconds",
    Kind.GAUGE,
    "When this worker last looked at its queues; rqk_queue_jobs is as old as this. 0 before the first look.",
    "worker, with rqk_queue_jobs",
    unit="seconds since 1970",
)
JANITOR = Family(
    "rqk_janitor_jobs_total",
    Kind.COUNTER,
    "Jobs of dead workers that this worker found, by what it did with them: " + ", ".join(JANITOR_ACTIONS) + ".",
    "worker, at each upkeep",
    ("queue", "action"),
)
REDIS_RECONNECTS = Family(
    "rqk_redis_reconnects_total",
    Kind.COUNTER,
    "How often the worker lost Redis and came back to it.",
    "worker, at each return",
)
REDIS_ROUNDTRIP = Family(
    "rqk_redis_roundtrip_seconds",
    Kind.HISTOGRAM,
    "Time for one answer of Redis to a step of the worker that does not wait for work.",
    "worker, at each step",
    unit="seconds",
    buckets=ROUNDTRIP_SECONDS,
)
FORK = Family(
    "rqk_fork_seconds",
    Kind.HISTOGRAM,
    "Time from asking for a process for a job to having it.",
    "worker, at each fork",
    unit="seconds",
    buckets=FORK_SECONDS,
)
ZYGOTE_RESTARTS = Family(
    "rqk_zygote_restarts_total",
    Kind.COUNTER,
    "How often the process that forks the jobs' processes died and was started again.",
    "worker, at each restart",
)
USER_SERIES = Family(
    "rqk_user_metrics_series",
    Kind.GAUGE,
    "Series of the user's own metrics that this worker keeps for its jobs.",
    "worker, at scrape time",
)
USER_DROPPED = Family(
    "rqk_user_metrics_dropped_total",
    Kind.COUNTER,
    "What jobs sent of their own metrics and the worker refused: limit (too many series), conflict (one name, two "
    "meanings), name (reserved or invalid), malformed, oversize (too many bytes). "
    "Counts series, or whole messages where the series cannot be told.",
    "worker, when a job ends",
    ("reason",),
)

WORKER_FAMILIES = (
    BUILD_INFO,
    WORKER_INFO,
    WORKER_STATE,
    WORKER_HEARTBEAT,
    JOBS_CLAIMED,
    JOBS_RUNNING,
    JOBS,
    JOB_DURATION,
    JOB_WAIT,
    JOB_PEAK_MEMORY,
    QUEUE_JOBS,
    QUEUE_OLDEST_WAIT,
    QUEUE_SEEN,
    JANITOR,
    REDIS_RECONNECTS,
    REDIS_ROUNDTRIP,
    FORK,
    ZYGOTE_RESTARTS,
    USER_SERIES,
    USER_DROPPED,
)
"""What `rqk worker` exposes, beside process_* and python_info of its supervisor and the users' own metrics."""

# --- the exporter, one for a whole Redis. The first five are rq-exporter's, letter by letter.

RQ_STATUSES = ("queued", "started", "finished", "failed", "deferred", "scheduled")
"""The statuses that rq-exporter knows, in its order."""
ALL_STATES = ("queued", "intermediate", "started", "finished", "failed", "deferred", "scheduled", "canceled", "ready")
"""Where a job of a queue can be; ``intermediate`` is on its way from queue to worker, ``ready`` from a dependency that
was fulfilled to its queue."""

_SCRAPE = "exporter, at each scrape"

RQ_SCRAPE = Family(
    "rq_request_processing_seconds",
    Kind.SUMMARY,
    "Time spent collecting RQ data",
    "exporter, after each scrape",
    unit="seconds",
)
RQ_WORKERS = Family("rq_workers", Kind.GAUGE, "RQ workers", _SCRAPE, ("name", "state", "queues"))
RQ_SUCCESS = Family("rq_workers_success_total", Kind.COUNTER, "RQ workers success count", _SCRAPE, ("name", "queues"))
RQ_FAILED = Family("rq_workers_failed_total", Kind.COUNTER, "RQ workers fail count", _SCRAPE, ("name", "queues"))
RQ_WORKING = Family(
    "rq_workers_working_time_total", Kind.COUNTER, "RQ workers spent seconds", _SCRAPE, ("name", "queues"), "seconds"
)
RQ_JOBS = Family("rq_jobs", Kind.GAUGE, "RQ jobs by state", _SCRAPE, ("queue", "status"))

REDIS_UP = Family(
    "rqk_exporter_redis_up", Kind.GAUGE, "1 if Redis answered this scrape, else 0; then the rest is missing.", _SCRAPE
)
UNREADABLE = Family(
    "rqk_exporter_unreadable_queues",
    Kind.GAUGE,
    "Queues whose keys could not be read, for instance because one holds another Redis type; they have no series.",
    _SCRAPE,
)
QUEUE_DEPTH = Family(
    "rqk_queue_depth",
    Kind.GAUGE,
    "Jobs by queue and where they are, in all states: " + ", ".join(ALL_STATES) + ".",
    _SCRAPE,
    ("queue", "state"),
)
OLDEST_JOB_AGE = Family(
    "rqk_queue_oldest_job_age_seconds",
    Kind.GAUGE,
    "How long the job at the queue's head has been waiting, by the server's clock; 0 if none waits.",
    _SCRAPE,
    ("queue",),
    "seconds",
)
SCHEDULER_LAG = Family(
    "rqk_scheduler_lag_seconds",
    Kind.GAUGE,
    "By how much the queue's earliest scheduled job is overdue; 0 if none is. Grows when no scheduler runs.",
    _SCRAPE,
    ("queue",),
    "seconds",
)
SCHEDULER_DUE = Family("rqk_scheduler_due_jobs", Kind.GAUGE, "Scheduled jobs whose time has come.", _SCRAPE, ("queue",))
QUEUE_WORKERS = Family(
    "rqk_queue_workers",
    Kind.GAUGE,
    "Registered workers that serve the queue, by state; a queue that nobody serves has state=none with value 0.",
    _SCRAPE,
    ("queue", "state"),
)
SUSPENDED = Family("rqk_suspended", Kind.GAUGE, "1 while all workers of this Redis are suspended.", _SCRAPE)
REDIS_MEMORY = Family(
    "rqk_redis_memory_bytes",
    Kind.GAUGE,
    "Memory of the server: used, peak, rss (what the system gave it), max (its limit; 0 is none). "
    "Missing if the server does not let us ask.",
    _SCRAPE,
    ("class",),
    "bytes",
)

_ALIAS = "exporter, at each scrape, only with django-rq's names asked for"
DJANGO_SUCCESS = Family("rq_job_successful_total", Kind.COUNTER, "RQ successful job count", _ALIAS, ("name", "queues"))
DJANGO_FAILED = Family("rq_job_failed_total", Kind.COUNTER, "RQ failed job count", _ALIAS, ("name", "queues"))
DJANGO_WORKING = Family(
    "rq_working_seconds_total", Kind.COUNTER, "RQ total working time", _ALIAS, ("name", "queues"), "seconds"
)
DJANGO_SCRAPE = Family(
    "rq_request_processing_seconds_total",
    Kind.SUMMARY,
    "Time spent collecting RQ data",
    "exporter, after each scrape, only with django-rq's names asked for",
    unit="seconds",
)

EXPORTER_FAMILIES = (
    RQ_SCRAPE,
    RQ_WORKERS,
    RQ_SUCCESS,
    RQ_FAILED,
    RQ_WORKING,
    RQ_JOBS,
    REDIS_UP,
    UNREADABLE,
    QUEUE_DEPTH,
    OLDEST_JOB_AGE,
    SCHEDULER_LAG,
    SCHEDULER_DUE,
    QUEUE_WORKERS,
    SUSPENDED,
    REDIS_MEMORY,
)
"""What `rqk exporter` exposes, beside process_*, python_info and python_gc_* of its own process."""

DJANGO_FAMILIES = (DJANGO_SUCCESS, DJANGO_FAILED, DJANGO_WORKING, DJANGO_SCRAPE)
"""What it exposes in addition under the names of django-rq's own collector, if asked to."""
