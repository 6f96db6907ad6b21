"""Every Redis key and channel, its type and its owner. Nothing else in rqk spells a key.

The names are RQ's (docs/protocol.md). Names below ``EXTENSION`` are rqk's own; RQ's clients and workers never look at them.
Lua scripts get the same names through :func:`lua_names`.
"""

from __future__ import annotations

PREFIX = "rq:"
EXTENSION = PREFIX + "rqk:"

QUEUES = PREFIX + "queues"  # SET of full queue keys; producers and schedulers add, nobody removes but Queue.delete
WORKERS = PREFIX + "workers"  # SET of full worker keys; worker birth and death
SUSPENDED = PREFIX + "suspended"  # STRING, present while all workers pause
GROUPS = PREFIX + "groups"  # SET of group names

QUEUE = PREFIX + "queue:"
JOB = PREFIX + "job:"
WORKER = PREFIX + "worker:"
INTERMEDIATE_SUFFIX = ":intermediate"
EXECUTIONS_SUFFIX = ":executions"
DEPENDENTS_SUFFIX = ":dependents"
DEPENDENCIES_SUFFIX = ":dependencies"
STARTED = PREFIX + "wip:"
FINISHED = PREFIX + "finished:"
FAILED = PREFIX + "failed:"
DEFERRED = PREFIX + "deferred:"
SCHEDULED = PREFIX + "scheduled:"
CANCELED = PREFIX + "canceled:"
READY = PREFIX + "ready:"
RESULTS = PREFIX + "results:"
EXECUTIONS = PREFIX + "executions:"
EXECUTION = PREFIX + "execution:"
GROUP = PREFIX + "group:"
SCHEDULER_LOCK = PREFIX + "scheduler-lock:"
PUBSUB = PREFIX + "pubsub:"
RATE_LIMIT = PREFIX + "rl:"
RATE_LIMIT_KEYS = PREFIX + "rl-keys"  # SET of rate-limit names in use
JANITOR_LOCK = EXTENSION + "janitor"  # STRING with a TTL; the worker that holds it sweeps for the whole Redis
RETIRE = EXTENSION + "retire:"  # STRING with a TTL; a worker of that name takes no job when it comes
UNSETTLED = (
    EXTENSION + "intermediate:"
)  # HASH job id -> epoch seconds when a sweep first saw it in the intermediate list


def queue(name: str) -> str:
    """LIST of job ids; the head is the next to run."""
    return QUEUE + name


def intermediate(name: str) -> str:
    """LIST of ids popped and not yet started."""
    return QUEUE + name + INTERMEDIATE_SUFFIX


def queue_name(key: str) -> str:
    """The queue name inside a full queue key; raises ValueError for another kind of key."""
    if not key.startswith(QUEUE):
        raise ValueError(f"not a queue key: {key!r}")
    return key[len(QUEUE) :]


def worker_name(key: str) -> str:
    """The worker name inside a full worker key; raises ValueError for another kind of key."""
    if not key.startswith(WORKER):
        raise ValueError(f"not a worker key: {key!r}")
    return key[len(WORKER) :]


def job(job_id: str) -> str:
    """HASH, the job."""
    return JOB + job_id


def dependents(job_id: str) -> str:
    """SET of ids that wait for this job."""
    return JOB + job_id + DEPENDENTS_SUFFIX


def dependencies(job_id: str) -> str:
    """SET of ids this job waits for. RQ spells this one with two colons, and so do we."""
    return JOB + ":" + job_id + DEPENDENCIES_SUFFIX


def results(job_id: str) -> str:
    """STREAM, one entry per finished attempt."""
    return RESULTS + job_id


def executions(job_id: str) -> str:
    """ZSET of execution ids of one job, scored by expiry."""
    return EXECUTIONS + job_id


def execution(job_id: str, execution_id: str) -> str:
    """HASH, one attempt at one job."""
    return f"{EXECUTION}{job_id}:{execution_id}"


def lease(job_id: str, execution_id: str) -> str:
    """The member of the started registry (and of a worker's executions) for one attempt."""
    return f"{job_id}:{execution_id}"


def parse_lease(member: str) -> tuple[str, str]:
    """Job id and execution id of a started-registry member; job ids hold no colon."""
    job_id, _, execution_id = member.partition(":")
    return job_id, execution_id


def started(name: str) -> str:
    """ZSET of leases ``<job>:<execution>``, scored by the end of the lease (epoch seconds)."""
    return STARTED + name


def finished(name: str) -> str:
    """ZSET of ids scored by expiry."""
    return FINISHED + name


def failed(name: str) -> str:
    """ZSET of ids scored by expiry; stopped jobs too."""
    return FAILED + name


def deferred(name: str) -> str:
    """ZSET of ids that wait for other jobs, scored by registration."""
    return DEFERRED + name


def scheduled(name: str) -> str:
    """ZSET of ids scored by due time."""
    return SCHEDULED + name


def canceled(name: str) -> str:
    """ZSET of ids scored by time of cancellation."""
    return CANCELED + name


def ready(name: str) -> str:
    """ZSET of ids whose dependencies are met but which RQ 3.0 has not pushed yet."""
    return READY + name


def group(name: str) -> str:
    """SET of job ids."""
    return GROUP + name


def worker(name: str) -> str:
    """HASH, one worker."""
    return WORKER + name


def worker_executions(name: str) -> str:
    """SET of leases a worker holds now."""
    return WORKER + name + EXECUTIONS_SUFFIX


def queue_workers(name: str) -> str:
    """SET of full keys of the workers that listen on a queue."""
    return f"{WORKERS}:{name}"


def scheduler_lock(name: str) -> str:
    """STRING, name of the scheduler that moves due jobs of a queue."""
    return SCHEDULER_LOCK + name


def unsettled(name: str) -> str:
    """HASH, see UNSETTLED."""
    return UNSETTLED + name


def retire(worker: str) -> str:
    """STRING, see RETIRE."""
    return RETIRE + worker


def pubsub(worker: str) -> str:
    """CHANNEL of commands to one worker."""
    return PUBSUB + worker


def first_seen(queue: str, job_id: str) -> str:
    """STRING that RQ's maintenance leaves when it first sees an id in an intermediate list."""
    return f"{intermediate(queue)}:first_seen:{job_id}"


def lua_names() -> dict[str, str]:
    """The names above as scripts write them: ``K.queue`` and so on, replaced by the text itself before a script is sent."""
    return {
        "queues": QUEUES,
        "workers": WORKERS,
        "suspended": SUSPENDED,
        "queue": QUEUE,
        "intermediate_suffix": INTERMEDIATE_SUFFIX,
        "job": JOB,
        "worker": WORKER,
        "retire": RETIRE,
        "executions_suffix": EXECUTIONS_SUFFIX,
        "dependents_suffix": DEPENDENTS_SUFFIX,
        "dependencies_suffix": DEPENDENCIES_SUFFIX,
        "wip": STARTED,
        "finished": FINISHED,
        "failed": FAILED,
        "deferred": DEFERRED,
        "scheduled": SCHEDULED,
        "canceled": CANCELED,
        "ready": READY,
        "results": RESULTS,
        "executions": EXECUTIONS,
        "execution": EXECUTION,
        "group": GROUP,
        "groups": GROUPS,
        "pubsub": PUBSUB,
        "scheduler_lock": SCHEDULER_LOCK,
        "unsettled": UNSETTLED,
        "rl": RATE_LIMIT,
        "rl_keys": RATE_LIMIT_KEYS,
    }
