"""The steps that move jobs. Each is one script, so a process that dies leaves a job wholly before or wholly after the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import IntEnum
from itertools import chain
from typing import Any, Literal, NamedTuple

from rqk.core import keys
from rqk.core.codec import Fields, pairs
from rqk.core.moves import Move
from rqk.core.times import to_date, to_epoch
from rqk.store import scripts
from rqk.store.connect import Executor
from rqk.store.line import Line
from rqk.store.workers import Tally


class NewJob(NamedTuple):
    """A job to be stored, and where it goes."""

    id: str
    queue: str
    fields: dict[str, bytes]
    place: Literal["back", "front", "due", "nowhere"] = "back"
    due: float = 0.0  # epoch seconds, for place "due"
    ttl: int | None = None
    unique: bool = False
    group: str = ""
    depends_on: tuple[str, ...] = ()
    tolerant: bool = False  # failed dependencies count as met
    new_id: bool = False  # made just now: if it is there, an earlier try has stored it whose answer was lost


class Stored(IntEnum):
    """What became of a new job."""

    DUPLICATE = 0
    STORED = 1
    DEFERRED = 2


_BATCH = 500  # jobs in one script call; keeps one call below some tens of milliseconds
_NEW_BATCH = 100  # of the usual kind: one is packed while the server works on another


def enqueue(executor: Executor, jobs: Sequence[NewJob], now: datetime) -> list[Stored]:
    """Store jobs, each wholly or not at all; one round trip for up to 500, or for all of the usual kind."""
    if not all(map(_is_usual, jobs)):
        return _enqueue_any(executor, jobs, now)
    _add(executor, jobs)
    return [Stored.STORED] * len(jobs)


def _enqueue_any(executor: Executor, jobs: Sequence[NewJob], now: datetime) -> list[Stored]:
    replies: list[Stored] = []
    for start in range(0, len(jobs), _BATCH):
        batch = jobs[start : start + _BATCH]
        args: list[Any] = [to_date(now), len(batch)]
        for job in batch:
            args += (
                job.id,
                job.queue,
                job.place,
                int(job.due),
                "" if job.ttl is None else job.ttl,
                "1" if job.unique else "new" if job.new_id else "",
                job.group,
            )
            args += scripts.counted(job.depends_on)
            args.append("1" if job.tolerant else "")
            args += scripts.flat(job.fields)
        replies += [Stored(code) for code in scripts.run(executor, "enqueue", *args)]
    return replies


def _is_usual(job: NewJob) -> bool:
    """Whether a script of four calls can store it, at a fraction of the server's time."""
    return job.new_id and job.place in _PUSH and job.ttl is None and not (job.group or job.depends_on or job.unique)


def _add(executor: Executor, jobs: Sequence[NewJob]) -> None:
    """By add.lua or add_many.lua. The jobs are of one queue."""
    if len(jobs) == 1:
        job = jobs[0]
        fields = chain.from_iterable(job.fields.items())
        words = (keys.QUEUES, keys.queue(job.queue), keys.job(job.id), job.id, _PUSH[job.place])
        scripts.run(executor, "add", *words, *fields)
        return
    batches = (jobs[start : start + _NEW_BATCH] for start in range(0, len(jobs), _NEW_BATCH))
    scripts.run_each(executor, "add_many", map(_add_args, batches))


def _add_args(jobs: Sequence[NewJob]) -> list[Any]:
    args: list[Any] = [keys.QUEUES, keys.queue(jobs[0].queue)]
    for job in jobs:
        fields = job.fields
        args += (keys.job(job.id), job.id, _PUSH[job.place], 2 * len(fields), *chain.from_iterable(fields.items()))
    return args


_PUSH = {"back": "RPUSH", "front": "LPUSH"}


class Claimed(NamedTuple):
    """A job that was started for this worker. ``fields`` are those from before the start that say something."""

    job_id: str
    execution_id: str
    queue: str
    fields: Fields


class Refusal(IntEnum):
    """Why a claim gave no job."""

    EMPTY = 0
    SUSPENDED = 2
    RETIRING = 3
    UNKNOWN_WORKER = 4


class Held(NamedTuple):
    """An id that a blocking pop moved into its queue's intermediate list."""

    queue: str
    job_id: str


