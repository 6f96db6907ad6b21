"""Records to and from hash and stream fields, byte for byte as RQ writes them. Source: docs/protocol.md, sections 1.3 and 1.6 to 1.8.

Reading is as lenient as RQ's readers are; a field that RQ itself could not read raises UnreadableJob, which names it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from rqk.core.records import ExecutionRecord, JobRecord, ResultRecord, ResultType, WorkerRecord
from rqk.core.states import JobStatus
from rqk.core.times import float_text, from_date, from_epoch, to_date, to_epoch
from rqk.errors import UnreadableJob

Fields = Mapping[bytes, bytes]


def pairs(flat: Iterable[bytes]) -> dict[bytes, bytes]:
    """A dict from the flat field/value list that a script returns for a hash."""
    items = iter(flat)
    return dict(zip(items, items, strict=True))


# Reading: one function a field, from bytes to the record's value. '' means none except where a reader of RQ would fail.
def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _text_or_none(raw: bytes) -> str | None:
    return _text(raw) or None


def _date(raw: bytes) -> datetime | None:
    return from_date(raw) if raw else None


def _int(raw: bytes) -> int | None:
    return int(raw) if raw else None


def _bool(raw: bytes) -> bool:
    return bool(int(raw))


def _bytes(raw: bytes) -> bytes:
    return raw


def _ints(raw: bytes) -> tuple[int, ...]:
    value = json.loads(raw)
    if not isinstance(value, list):
        raise ValueError(f"not a JSON array: {value!r}")
    return tuple(int(item) for item in value)


def _ids(raw: bytes) -> tuple[str, ...]:
    value = json.loads(raw)
    if not isinstance(value, list):
        raise ValueError(f"not a JSON array: {value!r}")
    return tuple(str(item) for item in value)


def _webhooks(raw: bytes) -> tuple[dict[str, Any], ...]:
    try:
        value = json.loads(raw)
    except ValueError:
        return ()
    return tuple(item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


_READERS: Final[dict[bytes, tuple[str, Callable[[bytes], Any]]]] = {
    b"status": ("status", lambda raw: JobStatus(_text(raw)) if raw else None),
    b"created_at": ("created_at", _date),
    b"data": ("data", _bytes),
    b"origin": ("origin", _text),
    b"description": ("description", _text),
    b"enqueued_at": ("enqueued_at", _date),
    b"started_at": ("started_at", _date),
    b"ended_at": ("ended_at", _date),
    b"last_heartbeat": ("last_heartbeat", _date),
    b"worker_name": ("worker_name", _text_or_none),
    b"timeout": ("timeout", _int),
    b"result_ttl": ("result_ttl", _int),
    b"failure_ttl": ("failure_ttl", _int),
    b"ttl": ("ttl", _int),
    b"meta": ("meta_raw", _bytes),
    b"dependency_ids": ("dependency_ids", _ids),
    b"allow_dependency_failures": ("allow_dependency_failures", _bool),
    b"enqueue_at_front": ("enqueue_at_front", _bool),
    b"retries_left": ("retries_left", _int),
    b"retry_intervals": ("retry_intervals", _ints),
    b"number_of_retries": ("number_of_retries", _int),
    b"enqueue_at_front_on_retry": ("enqueue_at_front_on_retry", lambda raw: bool(_int(raw))),
    b"repeats_left": ("repeats_left", _int),
    b"repeat_intervals": ("repeat_intervals", _ints),
    b"success_callback_name": ("success_callback_name", _text_or_none),
    b"success_callback_timeout": ("success_callback_timeout", lambda raw: int(raw)),
    b"failure_callback_name": ("failure_callback_name", _text_or_none),
    b"failure_callback_timeout": ("failure_callback_timeout", lambda raw: int(raw)),
    b"stopped_callback_name": ("stopped_callback_name", _text_or_none),
    b"stopped_callback_timeout": ("stopped_callback_timeout", lambda raw: int(raw)),
    b"webhooks": ("webhooks", _webhooks),
    b"group_id": ("group_id", _text_or_none),
    b"rate_limit_key": ("rate_limit_key", _text_or_none),
    b"rate_limit_concurrency": ("rate_limit_concurrency", _int),
    b"result": ("result_raw", _bytes),
    b"exc_info": ("exc_info_raw", _bytes),
}


def decode_job(job_id: str, fields: Fields) -> JobRecord:
    """A job record from a job hash. Raises UnreadableJob naming the field that RQ's readers could not read either."""
    values: dict[str, Any] = {}
    extra: list[tuple[str, bytes]] = []
    for name, raw in fields.items():
        reader = _READERS.get(name)
        if reader is None:
            extra.append((_text(name), raw))
            continue
        try:
            values[reader[0]] = reader[1](raw)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise UnreadableJob(f"job {job_id}: field {_text(name)!r} holds {raw[:60]!r}: {error}") from error
    # Old writers know one dependency only; the list wins where both are there.
    legacy = dict(extra).get("dependency_id")
    if legacy is not None:
        if "dependency_ids" not in values:
            values["dependency_ids"] = (_text(legacy),)
        extra = [item for item in extra if item[0] != "dependency_id"]
    return JobRecord(id=job_id, extra=tuple(extra), **values)


