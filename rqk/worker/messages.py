"""What the frames between supervisor, zygote and horse say, as values; each with the two functions that write and
read it.

========== ==================== ==================================================================================
kind       from -> to           fields (text is UTF-8, numbers are ASCII, an empty field is "none")
========== ==================== ==================================================================================
SETTINGS   supervisor -> zygote ChildSettings, pickled; the first frame, and only to a new interpreter
FORK       supervisor -> zygote 1 if the horse may prepare itself, else 0; by SCM_RIGHTS, its end of the socket pair it will
                                talk over
IMPORT     supervisor -> zygote names of modules that jobs have loaded and later horses shall inherit
READY      zygote -> supervisor number of preloaded modules; their names; then what, name, error, fatal 1/0 of each problem
FORKED     zygote -> supervisor pid; seconds the fork took. Requests are answered in order
FORK_FAILED zygote -> supervisor text of the error
EXITED     zygote -> supervisor pid; wait status; peak KiB; user CPU seconds; system CPU seconds; faulthandler's text.
                                With status 0 it may come a moment late, together with the next FORKED
JOB        supervisor -> horse  job id; execution id; queue; worker name; timeout in seconds; mode; exception kind;
                                exception text; then name and value of each field of the job hash, in turn
LEAVE      supervisor -> horse  none
OUTCOME    horse -> supervisor  the fields of Outcome: kind; func; result_repr; exc_type; note; started_at; ended_at;
                                maxrss_kib; has_result 1/0; leaving 1/0; retry as "max at_front intervals..."; result;
                                exc_string; metrics; imported, separated by spaces
========== ==================== ==================================================================================

No JSON on the way of a job: a fresh fork pays for every page of memory that it touches, and json touches many.
Readers raise FrameError for anything that is not of this form: the horse is not trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, NamedTuple, cast

from rqk.worker.frames import FrameError, text_fields

OutcomeKind = Literal["finished", "failed", "retry", "stopped"]
_OUTCOMES = {"finished", "failed", "retry", "stopped"}
_FIXED_JOB_FIELDS = 8
_LONGEST_NUMBER = 18
_LAST_EPOCH = 253402300800.0  # the year 10000, which no date of the wire format can show


class Mode(StrEnum):
    """What a horse is to do with the job it gets."""

    PERFORM = "perform"
    FAILURE_CALLBACK = "failure_callback"  # after a hard kill: the job itself could not run it any more
    STOPPED_CALLBACK = "stopped_callback"


class Order(NamedTuple):
    """JOB: one job for a horse."""

    job_id: str
    execution_id: str
    queue: str
    worker_name: str
    timeout_s: float | None  # soft limit; None (also 0 and below on the wire) = no limit
    fields: Mapping[bytes, bytes]  # the job hash as it is in Redis
    mode: Mode = Mode.PERFORM
    exc_kind: str = ""  # for FAILURE_CALLBACK: the verdict's outcome (timeout, oom, crashed)
    exc_text: str = ""  # for FAILURE_CALLBACK: the verdict's text


def order_fields(order: Order) -> list[bytes]:
    """Return the fields of a JOB frame."""
    fields = text_fields(
        (
            order.job_id,
            order.execution_id,
            order.queue,
            order.worker_name,
            "" if order.timeout_s is None else repr(order.timeout_s),
            order.mode,
            order.exc_kind,
            order.exc_text,
        )
    )
    for pair in order.fields.items():
        fields += pair
    return fields


def read_order(fields: list[bytes]) -> Order:
    """Read a JOB frame. Raises FrameError."""
    if len(fields) < _FIXED_JOB_FIELDS or len(fields) % 2:
        raise FrameError(f"a JOB frame cannot have {len(fields)} fields")
    try:
        job_id, execution_id, queue, worker_name, timeout, mode, exc_kind, exc_text = map(
            bytes.decode, fields[:_FIXED_JOB_FIELDS]
        )
        limit = float(timeout) if timeout else None
        rest = iter(fields[_FIXED_JOB_FIELDS:])
        return Order(
            job_id,
            execution_id,
            queue,
            worker_name,
            limit if limit and limit > 0 else None,
            dict(zip(rest, rest, strict=True)),
            Mode(mode),
            exc_kind,
            exc_text,
        )
    except ValueError as error:
        raise FrameError(f"a JOB frame cannot be read: {error}") from error


class RetryWish(NamedTuple):
    """What a returned Retry asks for."""

    max: int
    at_front: bool
    intervals: tuple[int, ...]  # seconds


class Outcome(NamedTuple):
    """OUTCOME: how a job ended in its horse."""

    kind: OutcomeKind
    started_at: float  # epoch seconds, right before the call
    ended_at: float
    func: str = ""  # function name; "<DeserializationError>" when it could not be read
    result_repr: str = ""  # at most 200 characters, for the log
    exc_type: str | None = None  # "module.Class"
    maxrss_kib: int = 0  # peak of this job
    retry: RetryWish | None = None
    has_result: bool = False  # False when the job returned None
    note: str | None = None  # for the log: what was odd though the job ended
    leaving: bool = False  # the horse takes no further job and is about to exit
    result: bytes = b""
    exc_string: str = ""
    metrics: bytes = b""
    imported: tuple[str, ...] = ()  # modules of Python's own library, of redis-py and of ours that the job has loaded


def outcome_fields(outcome: Outcome) -> list[bytes]:
    """Return the fields of an OUTCOME frame."""
    retry = outcome.retry
    return [
        *text_fields((outcome.kind, outcome.func, outcome.result_repr, outcome.exc_type or "", outcome.note or "")),
        b"%.6f" % outcome.started_at,
        b"%.6f" % outcome.ended_at,
        b"%d" % outcome.maxrss_kib,
        b"1" if outcome.has_result else b"0",
        b"1" if outcome.leaving else b"0",
        b""
        if retry is None
        else b"%d %d %s" % (retry.max, retry.at_front, b" ".join(b"%d" % wait for wait in retry.intervals)),
        outcome.result,
        outcome.exc_string.encode("utf-8", "backslashreplace"),
        outcome.metrics,
        " ".join(outcome.imported).encode(),
    ]


def read_outcome(fields: list[bytes]) -> Outcome:
    """Read an OUTCOME frame. Raises FrameError for whatever a user's code in the horse may have sent instead."""
    try:
        kind, func, result_repr, exc_type, note = (field.decode("utf-8", "replace") for field in fields[:5])
        started_at, ended_at = _epoch(fields[5]), _epoch(fields[6])
        maxrss, has_result, leaving, retry, result, exc_string, metrics, imported = fields[7:]
        if kind not in _OUTCOMES:
            raise ValueError(f"unknown kind {kind!r}")
        if (kind == "retry") != bool(retry):
            raise ValueError("kind and retry do not fit")
        return Outcome(
            cast(OutcomeKind, kind),
            started_at,
            ended_at,
            func,
            result_repr,
            exc_type or None,
            _number(maxrss),
            _read_retry(retry) if retry else None,
            has_result == b"1",
            note or None,
            leaving == b"1",
            result,
            exc_string.decode("utf-8", "replace"),
            metrics,
            tuple(imported.decode("ascii", "replace").split()) if imported else (),
        )
    except (ValueError, IndexError) as error:
        raise FrameError(f"an OUTCOME frame cannot be read: {error}") from error


def _number(field: bytes) -> int:
    if not field.isdigit() or len(field) > _LONGEST_NUMBER:
        raise ValueError(f"not a number: {field[:40]!r}")
    return int(field)


def _epoch(field: bytes) -> float:
    value = float(field)
    if not 0 <= value < _LAST_EPOCH:  # also refuses nan and inf, which float() reads
        raise ValueError(f"not an epoch: {field[:40]!r}")
    return value


def _read_retry(field: bytes) -> RetryWish:
    limit, at_front, *intervals = field.split()
    return RetryWish(_number(limit), at_front == b"1", tuple(_number(interval) for interval in intervals))
