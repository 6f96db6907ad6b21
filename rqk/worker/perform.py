"""Run one job: decode its call, run it under its soft time limit, run its callbacks, put the end into words.

Modes (messages.Mode), so that everything of a user's runs in a fork, callbacks after a hard kill too:

- ``perform``: the job itself. Success callback before the outcome is told: if it raises, the job has failed. Failure
  callback after any exception: if it raises, its exception replaces the job's. Neither runs for a returned Retry.
- ``failure_callback``: the horse of this job was killed; a fresh one gets the order again with ``exc_kind`` and
  ``exc_text`` (from core.verdict) and calls ``callback(job, connection, type, value, None)`` with a
  JobTimeoutException for "timeout", else a HorseDied.
- ``stopped_callback``: the job was stopped by a user; calls ``callback(job, connection)``.

The outcome of the last two is ``finished``, or ``failed`` with the callback's own traceback; ``func`` is the
callback's name. A job without such a callback gives ``finished`` with an empty ``func``.

Soft time limit: SIGALRM raises JobTimeoutException in the main thread (in ``asyncio.run`` too), and once more
``raise_again_s`` later if the job swallowed it. A job that sets its own alarm takes ours away; then, as for code that
never returns from C, there is the supervisor's hard limit. The limit covers decoding and importing; afterwards the
handler and timer are as before the job.
"""

from __future__ import annotations

import reprlib
import signal
import time
from collections.abc import Callable
from types import CoroutineType, FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from rqk.core.call import Serializer, decode_call
from rqk.core.verdict import seconds_text
from rqk.current import set_current
from rqk.errors import JobTimeoutException, RqkError
from rqk.serializers import DefaultSerializer
from rqk.worker import afterfork, memory, process
from rqk.worker import resolve as resolving
from rqk.worker.messages import Mode, Order, Outcome, RetryWish
from rqk.worker.settings import set_job_environment

if TYPE_CHECKING:
    from rqk.core.records import JobRecord
    from rqk.job import Job

UNREADABLE_FUNC = "<DeserializationError>"  # RQ's name for a call that could not be read
UNSERIALIZABLE = "Unserializable return value"  # RQ's placeholder for a result that cannot be stored
MAX_RESULT_BYTES = 384 * 1024 * 1024 - 1024  # Redis takes 512 MB a value, and the protocol's base64 needs a third more
MAX_TRACEBACK_CHARS = 64 * 1024  # the first 24 Ki (where the job is) and the last 40 Ki (what happened) are kept
MAX_REPR_CHARS = 200
CALLBACK_TIMEOUT_S = 60.0
_ALARM = int(signal.SIGALRM)
_HEAD_CHARS = 24 * 1024
_LONGEST_TIMER_S = 1e9  # setitimer refuses absurd values; thirty years are enough
_WEARY = (JobTimeoutException, MemoryError)  # raised in the middle of anything: such a process takes no further job

# Frames of these files at the top of a traceback are how we came to the user's code, not part of what happened there.
_OUR_FILES = frozenset({__file__, resolving.__file__})
_ASYNCIO_FILES = ("asyncio/runners.py", "asyncio/base_events.py")


class HorseDied(RqkError):
    """The process that ran the job died; the text says how."""


class Tools(NamedTuple):
    """What jobs need of their worker."""

    serializer: Serializer = DefaultSerializer
    connect: Callable[[], Any] | None = None  # makes a Redis client, if the user's code asks for one
    raise_again_s: float = 5.0  # see zygote.ChildSettings


class TheJob:
    """Makes the job that get_current_job() and callbacks see when somebody asks for it: few do, and what it needs is four
    fifths of what a horse would otherwise have to inherit.
    """

    def __init__(self, order: Order, tools: Tools, began_at: float) -> None:
        self._order = order
        self._tools = tools
        self._began_at = began_at
        self._made: Job | None = None

    def __call__(self) -> Job:
        """The job; the same one each time."""
        if self._made is None:
            from rqk.job import Job

            self._made = Job.from_record(
                self._record(), serializer=self._tools.serializer, connection_factory=self._tools.connect
            )
        return self._made

    def _record(self) -> JobRecord:
        """The record as Redis has it now: what the order brings is from before the start, and save() writes all of it."""
        from rqk.core.codec import decode_job
        from rqk.core.states import JobStatus
        from rqk.core.times import from_epoch

        order, began = self._order, from_epoch(self._began_at)
        record = decode_job(order.job_id, order.fields)
        if order.mode is Mode.PERFORM:
            record = record._replace(started_at=began)
        return record._replace(status=JobStatus.STARTED, worker_name=order.worker_name, last_heartbeat=began)