def _json_ints(values: tuple[int, ...]) -> bytes:
    return json.dumps(list(values)).encode()


_NUMBERS = (
    "timeout",
    "result_ttl",
    "failure_ttl",
    "ttl",
    "retries_left",
    "number_of_retries",
    "repeats_left",
    "success_callback_timeout",
    "failure_callback_timeout",
    "stopped_callback_timeout",
    "rate_limit_concurrency",
)
_numbers = attrgetter(*_NUMBERS)


def encode_job(job: JobRecord) -> dict[str, bytes]:
    """The fields of a full save: those RQ always writes, and the optional ones that are set."""
    out: dict[str, bytes] = {}
    if job.status is not None:
        out["status"] = job.status.value.encode()
    if job.created_at is not None:
        out["created_at"] = to_date(job.created_at).encode()
    out["data"] = job.data
    out["success_callback_name"] = (job.success_callback_name or "").encode()
    out["failure_callback_name"] = (job.failure_callback_name or "").encode()
    out["stopped_callback_name"] = (job.stopped_callback_name or "").encode()
    out["started_at"] = to_date(job.started_at).encode() if job.started_at else b""
    out["ended_at"] = to_date(job.ended_at).encode() if job.ended_at else b""
    out["last_heartbeat"] = to_date(job.last_heartbeat).encode() if job.last_heartbeat else b""
    out["worker_name"] = (job.worker_name or "").encode()
    out["group_id"] = (job.group_id or "").encode()
    if job.origin is not None:
        out["origin"] = job.origin.encode("utf-8", "surrogateescape")
    if job.description is not None:
        out["description"] = job.description.encode("utf-8", "surrogateescape")
    if job.enqueued_at is not None:
        out["enqueued_at"] = to_date(job.enqueued_at).encode()
    for name, number in zip(_NUMBERS, _numbers(job), strict=True):
        if number is not None:
            out[name] = b"%d" % number
    if job.meta_raw is not None:
        out["meta"] = job.meta_raw
    if job.dependency_ids:
        out["dependency_ids"] = json.dumps(list(job.dependency_ids)).encode()
        out["dependency_id"] = job.dependency_ids[0].encode()
    if job.allow_dependency_failures is not None:
        out["allow_dependency_failures"] = b"%d" % job.allow_dependency_failures
    if job.enqueue_at_front is not None:
        out["enqueue_at_front"] = b"%d" % job.enqueue_at_front
    if job.retry_intervals is not None:
        out["retry_intervals"] = _json_ints(job.retry_intervals)
    if job.enqueue_at_front_on_retry:
        out["enqueue_at_front_on_retry"] = b"1"
    if job.repeat_intervals is not None:
        out["repeat_intervals"] = _json_ints(job.repeat_intervals)
    if job.webhooks:
        out["webhooks"] = json.dumps(list(job.webhooks)).encode()
    if job.rate_limit_key is not None:
        out["rate_limit_key"] = job.rate_limit_key.encode()
    if job.result_raw is not None:
        out["result"] = job.result_raw
    if job.exc_info_raw is not None:
        out["exc_info"] = job.exc_info_raw
    for field, raw in job.extra:
        out[field] = raw
    return out


def decode_execution(execution_id: str, job_id: str, fields: Fields) -> ExecutionRecord:
    """One attempt from its hash; the ids of the key serve where the hash lacks them."""
    created, beat = fields.get(b"created_at"), fields.get(b"last_heartbeat")
    return ExecutionRecord(
        id=_text(fields.get(b"id", b"")) or execution_id,
        job_id=_text(fields.get(b"job_id", b"")) or job_id,
        worker_name=_text(fields.get(b"worker_name", b"")),
        created_at=from_epoch(float(created)) if created else None,
        last_heartbeat=from_epoch(float(beat)) if beat else None,
        names_job=b"job_id" in fields,
    )


def encode_execution(execution: ExecutionRecord) -> dict[str, bytes]:
    """The fields of an execution hash."""
    out = {"id": execution.id.encode()}
    if execution.names_job:
        out["job_id"] = execution.job_id.encode()
    if execution.created_at is not None:
        out["created_at"] = float_text(to_epoch(execution.created_at)).encode()
    if execution.last_heartbeat is not None:
        out["last_heartbeat"] = float_text(to_epoch(execution.last_heartbeat)).encode()
    out["worker_name"] = execution.worker_name.encode()
    return out


