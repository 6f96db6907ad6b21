"""One job: its call, its limit, its callbacks, and the words for how it ended."""

from __future__ import annotations

import json
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from rqk.job import get_current_job
from rqk.serializers import JSONSerializer
from rqk.worker import perform as performing
from rqk.worker.messages import Mode, Order, Outcome, RetryWish
from rqk.worker.perform import Tools, perform, short_repr, traceback_text
from tests.worker import jobs_horse
from tests.worker.stable import JOBS, order, result

TOOLS = Tools(connect=lambda: "the connection", raise_again_s=0.1)


def run(what: Order, tools: Tools = TOOLS) -> Outcome:
    """Perform an order in this process; the alarm and the current job must be as before."""
    before = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, 0)  # pytest-timeout's own
    try:
        outcome = perform(what, tools)
        assert signal.getsignal(signal.SIGALRM) is before[0]
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert get_current_job() is None
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before[1])
    return outcome


def test_a_result() -> None:
    began = time.time()
    outcome = run(order("add", 40, 2))
    assert result(outcome) == 42
    assert (outcome.result_repr, outcome.func, outcome.note, outcome.has_result) == ("42", f"{JOBS}.add", None, True)
    assert began <= outcome.started_at <= outcome.ended_at <= time.time()


def test_the_job_is_told_that_it_has_started() -> None:
    began = time.time()
    told = result(run(order("itself", status="queued", started_at="2026-08-01T00:00:00.000000Z", worker_name="former")))
    assert told[:2] == ["started", "worker-1"]
    assert began <= told[2] == told[3] <= time.time()


def test_the_job_is_made_only_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(performing.TheJob, "__call__", lambda self: made.append("made"))
    assert result(run(order("add", 1))) == 2
    assert made == []


@pytest.mark.parametrize(
    ("func", "args", "wanted"),
    [
        pytest.param("add_later", (1, 2), 3, id="a coroutine is run"),
        pytest.param("math.sqrt", (9,), 3.0, id="a builtin of a module"),
        pytest.param("builtins.len", ("abc",), 3, id="len"),
        pytest.param("_operator.add", (1, 2), 3, id="operator.add"),
        pytest.param("datetime.datetime.fromtimestamp", (0,), None, id="a class's method"),
    ],
)
def test_functions_of_all_kinds(func: str, args: tuple[Any, ...], wanted: Any) -> None:
    assert result(run(order(func, *args))) == wanted or wanted is None


def test_a_job_can_look_at_itself() -> None:
    seen = result(run(order("look", description="something to do", result_ttl="77")))
    assert seen == ("job-1", "something to do", 77, "default", {}, False, f"{JOBS}.look", "the connection")


def test_methods_and_callable_instances() -> None:
    base = order("add")
    for call, wanted in ((("upper", "abc", (), {}), "ABC"), (("__call__", jobs_horse.add, (1,), {"right": 5}), 6)):
        what = Order(base.job_id, base.execution_id, "q", "w", None, {**base.fields, b"data": pickle.dumps(call)})
        assert result(run(what)) == wanted


def test_a_job_that_returns_none_has_no_result() -> None:
    outcome = run(order("time.sleep", 0))
    assert (outcome.kind, outcome.has_result, outcome.result, outcome.result_repr) == ("finished", False, b"", "None")


def test_a_failure_shows_the_users_code_first() -> None:
    outcome = run(order("divide", 1, 0))
    assert (outcome.kind, outcome.exc_type) == ("failed", "builtins.ZeroDivisionError")
    lines = outcome.exc_string.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "jobs_horse.py" in lines[1]
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_a_coroutine_that_fails_shows_the_users_code_first() -> None:
    outcome = run(order("sleep_for_ever", timeout=0.1))
    assert outcome.exc_type == "rqk.errors.JobTimeoutException"
    assert "asyncio/runners.py" not in outcome.exc_string.splitlines()[1]


@pytest.mark.parametrize(
    ("func", "exc_type"),
    [
        (("leave", 3), "builtins.SystemExit"),
        (("leave", 0), "builtins.SystemExit"),
        (("interrupt",), "builtins.KeyboardInterrupt"),
    ],
)
def test_leaving_the_interpreter_is_a_failure_with_a_traceback(func: tuple[Any, ...], exc_type: str) -> None:
    outcome = run(order(*func))
    assert (outcome.kind, outcome.exc_type) == ("failed", exc_type)
    assert "jobs_horse.py" in outcome.exc_string


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "no_such_module_at_all.f",
            "cannot import no_such_module_at_all.f: No module named 'no_such_module_at_all'; is its module",
        ),
        (f"{JOBS}.missing", "has no attribute 'missing'"),
        ("tests.worker.jobs_preload_missing.f.g", "cannot import"),
        ("nothing_of_the_kind", "cannot import nothing_of_the_kind"),
        ("a..b", "not the dotted name of a function"),
        ("os.sep", "os.sep is a str, which cannot be called"),
    ],
)
def test_a_function_that_cannot_be_imported_is_a_failure_that_says_so(name: str, words: str) -> None:
    base = order("add")
    data = pickle.dumps((name, None, (), {}))
    outcome = run(Order(base.job_id, base.execution_id, "q", "w", None, {**base.fields, b"data": data}))
    assert outcome.kind == "failed"
    assert words in outcome.exc_string
    assert outcome.func == name