class Ask(NamedTuple):
    """What a worker says when it wants a job."""

    worker: str
    execution_id: str
    queues: Sequence[str]
    lease_s: int
    now: datetime
    held: Sequence[Held] = ()
    ahead: bool = False  # only prepare it, as RQ does: leased, status queued, to be begun by a later settle

    def args(self) -> list[Any]:
        """As claim() of lib.lua reads it."""
        out: list[Any] = [
            self.worker,
            self.execution_id,
            to_date(self.now),
            repr(to_epoch(self.now)),
            self.lease_s,
            len(self.queues),
            *self.queues,
        ]
        out.append(2 * len(self.held))
        for held in self.held:
            out += (held.queue, held.job_id)
        out.append("1" if self.ahead else "")
        return out


def _claimed(reply: list[Any], ask: Ask) -> Claimed | Refusal:
    if reply[0] != 1:
        return Refusal(reply[0])
    return Claimed(reply[1].decode(), ask.execution_id, reply[2].decode(), pairs(reply[3]))


def claim(executor: Executor, ask: Ask) -> Claimed | Refusal:
    """Start the next job of the first queue that has one."""
    return _claimed(scripts.run(executor, "claim", *ask.args()), ask)


def claim_later(line: Line, ask: Ask, then: Callable[[Claimed | Refusal], None]) -> None:
    """The same without waiting; ``then`` is called when the line is read next (Line.post)."""
    scripts.post(line, "claim", *ask.args(), then=lambda reply: then(_claimed(reply, ask)))


class Settled(IntEnum):
    """Whether an outcome was written."""

    LEASE_LOST = 0
    WRITTEN = 1
    JOB_DELETED = 2
    ENQUEUED_ANEW = 3
    CANCELED = 4


_SETTLED = tuple(Settled)  # by code: Settled(code) takes two calls of Python's


class Lease(NamedTuple):
    """Which attempt is to be settled."""

    job_id: str
    execution_id: str
    queue: str
    worker: str = ""  # empty for a sweep, which is no worker's own work
    never_started: bool = False  # prepared by RQ and not begun: the job still has status queued
    expired_only: bool = False


class Settlement(NamedTuple):
    """What became of an outcome, the next job if one was asked for, and whether the tally was written."""

    settled: Settled
    next: Claimed | Refusal
    told: bool


def settle(
    executor: Executor,
    lease: Lease,
    move: Move,
    now: datetime,
    tally: Tally = Tally(),  # noqa: B008 - an immutable value
    ask: Ask | None = None,
    *,
    tell: bool = True,
    begins: Lease | None = None,
) -> Settlement:
    """Write how an attempt ended, only if its lease is still held; claim the next job in the same round trip if asked to.

    ``tally`` includes this attempt; with ``tell=False`` it is written only if the worker has no next job. ``begins``: a job
    that the worker has claimed ahead and begins now.
    """
    reply = scripts.run(executor, "settle", *_settle_args(lease, move, now, tally, ask, tell=tell, begins=begins))
    return _settlement(reply, ask)


def settle_later(
    line: Line,
    lease: Lease,
    move: Move,
    now: datetime,
    tally: Tally,
    ask: Ask | None,
    *,
    tell: bool,
    begins: Lease,
    then: Callable[[Settlement], None],
) -> None:
    """The same without waiting; ``then`` is called when the line is read next (Line.post)."""
    args = _settle_args(lease, move, now, tally, ask, tell=tell, begins=begins)
    scripts.post(line, "settle", *args, then=lambda reply: then(_settlement(reply, ask)))


def _settlement(reply: list[Any], ask: Ask | None) -> Settlement:
    return Settlement(_SETTLED[reply[0]], _claimed(reply[1], ask) if ask is not None else Refusal.EMPTY, reply[2] == 1)


def _settle_args(
    lease: Lease, move: Move, now: datetime, tally: Tally, ask: Ask | None, *, tell: bool, begins: Lease | None
) -> list[Any]:
    args: list[Any] = [
        lease.worker,
        lease.job_id,
        lease.execution_id,
        lease.queue,
        "queued" if lease.never_started else "started",
        "1" if lease.expired_only else "",
        to_date(now),
        move.status,
        move.place,
        move.due,
        move.registry,
        move.score,
        move.job_ttl,
        move.result_ttl,
        move.release,
        "1" if move.frees_slot else "",
        *tally.texts(),
        "1" if tell else "",
        *((begins.job_id, begins.execution_id, begins.queue) if begins is not None else ("", "", "")),
        *scripts.flat(move.fields),
        *scripts.flat(move.result),
    ]
    if ask is None:
        args.append("")
    else:
        args.append("1")
        args += ask.args()
    return args