def decode_result(fields: Fields) -> ResultRecord:
    """One result entry; the return value stays serialized. Raises ValueError for bytes that are no result."""
    try:
        return _decode_result(fields)
    except (KeyError, zlib.error) as error:
        raise ValueError(f"not a result entry: {error!r}") from error


def _decode_result(fields: Fields) -> ResultRecord:
    value, exc = fields.get(b"return_value"), fields.get(b"exc_string")
    started, ended = fields.get(b"execution_started_at"), fields.get(b"execution_ended_at")
    return ResultRecord(
        type=ResultType(int(fields[b"type"])),
        worker_name=_text(fields.get(b"worker_name", b"")),
        return_value=base64.b64decode(value) if value is not None else None,
        exc_string=zlib.decompress(base64.b64decode(exc)).decode("utf-8", "replace") if exc is not None else None,
        execution_id=_text(fields[b"execution_id"]) if b"execution_id" in fields else None,
        execution_started_at=float(started) if started else None,
        execution_ended_at=float(ended) if ended else None,
    )


def encode_result(result: ResultRecord) -> dict[str, bytes]:
    """The fields of a result entry."""
    started, ended = result.execution_started_at, result.execution_ended_at
    return result_fields(
        result.type,
        result.worker_name,
        result.return_value,
        result.exc_string,
        result.execution_id,
        None if started is None else float_text(started),
        None if ended is None else float_text(ended),
    )


def result_fields(
    kind: ResultType,
    worker_name: str,
    value: bytes | None,
    exc_string: str | None,
    execution_id: str | None,
    started_at: str | None,
    ended_at: str | None,
) -> dict[str, bytes]:
    """The same from the values themselves, the last two as texts of epoch seconds: a worker writes an entry for every job."""
    out = {"type": b"%d" % kind, "worker_name": worker_name.encode()}
    if exc_string is not None:
        out["exc_string"] = base64.b64encode(zlib.compress(exc_string.encode("utf-8", "replace")))
    if value is not None:
        out["return_value"] = base64.b64encode(value)
    if execution_id is not None:
        out["execution_id"] = execution_id.encode()
    if started_at is not None:
        out["execution_started_at"] = started_at.encode()
    if ended_at is not None:
        out["execution_ended_at"] = ended_at.encode()
    return out


_WORKER_FIELDS: Final[tuple[tuple[str, str, Callable[[bytes], Any], Callable[[Any], str]], ...]] = (
    ("birth", "birth", _date, to_date),
    ("last_heartbeat", "last_heartbeat", _date, to_date),
    ("queues", "queues", lambda raw: tuple(_text(raw).split(",")) if raw else (), ",".join),
    ("pid", "pid", _int, str),
    ("hostname", "hostname", _text_or_none, str),
    ("ip_address", "ip_address", _text_or_none, str),
    ("version", "version", _text_or_none, str),
    ("python_version", "python_version", _text_or_none, str),
    ("state", "state", _text_or_none, str),
    ("current_job", "current_job", _text_or_none, str),
    ("current_job_working_time", "current_job_working_time", float, lambda value: float_text(value).removesuffix(".0")),
    ("successful_job_count", "successful_job_count", _int, str),
    ("failed_job_count", "failed_job_count", _int, str),
    ("total_working_time", "total_working_time", float, float_text),
    ("shutdown_requested_date", "shutdown_requested_date", _date, to_date),
    ("death", "death", _date, to_date),
)


def decode_worker(name: str, fields: Fields) -> WorkerRecord:
    """A worker from its hash; a field that cannot be read counts as absent, since one bad worker must not hide the others."""
    values: dict[str, Any] = {}
    extra: list[tuple[str, bytes]] = []
    for field, raw in fields.items():
        known = _WORKER_READERS.get(field)
        if known is None:
            extra.append((_text(field), raw))
            continue
        attribute, read = known
        try:
            values[attribute] = read(raw)
        except (ValueError, TypeError):
            continue
    return WorkerRecord(name=name, extra=tuple(extra), **values)


_WORKER_READERS: Final = {field.encode(): (attribute, read) for field, attribute, read, _ in _WORKER_FIELDS}


def encode_worker(worker: WorkerRecord) -> dict[str, bytes]:
    """The fields of a worker hash that are set."""
    out: dict[str, bytes] = {}
    for field, attribute, _, write in _WORKER_FIELDS:
        value = getattr(worker, attribute)
        if value is not None and value != ():
            out[field] = write(value).encode()
    out.update(worker.extra)
    return out
