"""What the worker tells people and Prometheus. Without metrics it only writes the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rqk import logs
from rqk.store.leases import Found
from rqk.store.snapshot import Snapshot
from rqk.store.transitions import Settled
from rqk.worker.ending import Ending
from rqk.worker.messages import Outcome
from rqk.worker.task import Task
from rqk.worker.zygote import Closable

if TYPE_CHECKING:
    from rqk.metrics.endpoint import Endpoint
    from rqk.metrics.families import WorkerMetrics

log = logging.getLogger("rqk.worker")
short = logs.Short(log)

_COUNTED = ("queued", "intermediate", "started", "finished", "failed", "deferred", "scheduled", "canceled", "ready")


class Report:
    """Log lines as RQ writes them, and the instruments."""

    def __init__(self, *, describe: bool = True) -> None:
        self.metrics: WorkerMetrics | None = None
        self.endpoint: Endpoint | None = None
        self._describe = describe

    def started(self, task: Task) -> None:
        """A job begins."""
        name = f"{task.name} " if self._describe else ""
        short.info(
            f"{task.queue}: {name}({task.id})", lambda: {"action": "start", "job_id": task.id, "queue": task.queue}
        )
        if self.metrics is not None:
            self.metrics.job_claimed(task.queue, task.wait_s)
            self.metrics.worker_state("busy")

    def ended(self, task: Task, end: Ending, settled: Settled) -> None:
        """A job's end was written, or refused."""
        outcome = "lost" if settled in (Settled.LEASE_LOST, Settled.ENQUEUED_ANEW) else end.outcome
        if end.outcome != "finished" or settled is not Settled.WRITTEN:
            self._log_end(task, end, settled, outcome)
        else:
            _log_ok(task, end, outcome)
        if self.metrics is not None:
            func = end.func or task.func
            seconds = end.attempt.seconds if end.outcome != "requeued" else None
            self.metrics.job_ended(task.queue, func, outcome, seconds, task.peak_bytes)

    @staticmethod
    def _log_end(task: Task, end: Ending, settled: Settled, outcome: str) -> None:
        extra = _end_extra(task, end, outcome)
        if settled is Settled.LEASE_LOST:
            log.warning(
                "%s: job %s: its lease was lost (another worker has judged it, or it was canceled before it began); this outcome (%s) is not written",
                *(task.queue, task.id, end.outcome),
                extra=extra,
            )
        elif settled is Settled.ENQUEUED_ANEW:
            log.warning(
                "%s: job %s was enqueued anew while it ran; this outcome (%s) is not written",
                task.queue,
                task.id,
                end.outcome,
                extra=extra,
            )
        elif settled is Settled.JOB_DELETED:
            log.info(
                "%s: job %s was deleted while it ran; its outcome (%s) is dropped",
                task.queue,
                task.id,
                end.outcome,
                extra=extra,
            )
        elif end.outcome == "finished":
            _log_ok(task, end, outcome)
        elif end.outcome == "requeued":
            log.info("%s: job %s is back at the head of its queue: %s", task.queue, task.id, end.text, extra=extra)
        else:
            # Why it failed, unless it is the plain case: its function raised.
            note = {"failed": "", "retried": " (it will be tried again)"}.get(end.outcome, f" ({end.outcome})")
            log.error("%s: job %s failed%s\n%s", task.queue, task.id, note, end.text.rstrip(), extra=extra)

    def found(self, found: Found) -> None:
        """The janitor put something right."""
        words = {
            "returned": "had been taken and not started; it is back at the head of its queue",
            "requeued": "had lost its worker; it is back at the head of its queue",
            "retried": "had lost its worker; it will be tried again",
            "failed": "had lost its worker; it has failed",
            "dropped": "had ended or gone; a left-over lease was removed",
        }
        log.warning(
            "%s: job %s %s",
            found.queue,
            found.job_id,
            words[found.action],
            extra={"action": "janitor", "job_id": found.job_id},
        )
        if self.metrics is not None:
            self.metrics.janitor(found.queue, found.action)

    def state(self, state: str) -> None:
        """The worker's state changed."""
        if self.metrics is not None:
            self.metrics.worker_state(state)

    def beat(self, at: datetime) -> None:
        """A sign of life was answered."""
        if self.metrics is not None:
            self.metrics.heartbeat(at.timestamp())

    def queues(self, seen: Snapshot) -> None:
        """A look at the queues."""
        if self.metrics is not None:
            counts = {
                name: {status: getattr(queue, status) for status in _COUNTED} for name, queue in seen.queues.items()
            }
            self.metrics.queue_counts(counts, {name: queue.oldest_wait for name, queue in seen.queues.items()})

    def metrics_of(self, outcome: Outcome) -> None:
        """What the job's own code counted."""
        if self.metrics is not None and outcome.metrics:
            self.metrics.user_delta(outcome.metrics)

    def round_trip(self, seconds: float) -> None:
        """One question to Redis."""
        if self.metrics is not None:
            self.metrics.redis_roundtrip(seconds)

    def reconnected(self) -> None:
        """Redis is back."""
        if self.metrics is not None:
            self.metrics.redis_reconnect()

    def forked(self, seconds: float) -> None:
        """A horse was forked."""
        if self.metrics is not None:
            self.metrics.fork_seconds(seconds)

    def zygote_restarted(self) -> None:
        """The zygote was replaced."""
        if self.metrics is not None:
            self.metrics.zygote_restart()

    @contextmanager
    def without_threads(self) -> Iterator[None]:
        """Pause the endpoint's threads, for a fork."""
        if self.endpoint is None:
            yield
            return
        self.endpoint.pause()
        try:
            yield
        finally:
            self.endpoint.resume()

    def sockets(self) -> tuple[Closable, ...]:
        """What a new zygote must close."""
        return self.endpoint.sockets() if self.endpoint is not None else ()


def _log_ok(task: Task, end: Ending, outcome: str) -> None:
    short.info(f"{task.queue}: Job OK, result = {end.text} ({task.id})", lambda: _end_extra(task, end, outcome))


def _end_extra(task: Task, end: Ending, outcome: str) -> dict[str, Any]:
    return {
        "action": "end",
        "job_id": task.id,
        "queue": task.queue,
        "outcome": outcome,
        "seconds": round(end.attempt.seconds, 6),
        "peak_bytes": task.peak_bytes,
    }
