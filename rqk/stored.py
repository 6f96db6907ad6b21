"""What a job's record says, without asking Redis."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from typing import Any, cast

from rqk.core import keys
from rqk.core.call import Call, Serializer, decode_call
from rqk.core.payload import call_string
from rqk.core.records import JobRecord
from rqk.core.times import parse_duration


def _ints(values: Any) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)


def _duration(value: Any) -> int | None:
    return parse_duration(value)


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"it is a text, not {value!r}")
    return value


def _number(value: Any) -> int | None:
    if value is not None and not isinstance(value, int):
        raise TypeError(f"it is a whole number, not {value!r}")
    return value


# What a user may set on a job, to be stored by save(), and how the value is read.
_SETTABLE: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("timeout", "result_ttl", "failure_ttl", "ttl"), _duration),
    **dict.fromkeys(("description", "origin", "group_id"), _text),
    **dict.fromkeys(("retries_left", "repeats_left"), _number),
    **dict.fromkeys(("retry_intervals", "repeat_intervals"), _ints),
    **dict.fromkeys(("enqueue_at_front", "allow_dependency_failures"), bool),
}


class StoredJob:
    """A job's record under RQ's names; :class:`rqk.job.Job` can also ask and act."""

    record: JobRecord
    serializer: Serializer
    _call: Call | None
    _changed: frozenset[str] = frozenset()  # fields that were set here and not saved yet

    @property
    def id(self) -> str:
        """The job's id."""
        return self.record.id

    def get_id(self) -> str:
        """The job's id."""
        return self.record.id

    @property
    def key(self) -> str:
        """The key of its hash."""
        return keys.job(self.id)

    @property
    def dependents_key(self) -> str:
        """The key of the set of jobs that wait for it."""
        return keys.dependents(self.id)

    @property
    def dependencies_key(self) -> str:
        """The key of the set of jobs it waits for."""
        return keys.dependencies(self.id)

    def __getattr__(self, name: str) -> Any:
        # Plain fields of the record (created_at, origin, timeout, worker_name …) are read as RQ's attributes.
        record = self.__dict__.get("record")
        if record is not None and name in JobRecord._fields:
            return getattr(record, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        # A plain attribute would hide the record's field, and be stored nowhere. What is no field is the caller's own, as in RQ.
        if name not in JobRecord._fields:
            object.__setattr__(self, name, value)
            return
        read = _SETTABLE.get(name)
        if read is None:
            can_be = ", ".join(sorted([*_SETTABLE, "meta"]))
            raise AttributeError(
                f"a job's {name} cannot be set: it is written by what becomes of the job; what can be is {can_be}"
            )
        try:
            self.record = self.record._replace(**{name: read(value)})
        except TypeError as error:
            raise TypeError(f"a job's {name}: {error}") from error
        self._changed = self._changed | {name}

    def _decoded(self) -> Call:
        if self._call is None:
            self._call = decode_call(self.record.data, self.serializer)
        return self._call

    @property
    def func_name(self) -> str:
        """Dotted name of the function, or the bare name of a method. Raises DeserializationError."""
        return self._decoded().func_name

    @property
    def instance(self) -> Any:
        """The object a method is bound to, else None."""
        return self._decoded().instance

    @property
    def args(self) -> Sequence[Any]:
        """Positional arguments."""
        return self._decoded().args

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments."""
        return dict(self._decoded().kwargs)

    @property
    def func(self) -> Callable[..., Any]:
        """The function itself, imported here. Raises DeserializationError, and what the import raises."""
        call = self._decoded()
        if call.instance is not None:
            return cast("Callable[..., Any]", getattr(call.instance, call.func_name))
        name = call.func_name if "." in call.func_name else f"builtins.{call.func_name}"
        return cast("Callable[..., Any]", pkgutil.resolve_name(name))

    @property
    def success_callback(self) -> Callable[..., Any] | None:
        """What is called when it succeeds, imported here; None if nothing is. Raises what the import raises."""
        return _imported(self.record.success_callback_name)

    @property
    def failure_callback(self) -> Callable[..., Any] | None:
        """What is called when it fails."""
        return _imported(self.record.failure_callback_name)

    @property
    def stopped_callback(self) -> Callable[..., Any] | None:
        """What is called when it is stopped."""
        return _imported(self.record.stopped_callback_name)

    @property
    def is_async(self) -> bool:
        """Whether it is a worker's; False if a ``Queue(is_async=False)`` runs or ran it."""
        return self.record.worker_name != "sync"

    def get_call_string(self) -> str:
        """The call as text."""
        call = self._decoded()
        return call_string(call.func_name, call.args, call.kwargs)

    def get_ttl(self, default_ttl: int | None = None) -> int | None:
        """How long it may wait in seconds, else the default."""
        return default_ttl if self.record.ttl is None else self.record.ttl

    def get_result_ttl(self, default_ttl: int | None = None) -> int | None:
        """How long its result is kept in seconds (-1: for ever), else the default."""
        return default_ttl if self.record.result_ttl is None else self.record.result_ttl


def _imported(name: str | None) -> Callable[..., Any] | None:
    return cast("Callable[..., Any]", pkgutil.resolve_name(name)) if name else None
