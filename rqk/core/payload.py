"""Calls: from a callable to the ``data`` field of a job, and the words that logs and dashboards show. Reading is in call.py."""

from __future__ import annotations

import builtins
import inspect
import json
import pickletools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rqk.core.call import Call, Serializer, decompress
from rqk.errors import SerializationError

REPR_LIMIT = 75  # characters of one argument in a description, as RQ cuts them


def encode_call(call: Call, serializer: Serializer) -> bytes:
    """The ``data`` bytes of a call. Raises SerializationError, which names what the serializer refused."""
    try:
        plain = serializer.dumps((call.func_name, call.instance, call.args, call.kwargs))
    except Exception as error:  # noqa: BLE001 - serializers raise whatever user classes raise in __reduce__ and the like
        raise SerializationError(
            f"{call.func_name}: {_culprit(call, serializer)} cannot be serialized: {error}"
        ) from error
    return _compressed(plain)


def _compressed(plain: bytes) -> bytes:
    """As zlib.compress writes it, in a fraction of the time for what is small: with zlib's own window of 32 KiB, most of the
    time goes into getting memory for it. Whoever reads it needs to know nothing of this.
    """
    size = len(plain)
    return zlib.compress(plain, wbits=9 if size <= 512 else 12 if size <= 4096 else 15)


def _culprit(call: Call, serializer: Serializer) -> str:
    """Which part of the call the serializer refuses, in words."""
    parts: list[tuple[str, Any]] = [("the object the method is bound to", call.instance)]
    parts += [(f"argument {index + 1} ({_short(value)})", value) for index, value in enumerate(call.args)]
    parts += [(f"argument {name}= ({_short(value)})", value) for name, value in call.kwargs.items()]
    for words, value in parts:
        try:
            serializer.dumps(value)
        except Exception:  # noqa: BLE001 - same as above
            return words
    return "the call"


def peek_func_name(data: bytes) -> str | None:
    """The function's name without running anything of the payload: for naming a job whose process died. None if it cannot be told."""
    try:
        plain = decompress(data)
        if plain[:1] == b"[":
            first = json.loads(plain)[0]
            return first if isinstance(first, str) else None
        for opcode, argument, _ in pickletools.genops(plain):
            if isinstance(argument, str) and opcode.name in {
                "SHORT_BINUNICODE",
                "BINUNICODE",
                "UNICODE",
                "BINUNICODE8",
            }:
                return argument
    except Exception:  # noqa: BLE001 - bytes of any other serializer may raise anything
        return None
    return None


def describe_callable(func: Any) -> tuple[Any, str]:
    """Instance and function name of what a user hands to ``enqueue``. Raises TypeError or ValueError as RQ does."""
    if isinstance(func, str):
        if not all(func.split(".")) or func.split() != [func]:
            raise ValueError(f"{func!r} is not the dotted name of a function, such as package.module.function")
        if "." not in func and not hasattr(builtins, func):
            raise ValueError(
                f"{func!r} names no module; give the dotted name of a function, such as package.module.{func}"
            )
        return None, func
    if inspect.isclass(func):
        raise TypeError(f"a class cannot be enqueued: {func!r}; give a function, a method or a dotted name")
    if inspect.ismethod(func):
        return func.__self__, func.__name__
    if inspect.isfunction(func) or inspect.isbuiltin(func):
        return None, _function_name(func)
    if callable(func):
        return func, "__call__"
    raise TypeError(f"not a callable, nor the dotted name of one: {func!r}")


def _function_name(func: Any) -> str:
    """The dotted name of a function. Raises ValueError for one whose module workers cannot import."""
    if func.__module__ == "__main__":
        raise ValueError(
            f"{func.__qualname__} is defined in __main__, which workers cannot import; move it into a module of its own"
        )
    if func.__module__ is None:  # a method of a built-in type, such as [].append
        raise ValueError(
            f"{func.__qualname__} is a method of a built-in type, which workers cannot import; call it in a function of your own"
        )
    return f"{func.__module__}.{func.__qualname__}"


def _short(value: Any, limit: int | None = REPR_LIMIT) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user's __repr__ must not prevent an enqueue
        text = f"<{type(value).__name__}>"
    return text if limit is None or len(text) <= limit else text[:limit] + "..."


def call_string(func_name: str, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int | None = REPR_LIMIT) -> str:
    """``name(arg, …, key=value, …)``: positional first, keywords sorted, each value's repr cut. The default description."""
    parts = [_short(value, limit) for value in args]
    parts += sorted(f"{name}={_short(value, limit)}" for name, value in kwargs.items())
    return f"{func_name}({', '.join(parts)})"


def callback_name(func: Callable[..., Any] | str) -> str:
    """The dotted name a callback is stored under. Raises ValueError for what a worker could not import by name."""
    if isinstance(func, str):
        return func
    if not (inspect.isfunction(func) or inspect.isbuiltin(func)):
        raise ValueError(f"a callback must be a plain function or its dotted name, not {func!r}")
    if "<" in func.__qualname__:  # <lambda>, f.<locals>.g
        raise ValueError(
            f"a callback is stored by its name, and no name leads to {func.__qualname__}; give a function of a module"
        )
    return _function_name(func)