def test_an_import_error_inside_a_module_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import a_missing_dependency\ndef f(): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "No module named 'a_missing_dependency'" in run(order("needs_more.f")).exc_string


def test_another_serializer_than_the_producers_is_named() -> None:
    outcome = run(order("add", 1), Tools(JSONSerializer))
    assert (outcome.kind, outcome.func) == ("failed", "<DeserializationError>")
    assert "same serializer" in outcome.exc_string
    json_order = order("add", 1, dumps=JSONSerializer.dumps)
    assert json.loads(run(json_order, Tools(JSONSerializer)).result) == 2


def test_a_hash_that_cannot_be_read_fails_the_job_that_looks_into_it() -> None:
    assert result(run(order("add", 1, retries_left="many"))) == 2
    outcome = run(order("look", retries_left="many"))
    assert outcome.kind == "failed"
    assert "retries_left" in outcome.exc_string


# Limits


@pytest.mark.parametrize(("func", "words"), [(("spin",), "in spin"), (("sleep_for_ever",), "JobTimeoutException")])
def test_a_job_above_its_limit(func: tuple[str], words: str) -> None:
    outcome = run(order(*func, timeout=0.1))
    assert (outcome.kind, outcome.exc_type, outcome.leaving) == ("failed", "rqk.errors.JobTimeoutException", True)
    assert "Task exceeded maximum timeout value (0.1 seconds)" in outcome.exc_string
    assert words in outcome.exc_string


def test_a_job_that_swallows_the_exception_gets_it_once_more(tmp_path: Path) -> None:
    outcome = run(order("swallow", str(tmp_path / "note"), timeout=0.1))
    assert (tmp_path / "note").read_text() == "swallowed Task exceeded maximum timeout value (0.1 seconds)"
    assert outcome.exc_type == "rqk.errors.JobTimeoutException"


@pytest.mark.parametrize("timeout", [None, 1e30])
def test_without_a_limit_or_with_an_absurd_one_a_job_just_runs(timeout: float | None) -> None:
    assert result(run(order("spin", 0.05, timeout=timeout))) is None


def test_a_job_may_use_the_alarm_and_leaves_none_behind() -> None:
    assert result(run(order("own_alarm"))) == "rung"


# Results


def test_a_result_that_cannot_be_stored_is_replaced_and_said() -> None:
    outcome = run(order("unpicklable"))
    assert result(outcome) == "Unserializable return value"
    assert outcome.note is not None
    assert "_thread.lock" in outcome.note
    assert "cannot pickle" in outcome.note


def test_a_result_too_large_for_redis_is_replaced_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performing, "MAX_RESULT_BYTES", 1000)
    outcome = run(order("builtins.str", "x" * 2000))
    assert result(outcome) == "Unserializable return value"
    assert outcome.note is not None
    assert "Redis can hold 1000" in outcome.note


def test_a_returned_retry_is_told_and_no_callback_runs(tmp_path: Path) -> None:
    outcome = run(order("try_again", description=str(tmp_path / "notes"), success_callback_name=f"{JOBS}.on_success"))
    assert (outcome.kind, outcome.retry) == ("retry", RetryWish(3, False, (1, 2)))
    assert pickle.loads(outcome.result).max == 3
    assert not (tmp_path / "notes").exists()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, "None"),
        (42, "42"),
        ("a", "'a'"),
        pytest.param(10**5000, "<int>", id="many digits"),
        (jobs_horse.Odd(), "<Odd instance at"),
        ({"a": [1]}, "{'a': [1]}"),
    ],
)
def test_a_value_for_the_log(value: object, wanted: str) -> None:
    assert short_repr(value).startswith(wanted)


def test_large_values_are_short() -> None:
    for value in ("x" * 1_000_000, list(range(1_000_000)), {"k" * 500: "v" * 500}, b"y" * 1_000_000):
        assert len(short_repr(value)) <= 200


def test_a_value_whose_repr_raises_is_no_failure() -> None:
    outcome = run(order("return_odd"))
    assert outcome.kind == "finished"
    assert "Odd" in outcome.result_repr


# Tracebacks


def test_an_exception_without_words_still_gives_an_outcome() -> None:
    outcome = run(order("raise_nameless"))
    assert (outcome.kind, outcome.exc_type) == ("failed", f"{JOBS}.Nameless")
    assert "Nameless" in outcome.exc_string


