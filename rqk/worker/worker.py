"""The worker as users hold it: ``Worker(['high', 'low'], connection=redis).work()``."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from rqk import clock, logs
from rqk.connections import resolve_connection
from rqk.core import keys
from rqk.core.call import Serializer
from rqk.core.moves import Policy
from rqk.core.times import LONGEST_TTL_S, parse_duration
from rqk.errors import StoreUnavailable, WorkerSetupError
from rqk.foreign import sort_out
from rqk.queue import Queue
from rqk.serializers import ALIASES
from rqk.settings import pod_settings, worker_name
from rqk.store import snapshot, workers
from rqk.store.connect import Client, check_server, describe
from rqk.store.line import Line
from rqk.version import __version__
from rqk.worker.children import ByUrl, ChildSettings
from rqk.worker.known import KnownWorker
from rqk.worker.limits import parse_size
from rqk.worker.options import Strategy, WorkerOptions
from rqk.worker.report import Report
from rqk.worker.running import Runner
from rqk.worker.signals import StopRequests
from rqk.worker.stable import Stable
from rqk.worker.supervisor import Supervisor
from rqk.worker.zygote import Closable

if TYPE_CHECKING:
    from rqk.metrics.endpoint import Health

log = logging.getLogger("rqk.worker")

_SERIALIZER_S = 3.0  # a preload that takes longer is not waited for
_STALE_S = 60.0  # a loop that has not turned for so long is stuck; it turns at least once a minute by itself
_OPTIONS = frozenset(one.name for one in fields(WorkerOptions))


class Worker:
    """Runs jobs of some queues, each in a process of its own.

    ``queues``: names or Queue objects, in order of priority. ``name``: default ``<pod>.<uid>`` in a pod, ``<host>.<pid>.<token>`` elsewhere.
    Options (see :class:`~rqk.worker.options.WorkerOptions` for units and defaults): serializer, default_result_ttl, preload, path,
    recycle_after, job_memory_limit (bytes or text such as '512Mi'), kill_after_s, grace_s, abandoned ('fail' or 'requeue'),
    max_deliveries, lease_s, janitor_s, stuck_s, metrics, metrics_host, metrics_port, log_job_description, wait_for_redis_s.
    """

    def __init__(
        self,
        queues: str | Queue | Iterable[str | Queue] = "default",
        name: str | None = None,
        connection: Client | None = None,
        *,
        serializer: Serializer | str | None = None,
        default_result_ttl: int = 500,
        abandoned: str = "fail",
        max_deliveries: int = 3,
        preload: Sequence[str] = (),
        path: Sequence[str] = (),
        job_memory_limit: int | str | None = None,
        **options: Any,
    ) -> None:
        given = [queues] if isinstance(queues, (str, Queue)) else list(queues)
        names = tuple(dict.fromkeys(_queue_name(queue) for queue in given))
        if not names:
            raise ValueError("a worker needs at least one queue")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"a worker's name is a text, not {name!r}; a client is given as connection=")
        if abandoned not in ("fail", "requeue"):
            raise ValueError(f"abandoned is 'fail' or 'requeue', not {abandoned!r}")
        if max_deliveries < 1:
            raise ValueError(f"max_deliveries must be at least 1, not {max_deliveries}")
        self.connection = resolve_connection(connection)
        self.options = WorkerOptions(
            queues=names,
            # A member of an enumeration too is taken for its text: what goes to a horse must be plain.
            name=str.__str__(name) if name else worker_name(pod_settings(), os.getpid(), secrets.token_hex(3)),
            serializer=serializer if serializer is not None else _serializer_of(given),
            result_ttl_s=default_result_ttl,
            policy=Policy("requeue" if abandoned == "requeue" else "fail", max_deliveries),
            preload=tuple(preload),
            path=tuple(path),
            job_memory_limit=parse_size(job_memory_limit) if job_memory_limit is not None else None,
            **sort_out("Worker", options, _OPTIONS),
        )
        _check(self.options)

    @property
    def name(self) -> str:
        """The worker's name."""
        return self.options.name

    @property
    def queues(self) -> list[Queue]:
        """Its queues."""
        return [Queue(name, self.connection) for name in self.options.queues]

    def queue_names(self) -> list[str]:
        """Their names."""
        return list(self.options.queues)

    def work(
        self,
        burst: bool = False,
        logging_level: str | None = None,
        date_format: str = "%H:%M:%S",
        log_format: str = "%(asctime)s %(message)s",
        max_jobs: int | None = None,
        max_idle_time: int | None = None,
        with_scheduler: bool = True,
        dequeue_strategy: Strategy = "default",
        json_logs: bool = False,
    ) -> bool:
        """Run jobs until told to stop (or, with ``burst``, until none waits); returns whether any was run.

        For the main thread of a process. Raises StoreUnavailable or StoreRefused if Redis cannot be used at the start,
        DuplicateWorkerError for a name that a live worker has, WorkerSetupError if no job could run; later troubles with Redis are waited out.
        """
        logs.setup(logging_level or "INFO", log_format, date_format, json_lines=json_logs)
        options = replace(
            self.options,
            burst=burst,
            max_jobs=max_jobs,
            max_idle_s=parse_duration(max_idle_time),
            with_scheduler=with_scheduler,
            strategy=dequeue_strategy,
        )
        return _run(self.connection, options)

    @classmethod
    def all(cls, connection: Client | None = None, queue: Queue | str | None = None) -> list[KnownWorker]:
        """Every registered worker, of one queue or of all; without a connection that of the queue, else the default one."""
        client = _connection_of(connection, queue)
        seen = snapshot.snapshot(client, ()).workers
        wanted = _queue_name(queue) if queue is not None else None
        return [KnownWorker(worker, client) for worker in seen if wanted is None or wanted in worker.queues]

    @classmethod
    def find_by_key(cls, worker_key: str, connection: Client | None = None) -> KnownWorker | None:
        """The worker with this key, ``rq:worker:<name>``; None if there is none. Raises ValueError for another kind of key."""
        client = resolve_connection(connection)
        name = keys.worker_name(worker_key)
        found = [worker for worker in snapshot.snapshot(client, ()).workers if worker.name == name]
        return KnownWorker(found[0], client) if found else None

    @classmethod
    def count(cls, connection: Client | None = None, queue: Queue | str | None = None) -> int:
        """How many there are."""
        client = _connection_of(connection, queue)
        return len(workers.names(client, _queue_name(queue) if queue is not None else None))


