"""Which Redis a bare ``Queue()`` means: the connection given, else the one set with use_connection, else the environment's."""

from __future__ import annotations

from rqk.settings import redis_settings
from rqk.store.connect import Client, bytes_client, connect


class _Current:
    """The process-wide default, set by use_connection; a holder, so that nothing needs ``global``."""

    connection: Client | None = None


_current = _Current()


def use_connection(redis: Client | str | None = None) -> Client:
    """Make a client (or a URL; None: the environment's) the default of every Queue and Job made without a connection."""
    if redis is None:
        redis = redis_settings().url
    if not isinstance(redis, (str, Client)):
        raise TypeError(f"use_connection takes a redis.Redis client or a URL, not {redis!r}")
    _current.connection = connect(redis) if isinstance(redis, str) else redis
    return _current.connection


def resolve_connection(connection: Client | None = None) -> Client:
    """The connection given, else the one set, else one made from the environment (and kept), else localhost:6379. Answers are bytes."""
    if connection is None:
        connection = _current.connection or use_connection()
    if not isinstance(connection, Client):
        raise TypeError(f"connection must be a redis.Redis client, not {connection!r}")
    return bytes_client(connection)
