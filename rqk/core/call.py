"""A call as bytes: the ``data`` field of a job. Source: docs/protocol.md, section 2. Words about calls are in payload.py.

``data`` is the zlib-compressed serialized 4-tuple (function name, instance, positional arguments, keyword arguments).
Apart from payload.py, because every horse holds what is here in memory and nothing else of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from rqk.errors import DeserializationError


class Serializer(Protocol):
    """Anything with these two functions: a module such as ``json``-likes, a class or an instance."""

    def dumps(self, obj: Any, /) -> bytes:
        """Bytes of a value."""

    def loads(self, data: bytes, /) -> Any:
        """The value again."""


class Call(NamedTuple):
    """What a job runs."""

    func_name: str
    instance: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]


def decompress(data: bytes) -> bytes:
    """The serialized call; bytes that are not compressed are taken as they are, as RQ's readers do."""
    try:
        return zlib.decompress(data)
    except zlib.error:
        return data


def decode_call(data: bytes, serializer: Serializer) -> Call:
    """The call again. Raises DeserializationError when the bytes are not of this serializer."""
    try:
        func_name, instance, args, kwargs = serializer.loads(decompress(data))
    except Exception as error:  # noqa: BLE001 - unpickling runs user code
        name = getattr(serializer, "__name__", None) or type(serializer).__name__
        raise DeserializationError(
            f"the job's call could not be read with {name} ({type(error).__name__}: {error}); "
            "producer and worker must use the same serializer and have the same modules"
        ) from error
    return Call(func_name, instance, args, kwargs)