def _queue_name(queue: object) -> str:
    if isinstance(queue, Queue):
        return queue.name
    if isinstance(queue, str):
        return _plain_name(queue)
    raise TypeError(f"a queue is a name or a Queue, not {queue!r}")


def _connection_of(connection: Client | None, queue: object) -> Client:
    """The connection given, else that of the queue, else the default one."""
    return resolve_connection(queue.connection if connection is None and isinstance(queue, Queue) else connection)


def _plain_name(name: str) -> str:
    """A name that worker records can hold."""
    if not name or "," in name:
        raise ValueError(f"a queue's name is a text without commas, not {name!r}")
    return name


def _serializer_of(queues: list[Any]) -> Serializer | None:
    """The serializer that the given Queue objects use, if there are any."""
    return next((queue.serializer for queue in queues if isinstance(queue, Queue)), None)


def _check(options: WorkerOptions) -> None:
    for name, least in (
        ("recycle_after", 1),
        ("lease_s", 1),
        ("janitor_s", 0.1),
        ("stuck_s", 0),
        ("kill_after_s", 0),
        ("wait_for_redis_s", 0),
    ):
        if getattr(options, name) < least:
            raise ValueError(f"{name} must be at least {least}, not {getattr(options, name)}")
    if options.result_ttl_s > LONGEST_TTL_S:
        raise ValueError(
            f"default_result_ttl is at most {LONGEST_TTL_S}, not {options.result_ttl_s}; use -1 for no end"
        )
    if options.grace_s is not None and options.grace_s < 0:
        raise ValueError(f"grace_s cannot be negative: {options.grace_s}")


