"""The one job a worker has in hand, from its claim to the moment its outcome is written."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rqk.core.moves import Attempt
from rqk.core.payload import peek_func_name
from rqk.core.records import JobRecord
from rqk.core.times import from_date, to_date, to_epoch
from rqk.core.verdict import Verdict
from rqk.store.transitions import Claimed, Lease
from rqk.store.workers import Running
from rqk.worker.ending import Ending, read_brief, read_job, without_value
from rqk.worker.frames import Kind, pieces
from rqk.worker.messages import Mode, Order, order_fields
from rqk.worker.stable import Horse

KilledFor = Literal["timeout", "stop", "grace", "lease", "memory"]
DEFAULT_TIMEOUT_S = 180.0  # for a job without a timeout field, as in RQ
_MOST_TRIES = 5  # with a large result, each after Redis has answered something else
_LARGE = 1_000_000  # the least proto-max-bulk-len that a server can be given, about

log = logging.getLogger("rqk.worker")


@dataclass(slots=True)
class Task:
    """A claimed job. Times named ``*_at`` are monotonic seconds."""

    claimed: Claimed
    worker: str
    claimed_at: float
    started: datetime
    horse: Horse | None = None
    killed_for: KilledFor | None = None
    hard_limit_at: float | None = None
    verdict: Verdict | None = None  # set while a callback runs in a second horse after the first one died
    callback: Mode | None = None
    ending: Ending | None = None
    tries: int = 0  # to write the ending
    peak_bytes: int | None = None
    _job: JobRecord | None = None
    _frame: list[bytes] | None = None

    @property
    def job(self) -> JobRecord:
        """The record. Read when it is first asked for: the horse has the job by then and they work side by side."""
        if self._job is None:
            self._job = read_job(self.id, self.queue, self.claimed.fields)
        return self._job

    @property
    def id(self) -> str:
        """The job's id."""
        return self.claimed.job_id

    @property
    def queue(self) -> str:
        """The job's home queue."""
        return self.claimed.queue

    @property
    def brief(self) -> JobRecord:
        """The part of the record that a reported end depends on."""
        claimed = self.claimed
        return read_brief(claimed.job_id, claimed.queue, claimed.fields)

    @property
    def timeout_s(self) -> float | None:
        """The soft limit; None without one."""
        raw = self.claimed.fields.get(b"timeout", b"")
        try:
            limit = float(raw or DEFAULT_TIMEOUT_S)
        except ValueError:  # the horse says so
            return None
        return limit if limit > 0 else None

    @property
    def wait_s(self) -> float | None:
        """How long it waited in its queue, by the wall clocks of producer and worker."""
        try:
            return (self.started - from_date(self.claimed.fields[b"enqueued_at"])).total_seconds()
        except (KeyError, ValueError):
            return None

    @property
    def lease(self) -> Lease:
        """What settling it needs."""
        claimed = self.claimed
        return Lease(claimed.job_id, claimed.execution_id, claimed.queue, self.worker)

    @property
    def name(self) -> str:
        """What the log calls it."""
        raw = self.claimed.fields.get(b"description")
        return raw.decode("utf-8", "replace") if raw else self.func

    @property
    def func(self) -> str:
        """The function's name, read without running anything of the payload."""
        return peek_func_name(self.claimed.fields.get(b"data", b"")) or "unknown"

    def next_try(self, end: Ending) -> Ending:
        """What is to be written at the next try: the end, without its return value if Redis has hung up on that again and again.

        A server says nothing else to a value beyond its proto-max-bulk-len, and a worker must not offer it for ever.
        """
        self.tries += 1
        size = len(end.move.result.get("return_value", b""))
        if self.tries <= _MOST_TRIES or size < _LARGE:
            return end
        log.error(
            "%s: job %s: its return value was not stored, since Redis hangs up on it: %d bytes in base64; "
            "the server's proto-max-bulk-len must be larger",
            *(self.queue, self.id, size),
        )
        return without_value(end)

    def attempt(self, now: datetime) -> Attempt:
        """The attempt as far as the supervisor knows it."""
        return Attempt(self.claimed.execution_id, self.worker, to_epoch(self.started), to_epoch(now))

    def running(self, at: float) -> Running:
        """For a sign of life."""
        return Running(self.id, self.claimed.execution_id, self.queue, at - self.claimed_at)

    @property
    def limit_s(self) -> float | None:
        """The soft limit of what the horse has to do now: of the job, or of the callback after a death."""
        if self.callback is None:
            return self.timeout_s
        stopped = self.callback is Mode.STOPPED_CALLBACK
        return float((self.job.stopped_callback_timeout if stopped else self.job.failure_callback_timeout) or 60)

    def order(self) -> list[bytes]:
        """The frame for the horse: the job itself, or after a death the callback that the first horse could not run. Of a job
        that is taken ahead it is made while another one runs.
        """
        if self._frame is not None and self.callback is None:
            return self._frame
        claimed, fields = self.claimed, self.claimed.fields
        if self.callback is not None:
            fields = {**fields, b"started_at": to_date(self.started).encode()}
        order = Order(
            claimed.job_id,
            claimed.execution_id,
            claimed.queue,
            self.worker,
            self.limit_s,
            fields,
            self.callback or Mode.PERFORM,
            self.verdict.outcome if self.verdict else "",
            self.verdict.text if self.verdict else "",
        )
        self._frame = pieces(Kind.JOB, order_fields(order))
        return self._frame

    def begins(self, at: float, wall: datetime) -> None:
        """It was taken ahead, and begins now."""
        self.claimed_at, self.started = at, wall
