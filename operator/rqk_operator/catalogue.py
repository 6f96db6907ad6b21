"""Every metric that the operator exposes, as data: metrics.py builds its instruments from it, docs/metrics.md prints it."""

from __future__ import annotations

from rqk.metrics.catalogue import Family, Kind

TICK_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
REACTION_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0)
REPLICA_KINDS = ("desired", "actual", "ready", "busy", "idle", "retiring")
POLL_OUTCOMES = ("ok", "error")
ERROR_KINDS = ("redis", "kubernetes", "manifest", "internal")

_POOL = ("namespace", "pool")
_ROUND = "leader, at each round"

BUILD_INFO = Family(
    "rqk_operator_build_info",
    Kind.GAUGE,
    "Always 1; which rqk and which Python this operator runs.",
    "operator, at start",
    ("version", "python"),
)
LEADER = Family("rqk_operator_leader", Kind.GAUGE, "1 while this operator leads, else 0.", "operator, at each change")
LAST_TICK = Family(
    "rqk_operator_last_tick_timestamp_seconds",
    Kind.GAUGE,
    "When the scaling loop last ended a round, by its own clock; 0 before the first.",
    _ROUND,
    unit="seconds since 1970",
)
TICK = Family(
    "rqk_operator_tick_seconds",
    Kind.HISTOGRAM,
    "How long a round took: look at every Redis, decide for every pool, write what differs.",
    _ROUND,
    unit="seconds",
    buckets=TICK_SECONDS,
)
POOLS = Family("rqk_operator_pools", Kind.GAUGE, "Pools that this operator serves.", _ROUND)
DECISIONS = Family(
    "rqk_operator_decisions_total",
    Kind.COUNTER,
    "Decisions by reason, one a round and pool; docs/scaling.md explains the reasons.",
    _ROUND,
    (*_POOL, "reason"),
)
POLLS = Family(
    "rqk_operator_polls_total",
    Kind.COUNTER,
    "Looks at a Redis, one a round for all pools on it, by outcome: " + ", ".join(POLL_OUTCOMES) + ".",
    _ROUND,
    ("outcome",),
)
ERRORS = Family(
    "rqk_operator_errors_total",
    Kind.COUNTER,
    "What could not be done, by kind: " + ", ".join(ERROR_KINDS) + ".",
    "operator, at each error",
    ("kind",),
)
REPLICAS = Family(
    "rqk_operator_pool_replicas",
    Kind.GAUGE,
    "Workers of a pool: desired by the last decision; actual and ready pods; busy, idle and retiring as Redis has them.",
    _ROUND,
    (*_POOL, "kind"),
)
DEPTH = Family(
    "rqk_operator_pool_depth",
    Kind.GAUGE,
    "Jobs that wait in a queue of the pool.",
    _ROUND + "; a queue that cannot be read has no series",
    (*_POOL, "queue"),
)
WAIT = Family(
    "rqk_operator_pool_wait_seconds",
    Kind.GAUGE,
    "How long the queue's oldest waiting job has waited; 0 if none waits.",
    _ROUND + "; a queue that cannot be read has no series",
    (*_POOL, "queue"),
    "seconds",
)
LIMITS = Family(
    "rqk_operator_pool_limits",
    Kind.GAUGE,
    "minReplicas and maxReplicas of the pool.",
    "leader, when the pool changes",
    (*_POOL, "bound"),
)
TARGET_WAIT = Family(
    "rqk_operator_pool_target_wait_seconds",
    Kind.GAUGE,
    "targetWaitSeconds of the pool; missing if it has none.",
    "leader, when the pool changes",
    _POOL,
    "seconds",
)
REDIS_UP = Family(
    "rqk_operator_pool_redis_up", Kind.GAUGE, "1 if the pool's Redis answered the last look, else 0.", _ROUND, _POOL
)
REACTION = Family(
    "rqk_operator_reaction_seconds",
    Kind.HISTOGRAM,
    "From the enqueue of the job that made a pool grow (its oldest waiting job) to the written number of replicas.",
    "leader, each time a pool grows",
    unit="seconds",
    buckets=REACTION_SECONDS,
)

REQUESTS = Family(
    "rqk_operator_api_requests_total",
    Kind.COUNTER,
    "Requests to the API server, by verb and HTTP status; status 0 is no answer.",
    "operator, at each request; those of kopf's own watch of the pools are not among them",
    ("verb", "status"),
)

OPERATOR_FAMILIES = (
    BUILD_INFO,
    LEADER,
    LAST_TICK,
    TICK,
    POOLS,
    DECISIONS,
    POLLS,
    ERRORS,
    REPLICAS,
    DEPTH,
    WAIT,
    LIMITS,
    TARGET_WAIT,
    REDIS_UP,
    REACTION,
    REQUESTS,
)
"""What the operator exposes, beside process_* and python_info of its process."""
