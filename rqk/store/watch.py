"""Being told which queues change, whoever changes them: one connection, server-side key tracking in broadcast mode.

Any client's enqueue counts, since the server itself reports the writing of a key. Nothing is said about keys that are
not asked for, so the queues of busy pools cost nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Any

from rqk.core import keys
from rqk.errors import StoreError, StoreUnavailable
from rqk.store.aio import Remote
from rqk.store.connect import errors_of

log = logging.getLogger("rqk.store")

# For each write of any key the server walks through all prefixes: with more than this, one for all queues is cheaper.
MOST_PREFIXES = 128
_SETTLE_S = 0.05  # changes of what is followed are gathered for so long
_PING_S = 5.0
_SILENCE_S = 12.0  # a connection that says nothing for so long is dead: there is an answer to each ping
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0


def prefixes(queues: Iterable[str]) -> list[str]:
    """What to track for these queues: their lists and their scheduled jobs.

    The server refuses overlapping prefixes, so a key that begins with another one (``mails``, ``mail``) is left out.
    """
    names = sorted(set(queues))
    if 2 * len(names) > MOST_PREFIXES:
        return [keys.QUEUE, keys.SCHEDULED]
    found: list[str] = []
    for key in sorted(key for name in names for key in (keys.queue(name), keys.scheduled(name))):
        if not found or not key.startswith(found[-1]):
            found.append(key)
    return found


def changed_queue(key: str) -> str | None:
    """The queue that a written key belongs to; None for intermediate lists and whatever else shares a prefix."""
    if key.startswith(keys.SCHEDULED):
        return key[len(keys.SCHEDULED) :]
    if key.startswith(keys.QUEUE) and not key.endswith(keys.INTERMEDIATE_SUFFIX):
        return key[len(keys.QUEUE) :]
    return None


class QueueWatch:
    """Calls ``changed`` with the names of followed queues that were written to, and again for those newly followed.

    :attr:`live` is False while nothing can be heard: then somebody has to look by himself. Run :meth:`run` as a task.
    """

    def __init__(self, remote: Remote, changed: Callable[[frozenset[str]], None]) -> None:
        self._remote = remote
        self._changed = changed
        self._wanted: frozenset[str] = frozenset()
        self._followed: frozenset[str] = frozenset()
        self._asked: list[tuple[str, frozenset[str]]] = []  # commands whose answer is still to come
        self._news = asyncio.Event()
        self._heard_at = 0.0
        self.live = False
        self.trouble: str | None = None

    def follow(self, queues: Iterable[str]) -> None:
        """Which queues to hear of from now on, instead of those before."""
        wanted = frozenset(queues)
        if wanted != self._wanted:
            self._wanted = wanted
            self._news.set()

    def hears(self, queues: Iterable[str]) -> bool:
        """Whether a change of any of these queues would be told."""
        return self.live and self._followed.issuperset(queues)

    async def run(self) -> None:
        """Listen, and connect again when the connection breaks; ends only when cancelled."""
        wait = _FIRST_WAIT_S
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await self._listen()
            except StoreError as error:
                if self.trouble is None:
                    log.warning(
                        "no news of queues from %s, looking by the clock instead: %s", self._remote.where, error
                    )
                self.trouble = str(error)
            finally:
                self.live = False
                self._followed = frozenset()
            if asyncio.get_running_loop().time() - started > _LONGEST_WAIT_S:
                wait = _FIRST_WAIT_S
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)

    async def _listen(self) -> None:
        with errors_of(self._remote.where):
            pool: Any = self._remote.client.connection_pool
            connection = pool.make_connection()
            await connection.connect()
        try:
            _heed_cancellation()
            # redis-py hands pushes to the parser's handler only; there is no public way to set it for one connection.
            connection._parser.set_invalidation_push_handler(self._told)
            await self._talk(connection)
        finally:
            with contextlib.suppress(Exception):  # a connection that cannot even be closed is gone already
                await connection.disconnect(nowait=True)

    async def _talk(self, connection: Any) -> None:
        self._asked.clear()
        self._news.set()  # whatever is wanted is news to a new connection
        self._heard_at = asyncio.get_running_loop().time()
        tasks = [asyncio.create_task(self._read(connection)), asyncio.create_task(self._ask(connection))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, connection: Any) -> None:
        while True:
            with errors_of(self._remote.where):
                reply = await connection.read_response(timeout=_PING_S, push_request=True)
            _heed_cancellation()
            now = asyncio.get_running_loop().time()
            if reply is None:
                if now - self._heard_at > _SILENCE_S:
                    raise StoreUnavailable(f"{self._remote.where} has been silent for {_SILENCE_S:.0f} s")
                continue
            self._heard_at = now
            if reply is not _PUSH:
                self._answered()

    def _answered(self) -> None:
        command, queues = self._asked.pop(0)
        if command == "follow":
            fresh = queues - self._followed
            self._followed = queues
            if not self.live and self.trouble is not None:
                log.info("hearing of queues from %s again", self._remote.where)
            self.live, self.trouble = True, None
            if fresh:  # what happened before the server listened for us was told to nobody
                self._changed(fresh)

    async def _ask(self, connection: Any) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _PING_S)
                await asyncio.sleep(_SETTLE_S)
            with errors_of(self._remote.where):
                if self._news.is_set():
                    self._news.clear()
                    await self._track(connection, self._wanted)
                else:
                    await self._send(connection, "ping", "PING")
            _heed_cancellation()

    async def _track(self, connection: Any, queues: frozenset[str]) -> None:
        # One packet: nothing else of this connection comes between.
        wanted = prefixes(queues)
        if not wanted:
            await self._send(connection, "follow", "CLIENT", "TRACKING", "OFF")
            return
        await self._send(connection, "off", "CLIENT", "TRACKING", "OFF")
        words = [word for prefix in wanted for word in ("PREFIX", prefix)]
        await self._send(connection, "follow", "CLIENT", "TRACKING", "ON", "BCAST", *words, queues=queues)

    async def _send(self, connection: Any, what: str, *words: str, queues: frozenset[str] = frozenset()) -> None:
        self._asked.append((what, queues))
        await connection.send_command(*words, check_health=False)

    async def _told(self, push: Any) -> object:
        """``[b"invalidate", [key, ...]]``; no list of keys after FLUSHALL, which empties queues and starts nothing."""
        names = {changed_queue(key.decode("utf-8", "replace")) for key in (push[1] or ())}
        found = frozenset(name for name in names if name is not None) & self._followed
        if found:
            self._changed(found)
        return _PUSH


_PUSH = object()


def _heed_cancellation() -> None:
    """A task that is cancelled in the midst of redis-py's connecting is sometimes not told."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
