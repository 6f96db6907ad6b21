"""Calls as bytes: what can be enqueued, what cannot and why, and names read without running anything."""

from __future__ import annotations

import functools
import marshal
import math
import operator
import pickle
import threading
import zlib
from pathlib import Path
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqk.core import payload
from rqk.core.call import Call, decode_call
from rqk.errors import DeserializationError, SerializationError
from rqk.making import new_id
from rqk.serializers import JSONSerializer, PickleSerializer, resolve_serializer
from tests.support.jobs import Counter, add, later

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
CALLS = st.builds(
    Call,
    st.text(min_size=1),
    st.none(),
    st.lists(PLAIN, max_size=3),
    st.dictionaries(st.text(), PLAIN, max_size=3),
)


class Touchy:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(self.path),))


class NoRepr:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize("serializer", [PickleSerializer, JSONSerializer])
@given(call=CALLS)
def test_a_call_survives_its_bytes(serializer: Any, call: Call) -> None:
    data = payload.encode_call(call, serializer)
    assert decode_call(data, serializer) == call
    assert decode_call(zlib.decompress(data), serializer) == call, "uncompressed bytes are read too"


@pytest.mark.parametrize("size", [1, 400, 600, 4000, 5000, 100_000])
def test_what_is_repeated_is_stored_once_whatever_the_size(size: int) -> None:
    call = Call("m.f", None, ("x" * size,), {})
    data = payload.encode_call(call, PickleSerializer)
    assert decode_call(data, PickleSerializer) == call
    assert len(data) < 100 + size // 100


@given(CALLS, st.sampled_from([PickleSerializer, JSONSerializer]), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_the_name_can_be_seen_without_reading_the_call(call: Call, serializer: Any, protocol: int) -> None:
    assert payload.peek_func_name(payload.encode_call(call, serializer)) == call.func_name
    old = pickle.dumps((call.func_name, call.instance, call.args, call.kwargs), protocol)
    assert payload.peek_func_name(zlib.compress(old)) == call.func_name


def test_looking_at_the_name_runs_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    data = payload.encode_call(Call("module.func", None, (Touchy(str(trace)),), {}), PickleSerializer)
    assert payload.peek_func_name(data) == "module.func"
    assert not trace.exists()
    decode_call(data, PickleSerializer)
    assert trace.exists(), "the payload was harmless; the test proves nothing"


@given(st.binary())
def test_looking_at_any_bytes_raises_nothing(data: bytes) -> None:
    assert payload.peek_func_name(data) is None or isinstance(payload.peek_func_name(data), str)
    payload.peek_func_name(zlib.compress(data))


@pytest.mark.parametrize("plain", [b"[", b"[]", b"[1]", b"{}", b"[[[[[[", b"\x80\x05."])
def test_no_name_is_none(plain: bytes) -> None:
    assert payload.peek_func_name(zlib.compress(plain)) is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        pytest.param(Call("m.f", None, (1, threading.Lock()), {}), "argument 2 (<unlocked _thread.lock", id="position"),
        pytest.param(Call("m.f", None, (1,), {"how": lambda: 1}), "argument how= (<function", id="keyword"),
        pytest.param(Call("up", threading.Lock(), (), {}), "the object the method is bound to", id="instance"),
        pytest.param(Call("m.f", None, [NoRepr(), {1: threading.Lock()}], {}), "argument 2 (", id="inside a dict"),
    ],
)
def test_what_cannot_be_pickled_is_named(call: Call, words: str) -> None:
    with pytest.raises(SerializationError) as caught:
        payload.encode_call(call, PickleSerializer)
    assert str(caught.value).startswith(call.func_name + ": ")
    assert words in str(caught.value)
    assert caught.value.__cause__ is not None


def test_json_refuses_what_only_pickle_can_carry() -> None:
    with pytest.raises(SerializationError, match=r"argument when= \(\{1, 2\}\) cannot be serialized"):
        payload.encode_call(Call("m.f", None, (1,), {"when": {1, 2}}), JSONSerializer)


@pytest.mark.parametrize(
    ("data", "serializer"),
    [
        pytest.param(payload.encode_call(Call("m.f", None, (), {}), PickleSerializer), JSONSerializer, id="pickle"),
        pytest.param(payload.encode_call(Call("m.f", None, (), {}), JSONSerializer), PickleSerializer, id="json"),
        pytest.param(zlib.compress(pickle.dumps((1, 2))), PickleSerializer, id="two parts only"),
        pytest.param(b"\x00garbage", PickleSerializer, id="garbage"),
        pytest.param(b"", JSONSerializer, id="nothing"),
    ],
)
def test_bytes_of_another_serializer_say_what_to_do(data: bytes, serializer: Any) -> None:
    with pytest.raises(DeserializationError, match="producer and worker must use the same serializer") as caught:
        decode_call(data, serializer)
    assert serializer.__name__ in str(caught.value)


