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
EXITED     zygote -> supervisor pid; wait status; peak KiB; faulthandler's text. With status 0 it may come a moment late,
                                together with the next FORKED
JOB        supervisor -> horse  the fields of Order, marshalled together; then data and meta of the job hash if
                                they are large; in their places the first field has their numbers among the rest
LEAVE      supervisor -> horse  none
OUTCOME    horse -> supervisor  the fields of Outcome: kind; func; result_repr; exc_type; note; in one field (binary, little
                                endian) started_at f64, ended_at f64, maxrss_kib u64, has_result u8, leaving u8; retry as
                                "max at_front intervals..."; result; exc_string; metrics; imported, separated by spaces
========== ==================== ==================================================================================

No JSON on the way of a job: a fresh fork pays for every page of memory that it touches, and json touches many. What the
supervisor marshals the horse may load, as both are of one interpreter. The other way nothing but bytes is read, and
anything that is not of this form raises FrameError: the horse is not trusted.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, NamedTuple

from rqk.worker.frames import LARGE, FrameError, text_fields

OutcomeKind = Literal["finished", "failed", "retry", "stopped"]
_OUTCOMES: dict[bytes, OutcomeKind] = {
    b"finished": "finished",
    b"failed": "failed",
    b"retry": "retry",
    b"stopped": "stopped",
}
_FIGURES = struct.Struct("<ddQBB")
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


_MODES = {mode.value: mode for mode in Mode}
_WORDS = {mode: mode.value for mode in Mode}
_BULKY = (b"data", b"meta")  # what may be large in a job hash: not to be copied once more


def order_fields(order: Order) -> list[bytes]:
    """Return the fields of a JOB frame."""
    job_id, execution_id, queue, worker_name, timeout_s, fields, mode, exc_kind, exc_text = order
    small: dict[bytes, bytes | int] = dict(fields)
    large: list[bytes] = []
    for name in _BULKY:
        if len(fields.get(name, b"")) >= LARGE:
            small[name] = len(large)
            large.append(fields[name])
    head = (job_id, execution_id, queue, worker_name, timeout_s, small, _WORDS[mode], exc_kind, exc_text)
    return [marshal.dumps(head), *large]


def read_order(fields: list[bytes]) -> Order:
    """Read a JOB frame. Raises FrameError for what no supervisor writes, as far as that can be told: it is trusted."""
    try:
        head, *large = fields
        job_id, execution_id, queue, worker_name, limit, values, word, exc_kind, exc_text = marshal.loads(head)  # noqa: S302 - a horse believes its supervisor
        if large:
            values = {name: large[value] if isinstance(value, int) else value for name, value in values.items()}
        timeout_s = limit if limit and limit > 0 else None
        return Order(job_id, execution_id, queue, worker_name, timeout_s, values, _MODES[word], exc_kind, exc_text)
    except (ValueError, TypeError, EOFError, LookupError, AttributeError) as error:
        raise FrameError(f"a JOB frame cannot be read: {error!r}") from error


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
        _FIGURES.pack(outcome.started_at, outcome.ended_at, outcome.maxrss_kib, outcome.has_result, outcome.leaving),
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
        word, func, result_repr, exc_type, note, figures, retry, result, exc_string, metrics, imported = fields
        started_at, ended_at, maxrss_kib, has_result, leaving = _FIGURES.unpack(figures)
        if not (0 <= started_at < _LAST_EPOCH and 0 <= ended_at < _LAST_EPOCH):  # nan is not
            raise ValueError(f"not epochs: {started_at}, {ended_at}")
        kind = _OUTCOMES[word]
        if (kind == "retry") != bool(retry):
            raise ValueError("kind and retry do not fit")
        return Outcome(
            kind,
            started_at,
            ended_at,
            func.decode("utf-8", "replace"),
            result_repr.decode("utf-8", "replace"),
            exc_type.decode("utf-8", "replace") or None,
            maxrss_kib,
            _read_retry(retry) if retry else None,
            has_result == 1,
            note.decode("utf-8", "replace") or None,
            leaving == 1,
            result,
            exc_string.decode("utf-8", "replace"),
            metrics,
            tuple(imported.decode("ascii", "replace").split()) if imported else (),
        )
    except KeyError as error:
        raise FrameError(f"an OUTCOME frame cannot be read: unknown kind {error}") from error
    except (ValueError, struct.error) as error:
        raise FrameError(f"an OUTCOME frame cannot be read: {error}") from error


def _number(field: bytes) -> int:
    if not field.isdigit() or len(field) > _LONGEST_NUMBER:
        raise ValueError(f"not a number: {field[:40]!r}")
    return int(field)


def _read_retry(field: bytes) -> RetryWish:
    limit, at_front, *intervals = field.split()
    return RetryWish(_number(limit), at_front == b"1", tuple(_number(interval) for interval in intervals))