class SoftLimit:
    """Raises JobTimeoutException in a block of code that takes too long; ``seconds`` None, 0 or below = never."""

    def __init__(self, seconds: float | None, again_s: float = 0.0) -> None:
        self._seconds = seconds if seconds and seconds > 0 else None
        self._again = max(0.0, again_s)
        self._armed = False
        self._entered = False
        self._before: Any = signal.SIG_DFL

    def __enter__(self) -> Self:
        self._before = process.get_signal(_ALARM)
        self._entered = True
        if self._seconds is not None:
            self._armed = True
            process.set_signal(_ALARM, self._ring)
            signal.setitimer(
                signal.ITIMER_REAL, min(self._seconds, _LONGEST_TIMER_S), min(self._again, _LONGEST_TIMER_S)
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Disarm, and undo what the block did to the alarm. May be called again: an alarm may hit the first call
        itself.
        """
        self._armed = False
        if self._entered:
            signal.setitimer(signal.ITIMER_REAL, 0)
            process.set_signal(_ALARM, self._before if self._before is not None else signal.SIG_DFL)
            self._entered = False

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if not self._armed:
            return
        if self._again:
            self._again = 0.0  # the timer rings by itself once more, then no more
        else:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        raise JobTimeoutException(f"Task exceeded maximum timeout value ({seconds_text(self._seconds or 0)} seconds)")


def perform(order: Order, tools: Tools) -> Outcome:
    """Do what the order says. Whatever the user's code raises becomes part of the outcome; this function raises
    nothing.
    """
    set_job_environment(order.worker_name, order.job_id, order.execution_id)
    work = _Work(order, tools)
    try:
        return work.run() if order.mode is Mode.PERFORM else work.run_callback_only()
    except BaseException as error:  # SystemExit and KeyboardInterrupt are failures of the job too
        return work.failed(error)
    finally:
        work.limit.stop()
        set_current(None)


class _Work:
    """One order on its way."""

    def __init__(self, order: Order, tools: Tools) -> None:
        self.order = order
        self.tools = tools
        self.started_at = time.time()
        self.job = TheJob(order, tools, self.started_at)
        self.prepared = False
        self.func = ""
        self.note: str | None = None
        self.limit = SoftLimit(order.timeout_s, tools.raise_again_s)

    def prepare(self) -> None:
        set_current(self.job)
        self.prepared = True

    def run(self) -> Outcome:
        self.prepare()
        afterfork.around_job()
        self.func = UNREADABLE_FUNC
        with self.limit:
            call = decode_call(self.order.fields[b"data"], self.tools.serializer)
            self.func = str(call.func_name)
            function = resolving.resolve(call.func_name, call.instance)
            self.started_at = time.time()
            value = function(*call.args, **call.kwargs)
            if isinstance(value, CoroutineType):
                import asyncio  # here: it is a third of a small horse

                value = asyncio.run(value)
        ended_at = time.time()
        wish = retry_wish(value)
        if wish is None:
            self.callback("success", value)
        result = self.serialized(value)
        self.tidy()
        return Outcome(
            "retry" if wish else "finished",
            self.started_at,
            ended_at,
            func=self.func,
            result_repr=short_repr(value),
            retry=wish,
            has_result=value is not None,
            note=self.note,
            result=result,
        )

    def run_callback_only(self) -> Outcome:
        self.prepare()
        if self.order.mode is Mode.STOPPED_CALLBACK:
            self.func = self.callback("stopped")
        else:
            kind = JobTimeoutException if self.order.exc_kind == "timeout" else HorseDied
            self.func = self.callback("failure", kind, kind(self.order.exc_text), None)
        return Outcome("finished", self.started_at, time.time(), func=self.func)

    def failed(self, error: BaseException) -> Outcome:
        self.limit.stop()
        memory.lift_job_memory()  # room to say that there was none
        weary = isinstance(error, _WEARY)
        ended_at = time.time()
        if self.prepared and self.order.mode is Mode.PERFORM:
            try:
                self.callback("failure", type(error), error, own_part(error.__traceback__))
            except BaseException as second:  # as in RQ: what the failure callback raises is what is recorded
                error = second
        self.tidy()
        return Outcome(
            "failed",
            self.started_at,
            ended_at,
            func=self.func,
            exc_type=type_name(type(error)),
            note=self.note,
            leaving=weary or isinstance(error, _WEARY),
            exc_string=traceback_text(error),
        )

    def callback(self, event: str, *args: Any) -> str:
        """Run the job's callback for an event, if it has one, within its own time limit; return its name."""
        name = self.order.fields.get(b"%s_callback_name" % event.encode(), b"").decode("utf-8", "replace")
        if name:
            text = self.order.fields.get(b"%s_callback_timeout" % event.encode())
            self.limit = SoftLimit(float(text) if text else CALLBACK_TIMEOUT_S, self.tools.raise_again_s)
            with self.limit:
                job = self.job()
                resolving.resolve_callback(name, event)(job, job.connection, *args)
        return name

    def serialized(self, value: object) -> bytes:
        """Return the result's bytes; RQ's placeholder, and a note, if it cannot be stored. The job has succeeded all
        the same.
        """
        if value is None:
            return b""
        try:
            result = self.tools.serializer.dumps(value)
            if not isinstance(result, bytes):
                raise TypeError(f"the serializer returned {type(result).__name__}, not bytes")
            if len(result) <= MAX_RESULT_BYTES:
                return result
            size = len(result)
            self.note = (
                f"the return value was not stored: {size} bytes serialized; Redis can hold {MAX_RESULT_BYTES} of them"
            )
        except Exception as error:  # serializers raise whatever users' classes raise
            kind = type_name(type(value))
            self.note = f"the return value ({kind}) was not stored, as it cannot be serialized: {_one_line(error)}"
        return self.tools.serializer.dumps(UNSERIALIZABLE)

    def tidy(self) -> None:
        try:
            afterfork.around_job()
        except Exception as error:  # a database that is away has no say in how the job ended
            self.note = self.note or f"after the job: {_one_line(error)}"


def retry_wish(value: object) -> RetryWish | None:
    """Return what a returned Retry asks for, None for any other value. Told by its name and attributes: RQ's own
    class counts too.
    """
    if value is None or not any(cls.__name__ == "Retry" for cls in type(value).__mro__):
        return None
    try:
        retry: Any = value
        return RetryWish(int(retry.max), bool(retry.enqueue_at_front), tuple(int(wait) for wait in retry.intervals))
    except (AttributeError, TypeError, ValueError):
        return None


_PLAIN = frozenset({type(None), bool, float})
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict, _SHORT.maxset, _SHORT.maxfrozenset = (
    4,
    20,
    20,
    20,
    20,
    20,
)
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = MAX_REPR_CHARS


def short_repr(value: object) -> str:
    """Return at most 200 characters of a value's repr, without ever building that of a long list. Never raises."""
    if type(value) in _PLAIN:
        return str(value)
    try:
        text = _SHORT.repr(value)
    except Exception:  # a user's __repr__; an integer of too many digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= MAX_REPR_CHARS else text[: MAX_REPR_CHARS - 3] + "..."


def type_name(cls: type) -> str:
    """Return ``module.Class``."""
    return f"{cls.__module__}.{cls.__qualname__}"


def own_part(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the leading frames of our own; the last of them if there is nothing else."""
    while trace is not None and trace.tb_next is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def _is_ours(file: str) -> bool:
    return file in _OUR_FILES or file.endswith(_ASYNCIO_FILES)


def traceback_text(error: BaseException) -> str:
    """Return the traceback of an exception as Python prints it, from the user's code on, at most MAX_TRACEBACK_CHARS.
    Never raises.
    """
    import traceback  # here: most jobs do not fail

    try:
        text = "".join(traceback.format_exception(type(error), error, own_part(error.__traceback__)))
    except BaseException as second:  # an exception whose text, notes or cause cannot be had
        text = f"{type_name(type(error))}: its traceback could not be put into words: {_one_line(second)}\n"
    if len(text) <= MAX_TRACEBACK_CHARS:
        return text
    mark = f"\n... {len(text) - MAX_TRACEBACK_CHARS} characters left out here by rqk ...\n"
    return text[:_HEAD_CHARS] + mark + text[_HEAD_CHARS + len(mark) - MAX_TRACEBACK_CHARS :]


def _one_line(error: BaseException) -> str:
    try:
        return " ".join(f"{type(error).__name__}: {error}".split())[:500]
    except BaseException:  # its __str__ is a user's
        return type(error).__name__
