"""Making a job's record from what a caller gives; no Redis here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from rqk.core.call import Call, Serializer
from rqk.core.payload import call_string, describe_callable, encode_call
from rqk.core.records import JobRecord
from rqk.core.states import JobStatus
from rqk.core.times import LONGEST_TTL_S, parse_duration
from rqk.errors import SerializationError
from rqk.policies import Callback, Dependency, Repeat, Retry, as_callback, as_dependency

_ID = re.compile(r"[A-Za-z0-9_-]+")
_Hook = Callback | Callable[..., Any] | str | None


class EnqueueData(NamedTuple):
    """One job of an enqueue_many call; made by Queue.prepare_data."""

    func: Callable[..., Any] | str
    args: Sequence[Any] | None = None
    kwargs: dict[str, Any] | None = None
    timeout: int | str | None = None
    result_ttl: int | str | None = None
    ttl: int | str | None = None
    failure_ttl: int | str | None = None
    description: str | None = None
    depends_on: Any = None
    job_id: str | None = None
    at_front: bool = False
    meta: dict[str, Any] | None = None
    retry: Retry | None = None
    on_success: _Hook = None
    on_failure: _Hook = None
    on_stopped: _Hook = None
    repeat: Repeat | None = None


def validate_job_id(job_id: str) -> str:
    """The id itself. Raises TypeError or ValueError for what RQ refuses too."""
    if not isinstance(job_id, str):
        raise TypeError(f"a job id is text, not {job_id!r}")
    if not _ID.fullmatch(job_id):
        raise ValueError(f"a job id holds letters, digits, '-' and '_' only, not {job_id!r}")
    return job_id


_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def new_id() -> str:
    """A random id in the form of RQ's: what ``str(uuid4())`` gives, in a third of the time."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


def _lifetime(name: str, value: int | str | None) -> int | None:
    """Whole seconds that Redis can count. Raises ValueError for more."""
    if value is None:
        return None
    seconds = parse_duration(value)
    if seconds is not None and seconds > LONGEST_TTL_S:
        forever = "leave it out" if name == "ttl" else "use -1"
        raise ValueError(
            f"{name} is at most {LONGEST_TTL_S} seconds (a thousand years), not {value!r}; {forever} for no end"
        )
    return seconds


def new_record(
    func: Callable[..., Any] | str,
    args: Sequence[Any] | None,
    kwargs: dict[str, Any] | None,
    serializer: Serializer,
    *,
    id: str,  # noqa: A002 - RQ's name
    now: datetime,
    status: JobStatus,
    origin: str = "",
    description: str | None = None,
    timeout: int | str | None = None,
    result_ttl: int | str | None = None,
    failure_ttl: int | str | None = None,
    ttl: int | str | None = None,
    meta: dict[str, Any] | None = None,
    group_id: str | None = None,
    depends_on: Any = None,
    retry: Retry | None = None,
    repeat: Repeat | None = None,
    on_success: _Hook = None,
    on_failure: _Hook = None,
    on_stopped: _Hook = None,
    enqueued_at: datetime | None = None,
    enqueue_at_front: bool | None = None,
) -> tuple[JobRecord, Call]:
    """The record of a new job, and its call. Raises what :meth:`rqk.job.Job.create` raises."""
    _check_kinds(args, kwargs, description, meta, retry, repeat)
    instance, func_name = describe_callable(func)
    positional, named = () if args is None else args, kwargs or {}
    call = Call(func_name, instance, positional, named)
    dependency = as_dependency(depends_on)
    done, missed, halted = as_callback(on_success), as_callback(on_failure), as_callback(on_stopped)
    record = JobRecord(
        id=id,
        status=status,
        created_at=now,
        data=encode_call(call, serializer),
        enqueued_at=enqueued_at,
        origin=origin,
        description=call_string(func_name, positional, named) if description is None else description,
        timeout=parse_duration(timeout),
        result_ttl=_lifetime("result_ttl", result_ttl),
        failure_ttl=_lifetime("failure_ttl", failure_ttl),
        ttl=_lifetime("ttl", ttl),
        meta_raw=dump_meta(meta, serializer) if meta else None,
        group_id=group_id,
        retries_left=retry.max if retry else None,
        retry_intervals=tuple(retry.intervals) if retry else None,
        enqueue_at_front_on_retry=bool(retry and retry.enqueue_at_front),
        repeats_left=repeat.times if repeat else None,
        repeat_intervals=tuple(repeat.intervals) if repeat else None,
        success_callback_name=done.name if done else None,
        success_callback_timeout=done.timeout if done else None,
        failure_callback_name=missed.name if missed else None,
        failure_callback_timeout=missed.timeout if missed else None,
        stopped_callback_name=halted.name if halted else None,
        stopped_callback_timeout=halted.timeout if halted else None,
        dependency_ids=dependency.ids if dependency else (),
        allow_dependency_failures=dependency.allow_failure
        if isinstance(dependency, Dependency) and dependency.allow_failure
        else None,
        enqueue_at_front=True if dependency and dependency.enqueue_at_front else enqueue_at_front,
    )
    return record, call


def _check_kinds(args: Any, kwargs: Any, description: Any, meta: Any, retry: Any, repeat: Any) -> None:
    """Raise TypeError for what would be understood in another way, or fail far from here. RQ's own Retry and Repeat will do."""
    if type(args) is not tuple and (isinstance(args, (str, bytes)) or not (args is None or isinstance(args, Iterable))):
        raise TypeError(f"args are the function's arguments as a tuple or a list, not {args!r}")
    if kwargs and not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs are the function's keyword arguments as a dictionary, not {kwargs!r}")
    if description is not None and not isinstance(description, str):
        raise TypeError(f"a description is a text, not {description!r}")
    if meta is not None and not isinstance(meta, dict):
        raise TypeError(f"meta is a dictionary, not {meta!r}")
    if retry is not None and not (hasattr(retry, "max") and hasattr(retry, "intervals")):
        raise TypeError(f"retry is a Retry, such as Retry(max=3), not {retry!r}")
    if repeat is not None and not (hasattr(repeat, "times") and hasattr(repeat, "intervals")):
        raise TypeError(f"repeat is a Repeat, such as Repeat(times=3), not {repeat!r}")


def dump_meta(meta: dict[str, Any], serializer: Serializer) -> bytes:
    """A job's dictionary as bytes. Raises SerializationError."""
    try:
        return serializer.dumps(meta)
    except Exception as error:  # noqa: BLE001 - serializers raise whatever user classes raise
        raise SerializationError(f"meta cannot be stored: {error}") from error


def load_meta(raw: bytes | None, serializer: Serializer) -> dict[str, Any]:
    """The dictionary again; what cannot be read is shown under ``unserialized``, as RQ does."""
    if not raw:
        return {}
    try:
        value = serializer.loads(raw)
    except Exception:  # noqa: BLE001 - unpickling runs user code
        return {"unserialized": raw}
    return value if isinstance(value, dict) else {"unserialized": raw}