def move_due(
    executor: Executor, scheduler: str, queues: Sequence[str], now: datetime, *, lock_s: int, most: int = 200
) -> tuple[int, int, float | None]:
    """Put scheduled jobs whose time has come into their queues. Returns locks held, jobs moved, epoch of the next due one."""
    owned, moved, soonest = scripts.run(
        executor, "due", scheduler, lock_s, to_date(now), most, *scripts.counted(list(queues))
    )
    return owned, moved, None if soonest == -1 else float(soonest)


def unlock(executor: Executor, scheduler: str, queues: Sequence[str]) -> int:
    """Give scheduler locks back."""
    return int(scripts.run(executor, "unlock", scheduler, *scripts.counted(list(queues))))


def sweep(executor: Executor, queues: Sequence[str], now: datetime, *, patience_s: int, most: int = 1000) -> list[Held]:
    """Tidy queues; returns the ids that went from an intermediate list back to the head of their queue."""
    reply = scripts.run(executor, "sweep", patience_s, most, to_date(now), *scripts.counted(list(queues)))
    names = [item.decode(errors="replace") for item in reply]  # only to be told
    return [Held(queue, job_id) for queue, job_id in zip(names[::2], names[1::2], strict=True)]


class Requeued(IntEnum):
    """What became of a requeue."""

    GONE = -1
    NOT_THERE = 0
    DONE = 1


def requeue(
    executor: Executor, registry: str, queue: str, job_id: str, now: datetime, *, at_front: bool = False
) -> Requeued:
    """From a registry (``failed``, ``canceled``, …) back into the queue."""
    return Requeued(scripts.run(executor, "requeue", registry, queue, job_id, "1" if at_front else "", to_date(now)))


class Canceled(IntEnum):
    """What became of a cancellation."""

    GONE = -1
    ALREADY = 0
    DONE = 1


def cancel(
    executor: Executor,
    job_id: str,
    now: datetime,
    *,
    release_dependents: bool = False,
    leave_dependencies: bool = False,
) -> Canceled:
    """Cancel a job that has not started; a running one is not interrupted."""
    return Canceled(
        scripts.run(
            executor,
            "cancel",
            job_id,
            to_date(now),
            "1" if release_dependents else "",
            "1" if leave_dependencies else "",
        )
    )


def delete(
    executor: Executor, job_ids: Sequence[str], now: datetime, *, from_list: bool = True, dependents: bool = False
) -> int:
    """Delete jobs from every place; returns how many existed."""
    return int(
        scripts.run(
            executor,
            "delete",
            to_date(now),
            "1" if from_list else "",
            "1" if dependents else "",
            *scripts.counted(list(job_ids)),
        )
    )


def empty(executor: Executor, queue: str) -> int:
    """Remove all waiting jobs of a queue, a thousand in a step; returns how many."""
    total = 0
    while True:
        removed = int(scripts.run(executor, "empty", queue, 1000))
        total += removed
        if removed < 1000:
            return total


def append(pipeline: Any, new: NewJob) -> None:
    """Plain commands for a caller's pipeline, which the caller executes: a script could not be reloaded in the middle of it."""
    pipeline.sadd(keys.QUEUES, keys.queue(new.queue))
    pipeline.hset(keys.job(new.id), mapping=new.fields)
    if new.ttl is not None:
        pipeline.expire(keys.job(new.id), new.ttl)
    if new.group:
        pipeline.sadd(keys.group(new.group), new.id)
        pipeline.sadd(keys.GROUPS, new.group)
    if new.place == "due":
        pipeline.zadd(keys.scheduled(new.queue), {new.id: int(new.due)})
    elif new.place == "front":
        pipeline.lpush(keys.queue(new.queue), new.id)
    else:
        pipeline.rpush(keys.queue(new.queue), new.id)
