"""The Redis servers that pools are on: one poll and one news connection for each, however many pools share it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from rqk.errors import StoreError, StoreRefused
from rqk.store.aio import Remote, remote
from rqk.store.connect import Client, connect
from rqk.store.observer import Observer
from rqk.store.snapshot import Snapshot
from rqk.store.watch import QueueWatch
from rqk_operator.pools import PoolState
from rqk_operator.sources import Access, with_query
from rqk_operator.status import Trouble

log = logging.getLogger("rqk.operator")

LOOK_S = 8.0  # a look that takes longer has failed
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 10.0
_THREADS = 2

T = TypeVar("T")


class Site:
    """One server, as reached with one login. ``news`` is called with the names of queues that changed."""

    def __init__(
        self, access: Access, clock: Callable[[], float], news: Callable[[Site, frozenset[str]], None]
    ) -> None:
        """Raises BadUrl."""
        self.key = access.key
        self._clock = clock
        self._files = tempfile.TemporaryDirectory(prefix="rqk-tls-")
        try:
            self._url = _with_files(access, Path(self._files.name))
            self._remote: Remote = remote(self._url)
        except Exception:
            self._files.cleanup()
            raise
        self.where = self._remote.where
        self.observer = Observer(self._remote)
        self.watch = QueueWatch(self._remote, lambda names: news(self, names))
        self._client: Client | None = None
        # Its own: one server that hangs must not use up the threads that others wait for.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="rqk-redis")
        self.asking = 0
        self.states: Sequence[PoolState] = ()  # the pools on it, as of the last round
        self._listening = asyncio.create_task(self.watch.run())
        self.task: asyncio.Task[None] | None = None  # the round that is under way
        self.woken: set[str] = set()  # queues with news
        self.trouble: Trouble | None = None
        self._told = True  # of pushes, as far as the pools' statuses know
        self.last_answer: float | None = None
        self.again_at = 0.0
        self._wait = _FIRST_WAIT_S
        self.looks = 0
        self.looked_at = 0.0  # when the last look began

    async def ask(self, work: Callable[[Client], T]) -> T:
        """What ``work`` answers: rare steps that block, in a thread."""
        if self._client is None:
            self._client = connect(self._url)
        self.asking += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, self._client)
        finally:
            self.asking -= 1

    def split(self, states: Iterable[PoolState], now: float) -> tuple[list[PoolState], list[PoolState]]:
        """Of these pools the ones to decide for, and those at rest whose queues have to be glanced at."""
        tells = self.watch.trouble is None
        if tells is not self._told:  # all their statuses say so
            self._told = tells
            for state in self.states:
                state.look_at = 0.0
        due: list[PoolState] = []
        resting: list[PoolState] = []
        for state in states:
            if state.gone or state.pool is None:
                continue
            if now >= state.look_at:
                due.append(state)
            elif now >= state.glance_at or not self.watch.hears(state.pool.spec.queues):
                resting.append(state)
        return due, resting

    def pools_of(self, names: set[str]) -> list[PoolState]:
        """The pools of queues with news; those at rest are glanced at next."""
        found = [it for it in self.states if it.pool is not None and not names.isdisjoint(it.pool.spec.queues)]
        for state in found:
            state.glance_at = 0.0
        return found

    def follow(self) -> None:
        """Ask for news of the queues whose pools are at zero."""
        names: set[str] = set()
        for state in self.states:
            live = state.own
            if state.pool is not None and live is not None and live.replicas == 0:
                names.update(state.pool.spec.queues)
        self.watch.follow(names)

    async def look(self, queues: Iterable[str], resting: Iterable[str] = ()) -> Snapshot | None:
        """A snapshot, or None with :attr:`trouble` set. After a failure the server is asked less and less often."""
        self.looks += 1
        self.looked_at = self._clock()
        try:
            async with asyncio.timeout(LOOK_S):
                snapshot = await self.observer.look(queues, resting)
        except Exception as error:  # noqa: BLE001 - redis-py may trip over a parameter of the URL with the first command only
            self._failed(error)
            return None
        if self.trouble is not None:
            log.info("%s answers again", self.where, extra={"action": "redis_back"})
        self.trouble, self._wait, self.last_answer = None, _FIRST_WAIT_S, self._clock()
        return snapshot

    def _failed(self, error: Exception) -> None:
        known = isinstance(error, (StoreError, TimeoutError))
        text = str(error) or f"{self.where} did not answer within {LOOK_S:.0f} s"
        if not known:
            text = f"{self.where} cannot be asked: {type(error).__name__}: {error}"
        reason = "LoginRefused" if isinstance(error, StoreRefused) else "Unreachable"
        if self.trouble is None:
            shown = None if known else error
            log.warning("%s; its pools keep their size", text, extra={"action": "redis_away"}, exc_info=shown)
        if self.trouble is None or self.trouble.reason != reason:
            self.trouble = Trouble(reason, text)
        self.again_at = self._clock() + self._wait
        self._wait = min(self._wait * 2, _LONGEST_WAIT_S)

    def is_overtaken(self, state: PoolState) -> bool:
        """Whether something was written for the pool after the look began: then the look may show its workers as they were
        before, a worker that was taken back as one that retires. Another look follows.
        """
        if state.pool is None or state.worked_at <= self.looked_at:
            return False
        self.woken.update(state.pool.spec.queues)
        return True

    async def close(self) -> None:
        """Nobody needs it any more."""
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        with contextlib.suppress(StoreError, OSError):
            await self._remote.close()
        if self._client is not None:
            await asyncio.to_thread(self._client.close)
        self._threads.shutdown(wait=False)
        self._files.cleanup()


class Sites:
    """All servers that some pool is on."""

    def __init__(self, clock: Callable[[], float], news: Callable[[Site, frozenset[str]], None]) -> None:
        self._clock, self._news = clock, news
        self._all: dict[str, Site] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Site]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def get(self, access: Access) -> Site:
        """The site for this access, opened if need be. Raises BadUrl."""
        site = self._all.get(access.key)
        if site is None:
            site = self._all[access.key] = Site(access, self._clock, self._news)
        return site

    def keep(self, wanted: set[str]) -> None:
        """Close those whose key is not wanted."""
        for key in [
            key for key, site in self._all.items() if key not in wanted and site.task is None and not site.asking
        ]:
            closing = asyncio.create_task(self._all.pop(key).close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close all."""
        sites, self._all = list(self._all.values()), {}
        for site in sites:
            if site.task is not None:
                site.task.cancel()
        await asyncio.gather(*(site.close() for site in sites), *self._closing, return_exceptions=True)


def queues_of(states: Iterable[PoolState]) -> list[str]:
    """The queues of these pools."""
    return [name for state in states if state.pool is not None for name in state.pool.spec.queues]


def _with_files(access: Access, folder: Path) -> str:
    """redis-py wants certificates as files."""
    paths: dict[str, str] = {}
    for name, content in access.files.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        paths[name] = str(path)
    return with_query(access.url, paths)