@pytest.mark.parametrize(
    ("func", "instance", "name"),
    [
        (add, None, "tests.support.jobs.add"),
        (later, None, "tests.support.jobs.later"),
        (Counter.of_nobody, None, "tests.support.jobs.Counter.of_nobody"),
        (math.sqrt, None, "math.sqrt"),
        (len, None, "builtins.len"),
        (operator.add, None, "_operator.add"),
        ("any.text.at.all", None, "any.text.at.all"),
        (Counter.of_class, Counter, "of_class"),
    ],
)
def test_callables_and_their_names(func: Any, instance: Any, name: str) -> None:
    assert payload.describe_callable(func) == (instance, name)


def test_bound_callables() -> None:
    counter, partial = Counter(5), functools.partial(add, 1)
    assert payload.describe_callable(counter.up) == (counter, "up")
    assert payload.describe_callable(counter) == (counter, "__call__")
    assert payload.describe_callable(partial) == (partial, "__call__")


@pytest.mark.parametrize("func", [Counter, 1, None, [add]])
def test_what_is_no_callable_is_a_type_error(func: Any) -> None:
    with pytest.raises(TypeError, match=r"class cannot be enqueued|not a callable"):
        payload.describe_callable(func)


def test_a_function_of_main_is_refused_with_the_way_out() -> None:
    def task() -> None: ...

    task.__module__ = "__main__"
    with pytest.raises(ValueError, match="move it into a module of its own"):
        payload.describe_callable(task)


def test_a_method_of_a_built_in_type_is_refused() -> None:
    with pytest.raises(ValueError, match=r"list\.append is a method of a built-in type"):
        payload.describe_callable([].append)


def test_the_call_as_text() -> None:
    text = payload.call_string("m.f", [1, "two", "x" * 100, NoRepr()], {"b": 2, "a": None})
    assert text == f"m.f(1, 'two', 'x{'x' * 73}..., <NoRepr>, a=None, b=2)"
    assert len(payload.call_string("m.f", ["x" * 100], {}, limit=None)) > 100


@pytest.mark.parametrize(("func", "name"), [("a.b", "a.b"), (add, "tests.support.jobs.add"), (math.sqrt, "math.sqrt")])
def test_callbacks_have_names(func: Any, name: str) -> None:
    assert payload.callback_name(func) == name


@pytest.mark.parametrize("func", [Counter(1).up, functools.partial(add, 1), 5, Counter])
def test_a_callback_that_no_name_leads_to_is_refused(func: Any) -> None:
    with pytest.raises(ValueError, match="plain function or its dotted name"):
        payload.callback_name(func)


def test_a_callback_that_workers_cannot_import_is_refused() -> None:
    def nested() -> None: ...

    def task() -> None: ...

    task.__module__, task.__qualname__ = "__main__", "task"
    for func, words in (
        (nested, r"no name leads to test_a_callback.*<locals>\.nested"),
        (lambda: 1, "no name leads to .*<lambda>"),
        (task, "task is defined in __main__, which workers cannot import"),
        ([].append, r"list\.append is a method of a built-in type"),
    ):
        with pytest.raises(ValueError, match=words):
            payload.callback_name(func)


def test_serializers_by_name_and_by_object() -> None:
    assert resolve_serializer(None) is resolve_serializer("pickle") is PickleSerializer
    assert resolve_serializer("json") is resolve_serializer("rqk.serializers.JSONSerializer") is JSONSerializer
    assert resolve_serializer("marshal") is marshal, "a module will do"
    inside = resolve_serializer("tests.support.module_serializer")
    assert inside.loads(inside.dumps(["x"])) == ["x"], "one inside a package that nobody has imported, too"
    assert resolve_serializer(pickle) is pickle


@pytest.mark.parametrize("path", ["nowhere", "no.such.module", "rqk.serializers.Missing"])
def test_a_serializer_that_is_not_there(path: str) -> None:
    with pytest.raises(ImportError, match="give 'json', 'pickle' or a dotted path"):
        resolve_serializer(path)


@pytest.mark.parametrize("thing", [object(), "math"])
def test_a_serializer_that_is_none(thing: Any) -> None:
    with pytest.raises(NotImplementedError, match=r"has no dumps\(\)"):
        resolve_serializer(thing)


def test_new_ids_are_random_uuids_of_version_4() -> None:
    ids = {new_id() for _ in range(200)}
    assert len(ids) == 200
    assert {str(UUID(text)) for text in ids} == ids
    assert {(UUID(text).version, UUID(text).variant) for text in ids} == {(4, RFC_4122)}
    assert {text[19] for text in ids} == set("89ab")