def test_an_exception_that_fights_back_still_gives_a_text() -> None:
    class Fighter(Exception):
        def __str__(self) -> str:
            raise SystemExit

        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    assert "Fighter" in traceback_text(Fighter())


def test_a_long_traceback_keeps_its_beginning_and_its_end() -> None:
    text = run(order("raise_long", 1_000_000)).exc_string
    assert len(text) == performing.MAX_TRACEBACK_CHARS
    assert text.startswith("Traceback (most recent call last):")
    assert "characters left out here by rqk" in text
    assert text.endswith("the end\n")


# Callbacks


def notes(tmp_path: Path, what: Order) -> list[str]:
    """Return what the callbacks of an order wrote."""
    what.fields[b"description"] = str(tmp_path / "notes").encode()  # type: ignore[index]
    run(what)
    return (tmp_path / "notes").read_text().splitlines() if (tmp_path / "notes").exists() else []


BOTH: Any = {"success_callback_name": f"{JOBS}.on_success", "failure_callback_name": f"{JOBS}.on_failure"}


def test_the_success_callback_gets_the_result(tmp_path: Path) -> None:
    assert notes(tmp_path, order("add", 40, 2, **BOTH)) == ["success job-1 the connection 42"]


def test_the_failure_callback_gets_the_exception(tmp_path: Path) -> None:
    assert notes(tmp_path, order("divide", 1, 0, **BOTH)) == [
        "failure job-1 the connection ZeroDivisionError division by zero True"
    ]


def test_a_success_callback_that_raises_makes_a_failure_of_it(tmp_path: Path) -> None:
    what = order("add", 1, success_callback_name=f"{JOBS}.broken_callback", failure_callback_name=f"{JOBS}.on_failure")
    assert notes(tmp_path, what) == ["failure job-1 the connection LookupError callback broke with 3 arguments True"]
    assert run(what).exc_type == "builtins.LookupError"


def test_what_a_failure_callback_raises_replaces_the_exception() -> None:
    outcome = run(order("divide", 1, 0, failure_callback_name=f"{JOBS}.broken_callback"))
    assert outcome.exc_type == "builtins.LookupError"
    assert "callback broke with 5 arguments" in outcome.exc_string


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        ("async_callback", "a callback must be a plain function"),
        ("no_such", "has no attribute 'no_such'"),
    ],
)
def test_a_callback_that_cannot_be_used_is_a_failure(callback: str, words: str) -> None:
    outcome = run(order("add", 1, success_callback_name=f"{JOBS}.{callback}"))
    assert outcome.kind == "failed"
    assert f"ValueError: success callback {JOBS}.{callback}: " in outcome.exc_string
    assert words in outcome.exc_string


@pytest.mark.parametrize("name", [f"{JOBS}.no_such", "no_such_module_at_all.f", f"{JOBS}.async_callback", "os.sep"])
def test_a_failure_callback_that_cannot_be_used_does_not_hide_the_failure(name: str) -> None:
    outcome = run(order("divide", 1, 0, failure_callback_name=name))
    assert outcome.kind == "failed"
    assert "ZeroDivisionError: division by zero" in outcome.exc_string
    assert outcome.exc_string.splitlines()[-1].startswith(f"ValueError: failure callback {name}: ")


def test_a_callback_has_a_limit_of_its_own() -> None:
    outcome = run(order("add", 1, success_callback_name=f"{JOBS}.slow_callback", success_callback_timeout="1"))
    assert outcome.exc_type == "rqk.errors.JobTimeoutException"
    assert "in slow_callback" in outcome.exc_string
    assert "(1 seconds)" in outcome.exc_string


@pytest.mark.parametrize(
    ("mode", "kind", "wanted"),
    [
        (Mode.FAILURE_CALLBACK, "timeout", "failure job-1 the connection JobTimeoutException was killed False"),
        (Mode.FAILURE_CALLBACK, "oom", "failure job-1 the connection HorseDied was killed False"),
        (Mode.STOPPED_CALLBACK, "", "stopped job-1 the connection"),
    ],
)
def test_callbacks_of_a_job_whose_horse_is_gone(tmp_path: Path, mode: Mode, kind: str, wanted: str) -> None:
    what = order(
        "vanish", 1, mode=mode, exc_kind=kind, exc_text="was killed", stopped_callback_name=f"{JOBS}.on_stopped", **BOTH
    )
    assert notes(tmp_path, what) == [wanted]


def test_a_callback_only_order_tells_how_the_callback_ended() -> None:
    broken = run(order("add", 1, mode=Mode.STOPPED_CALLBACK, stopped_callback_name=f"{JOBS}.broken_callback"))
    assert (broken.kind, broken.exc_type) == ("failed", "builtins.LookupError")
    none = run(order("add", 1, mode=Mode.STOPPED_CALLBACK))
    assert (none.kind, none.func) == ("finished", "")