def _run(client: Client, options: WorkerOptions) -> bool:
    if threading.current_thread() is not threading.main_thread():
        raise WorkerSetupError(
            "a worker must run in the main thread of its process, the only one that hears signals; "
            "start it in a process of its own, such as multiprocessing.Process"
        )
    report = Report(describe=options.log_job_description)
    url = options.fresh_url
    connect: Any = ByUrl(url) if url is not None else lambda: client
    children = ChildSettings(
        preload=options.preload,
        path=options.path,
        serializer=options.serializer,
        recycle_after=options.recycle_after,
        job_memory_limit=options.job_memory_limit,
        connect=connect,
        fresh=url is not None,
    )
    stable = Stable(children)
    stable.start()  # before any thread, signal handler or connection of ours exists
    stop = StopRequests(clock.monotonic)
    runner = Runner(stable, options, report)
    supervisor = Supervisor(client, options, runner, report, stop)
    runner.open_now = lambda: _open_things(supervisor, stop)
    try:
        stop.install()
        if isinstance(options.serializer, str) and options.serializer not in ALIASES:
            # Whether it is there shows in the zygote only, and nothing else should be said before.
            runner.hear_of_preload(clock.monotonic() + _SERIALIZER_S, stop)
            _check_hope(runner)
        if not _greet(client, options, stop):
            return False
        supervisor.heart.birth()
        _open_endpoint(supervisor, report)
        log.info("*** Listening on %s...", ", ".join(options.queues))
        done = supervisor.run()
        _check_hope(runner)
        return done
    finally:
        try:
            supervisor.close()
        finally:
            if report.endpoint is not None:
                report.endpoint.stop()
            stop.restore()
            stop.close()


def _check_hope(runner: Runner) -> None:
    if runner.hopeless is not None:
        raise WorkerSetupError(runner.hopeless)


def _greet(client: Client, options: WorkerOptions, stop: StopRequests) -> bool:
    """Say who we are; wait for Redis if told to. Returns whether it is there: False if asked to stop before."""
    log.info("Worker %s: started with PID %d, rqk %s, %s", options.name, os.getpid(), __version__, describe(client))
    until = clock.monotonic() + options.wait_for_redis_s
    while True:
        line = Line(client)
        try:
            check_server(line, describe(client))
            return True
        except StoreUnavailable as error:
            if stop.asked == 0:
                if clock.monotonic() >= until:
                    raise
                log.warning("%s; asking again in 1 s", error)
                stop.wait(1.0)
            if stop.asked:
                log.info("Shut down requested before Redis answered")
                return False
        finally:
            line.close()


def _open_things(supervisor: Supervisor, stop: StopRequests) -> list[Closable]:
    lines = [supervisor.line, supervisor.heart.channel.line, *supervisor.waiter.lines]
    sockets: list[Closable] = [line.sock for line in lines if line.sock is not None]
    return [*sockets, stop]


def _open_endpoint(supervisor: Supervisor, report: Report) -> None:
    options = supervisor.options
    if not options.metrics:
        return
    # Not before the zygote was forked: prometheus_client in a horse is the user's own.
    from rqk.metrics.endpoint import Endpoint, Health
    from rqk.metrics.families import WorkerMetrics

    def health() -> Health:
        stale = clock.monotonic() - supervisor.turned_at
        if stale > _STALE_S + 2 * options.beat_s:
            return Health(False, False, f"the worker's loop has not turned for {stale:.0f} s")
        if supervisor.heart.retiring:
            return Health(True, False, "retiring: takes no more jobs")
        if supervisor.stop.asked:
            return Health(True, False, "stopping: takes no more jobs")
        if not supervisor.heart.is_born:
            return Health(True, False, "not registered in Redis yet")
        if not supervisor.runner.is_ready:
            return Health(True, False, "modules are being imported")
        return Health(True, True, "working" if supervisor.task is not None else "waiting for jobs")

    report.metrics = WorkerMetrics(options.name, options.queues, __version__)
    report.metrics.worker_state("started")
    endpoint = Endpoint(options.metrics_host, options.metrics_port, report.metrics.registry, health)
    port = endpoint.start()
    report.endpoint = endpoint
    taken = f" (port {options.metrics_port} is taken)" if port != options.metrics_port and options.metrics_port else ""
    log.info("metrics on http://%s:%d/metrics%s", options.metrics_host, port, taken)
