"""An asyncio client from a URL, for those that watch many servers at once; the same URLs and errors as connect.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis.asyncio as async_redis
from redis.asyncio.sentinel import Sentinel

from rqk.store.connect import connect, describe, url_errors

AsyncClient = async_redis.Redis

_CONNECT_TIMEOUT_S = 3.0
_ANSWER_TIMEOUT_S = 5.0  # an observer asks again anyway, so it need not be as patient as a worker

_sentinel: Any = Sentinel  # redis-py leaves it untyped


@dataclass(frozen=True, slots=True)
class Remote:
    """A server to talk to without waiting for others. ``where`` names it for people, without a password."""

    client: AsyncClient
    where: str

    async def close(self) -> None:
        """End its connections. A Sentinel's own connections go with it."""
        await self.client.aclose()


def remote(url: str) -> Remote:
    """A client for any URL that :func:`rqk.store.connect.connect` takes. Nothing is sent yet. Raises BadUrl."""
    twin = connect(url)  # understands and checks the URL; sends nothing either
    where = describe(twin)
    pool: Any = twin.connection_pool
    timeouts: dict[str, Any] = {"socket_connect_timeout": _CONNECT_TIMEOUT_S, "socket_timeout": _ANSWER_TIMEOUT_S}
    if hasattr(pool, "sentinel_manager"):
        with url_errors(url):
            return Remote(_by_sentinel(pool, timeouts), where)
    with url_errors(url):
        client: AsyncClient = async_redis.Redis.from_url(url, protocol=3, **timeouts)
        made: Any = client.connection_pool
        made.make_connection()  # raises what the first command would; connects to nothing
    return Remote(client, where)


def _by_sentinel(pool: Any, timeouts: dict[str, Any]) -> AsyncClient:
    """The same sentinels, service and logins as the pool of a blocking client."""
    manager = pool.sentinel_manager
    sentinels = [
        (kwargs["host"], kwargs["port"])
        for kwargs in (it.connection_pool.connection_kwargs for it in manager.sentinels)
    ]
    secured = pool.connection_class.__name__.endswith("SSLConnection")
    kept = {
        name: value
        for name, value in manager.connection_kwargs.items()
        if name in ("username", "password", "db", "ssl") or name.startswith("ssl_")
    }
    asked = {
        name: value
        for name, value in manager.sentinel_kwargs.items()
        if name in ("username", "password", "ssl") or name.startswith("ssl_")
    }
    if secured:
        kept["ssl"] = True
    manager_twin = _sentinel(sentinels, sentinel_kwargs={**timeouts, **asked}, protocol=3, **timeouts, **kept)
    client: AsyncClient = manager_twin.master_for(pool.service_name)
    return client
