"""From a name in a payload to the function it means. Rules: docs/protocol.md, section 2.2."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from rqk.errors import JobTimeoutException


def resolve(name: str, instance: object | None = None) -> Callable[..., Any]:
    """Return the function of a call: the instance's method, or what a dotted name leads to.

    Raises ValueError when there is no such thing, AttributeError for a missing method, TypeError for what cannot be
    called, and whatever the module raises while it is imported (an ImportError becomes the ValueError's cause).
    """
    found = getattr(instance, name) if instance is not None else import_name(name)
    if not callable(found):
        raise TypeError(f"{name} is a {type(found).__name__}, which cannot be called")
    return found  # type: ignore[no-any-return]


def resolve_callback(name: str, event: str) -> Callable[..., Any]:
    """Return a callback by its dotted name. Raises ValueError, which says for what ``event`` it was to be called."""
    import inspect  # here: most jobs have no callback, and it is large

    try:
        found = resolve(name)
        if inspect.iscoroutinefunction(found):
            raise TypeError(f"{name} is a coroutine function; a callback must be a plain function")
    except (JobTimeoutException, MemoryError):
        raise
    except Exception as error:  # a module raises whatever it likes while it is imported
        error.__suppress_context__ = False  # the job's own exception, which came before this one, is to be told, too
        raise ValueError(f"{event} callback {name}: {error}") from error
    return found


def import_name(name: str) -> Any:
    """Return what a dotted name means: the longest importable prefix is the module, the rest is looked up in it.

    A name without an importable prefix is looked up among the builtins. Raises ValueError when there is nothing.
    """
    parts = name.split(".") if isinstance(name, str) else []
    if not parts or not all(parts):
        raise ValueError(f"{name!r} is not the dotted name of a function")
    inner: ImportError | None = None
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        module = sys.modules.get(module_name)
        if module is None:
            try:
                module = import_module(module_name)
            except ImportError as error:
                # "No module named a.b.C" only says that C is a class; a module that fails inside says what is wrong.
                if inner is None or inner.name == ".".join(parts[: cut + 1]):
                    inner = error
                continue
        found: Any = module
        for part in parts[cut:]:
            try:
                found = getattr(found, part)
            except AttributeError:
                raise ValueError(f"cannot import {name}: {found!r} has no attribute {part!r}") from inner
        return found
    try:
        return getattr(builtins, name)
    except AttributeError:
        reason = f": {inner}" if inner else ""
        raise ValueError(
            f"cannot import {name}{reason}; is its module in this worker's image and on its path?"
        ) from inner
