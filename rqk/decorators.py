"""``@job('low')``: a function that can be called here, and with ``.delay(…)`` by a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from rqk.job import Job
from rqk.policies import Callback, Retry
from rqk.queue import Queue
from rqk.store.connect import Client

_Args = ParamSpec("_Args")
_Value = TypeVar("_Value", covariant=True)  # noqa: PLC0105 - the name of a type is read more often than its variance
_Hook = Callback | Callable[..., Any] | str | None


class Delayable(Protocol, Generic[_Args, _Value]):
    """A decorated function: still the function itself, which workers import by its name."""

    def __call__(self, *args: _Args.args, **kwargs: _Args.kwargs) -> _Value:
        """Run it here."""
        ...

    def delay(self, *args: Any, **kwargs: Any) -> Job:
        """Enqueue it. ``depends_on``, ``job_id`` and ``at_front`` are of the job and not arguments of the function."""
        ...

    def enqueue(self, *args: Any, **kwargs: Any) -> Job:
        """The same as ``delay``."""
        ...


class job:  # noqa: N801 - RQ's name
    """Give a function ``delay`` and ``enqueue``, which put calls of it into ``queue`` with these options.

    ``queue``: a name or a Queue. Without a connection a name's queue is found as a bare ``Queue()`` finds it, at each call.
    """

    def __init__(
        self,
        queue: Queue | str,
        connection: Client | None = None,
        timeout: int | str | None = None,
        result_ttl: int | str | None = None,
        ttl: int | str | None = None,
        *,
        depends_on: Any = None,
        at_front: bool = False,
        meta: dict[str, Any] | None = None,
        description: str | None = None,
        failure_ttl: int | str | None = None,
        retry: Retry | None = None,
        on_failure: _Hook = None,
        on_success: _Hook = None,
        on_stopped: _Hook = None,
    ) -> None:
        if not isinstance(queue, (str, Queue)):
            raise TypeError(f"@job needs the name of a queue, or a Queue: @job('default'), not {queue!r}")
        self._queue = queue
        self._connection = connection
        self._depends_on = depends_on
        self._at_front = at_front
        self._options: dict[str, Any] = {
            "timeout": timeout,
            "result_ttl": result_ttl,
            "ttl": ttl,
            "meta": meta,
            "description": description,
            "failure_ttl": failure_ttl,
            "retry": retry,
            "on_failure": on_failure,
            "on_success": on_success,
            "on_stopped": on_stopped,
        }

    def __call__(self, function: Callable[_Args, _Value]) -> Delayable[_Args, _Value]:
        """The function itself, with two attributes more."""

        def delay(*args: Any, **kwargs: Any) -> Job:
            depends_on = kwargs.pop("depends_on", None) or self._depends_on
            at_front = kwargs.pop("at_front", False) or self._at_front
            job_id = kwargs.pop("job_id", None)
            queue = self._queue if isinstance(self._queue, Queue) else Queue(self._queue, self._connection)
            return queue.enqueue_call(
                function, args, kwargs, depends_on=depends_on, at_front=at_front, job_id=job_id, **self._options
            )

        decorated = cast("Any", function)
        decorated.delay = decorated.enqueue = delay
        return cast("Delayable[_Args, _Value]", decorated)
