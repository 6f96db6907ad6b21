"""Serializers of calls, results and meta: pickle (RQ's default), JSON, or any object with ``dumps`` and ``loads``."""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import Any

from rqk.core.call import Serializer


class PickleSerializer:
    """Pickle at the highest protocol. Anyone who can write to the Redis can run code in workers that use it."""

    @staticmethod
    def dumps(obj: Any) -> bytes:
        """Bytes of a value."""
        return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)

    @staticmethod
    def loads(data: bytes) -> Any:
        """The value again."""
        return pickle.loads(data)  # noqa: S301 - the documented default of RQ's protocol


class JSONSerializer:
    """UTF-8 JSON; arguments, results and meta must be JSON-able, tuples come back as lists."""

    @staticmethod
    def dumps(obj: Any) -> bytes:
        """Bytes of a value."""
        import json  # here: a horse that needs none should not hold it

        return json.dumps(obj).encode()

    @staticmethod
    def loads(data: bytes) -> Any:
        """The value again."""
        import json

        return json.loads(data)


DefaultSerializer = PickleSerializer
ALIASES: dict[str, Serializer] = {"pickle": PickleSerializer, "json": JSONSerializer}


def resolve_serializer(serializer: Serializer | str | None = None) -> Serializer:
    """A serializer from an object, ``'pickle'``, ``'json'`` or a dotted path; None is pickle.

    Raises NotImplementedError when ``dumps`` or ``loads`` is missing (as RQ does), ImportError for a path that leads nowhere.
    """
    if serializer is None:
        return DefaultSerializer
    found: Any = serializer
    if isinstance(serializer, str):
        if serializer in ALIASES:
            return ALIASES[serializer]
        try:
            found = _at(serializer)
        except (ImportError, AttributeError) as error:
            raise ImportError(
                f"serializer {serializer!r} cannot be imported: {error}; "
                "give 'json', 'pickle' or a dotted path to something with dumps and loads"
            ) from error
    for method in ("dumps", "loads"):
        if not callable(getattr(found, method, None)):
            raise NotImplementedError(f"serializer {serializer!r} has no {method}()")
    return found  # type: ignore[no-any-return]


def _at(path: str) -> Any:
    """What a dotted path names: something in a module, or a module itself."""
    module, _, name = path.rpartition(".")
    if not module:
        return import_module(path)
    home = import_module(module)
    try:
        return getattr(home, name)
    except AttributeError:
        from importlib.util import find_spec  # here: a horse should not hold it

        # A package need not have imported all of its modules.
        if not hasattr(home, "__path__") or find_spec(path) is None:
            raise
    return import_module(path)
