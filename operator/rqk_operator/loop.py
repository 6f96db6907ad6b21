"""The one loop that serves all pools: observe, decide, act, report.

Every round starts from what is there, so that a restart, a missed event or a helping hand changes nothing for longer
than a round. Each Redis is looked at on its own, and each pool is written for on its own: none waits for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rqk.autoscale.model import Pool
from rqk.errors import BadUrl, StoreError
from rqk.store.snapshot import Snapshot
from rqk_operator.children import Children
from rqk_operator.events import Events
from rqk_operator.finder import SECRET_AGAIN_S, Finder
from rqk_operator.hands import Death, Hands
from rqk_operator.metrics import OperatorMetrics
from rqk_operator.pools import Pools, PoolState
from rqk_operator.retire import Directory, Mate, Plan
from rqk_operator.rules import consider, note_failing, note_redis, rest, status_of, still_rests
from rqk_operator.sites import Site, Sites, queues_of
from rqk_operator.status import Trouble, invalid, worth_writing
from rqk_operator.vault import Vault
from rqk_operator.writer import Writer

log = logging.getLogger("rqk.operator")

DEBOUNCE_S = 0.02  # after news of a queue: a producer that enqueues one by one gets its workers in one step
COUNTS_S = 5.0  # between two status writes of a pool in which only counts changed
_AT_ONCE = 50  # decisions in a row
MOST_REPORTS = 64  # statuses on their way
_EMPTY = Directory(())


class Loop:
    """Turns while :attr:`leads` says so. ``clock`` is monotonic seconds."""

    def __init__(
        self,
        pools: Pools,
        hands: Hands,
        children: Children,
        vault: Vault,
        events: Events,
        metrics: OperatorMetrics,
        *,
        leads: Callable[[], bool],
        tick_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pools, self.hands, self.children = pools, hands, children
        self.metrics, self.leads, self.tick_s, self.clock = metrics, leads, tick_s, clock
        self._writer = Writer(hands, children, events, metrics, leads=leads, clock=clock)
        self.finder = Finder(vault, metrics, clock, leads, self.soon)
        self.sites = Sites(clock, self._news)
        self.turned_at = clock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reports: set[asyncio.Task[None]] = set()  # those that only write a status
        self._soon = asyncio.Event()
        self.served = asyncio.Event()  # there has been a round for all pools

    # The rounds
    async def run(self) -> None:
        """Turn until cancelled."""
        leading = False
        try:
            while True:
                started = self.clock()
                self.turned_at = started
                led, leading = leading, self.leads()
                if leading and not led:
                    for state in self.pools:
                        state.take_over(started)
                if leading:
                    self._round(started)
                self._soon.clear()
                try:
                    async with asyncio.timeout(max(0.0, started + self.tick_s - self.clock())):
                        await self._soon.wait()
                    await asyncio.sleep(DEBOUNCE_S)
                except TimeoutError:
                    continue
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.sites.close()

    def soon(self) -> None:
        """A pool is new or was changed: do not wait for the clock."""
        self._soon.set()

    def _round(self, now: float) -> None:
        """Begin a round: one look at each Redis whose last one is over."""
        by_site: dict[str, list[PoolState]] = {}
        epoch = time.time()
        for state in self.pools:
            with self._apart(state):
                site = self._begin(state, now, epoch)
                if site is not None:
                    by_site.setdefault(site.key, []).append(state)
        for site in self.sites:
            site.states = by_site.get(site.key, ())
        begun = [
            self._serve(site, site.states, now)
            for site in self.sites
            if site.states and site.task is None and now >= site.again_at
        ]
        self.sites.keep(set(by_site))
        if self.children.audit_if_due():
            self.finder.vault.prune()
        self._start(self._time(begun, now))

    def _begin(self, state: PoolState, now: float, epoch: float) -> Site | None:
        """The Redis to look at for this pool; None if it has none, and then what can be done without is begun."""
        if state.pool is None:
            self._carry_out(state, None, [], None, None)
            return None
        if now >= state.resolve_at and not state.resolving and not self.finder.find_at_once(state):
            state.resolving = True
            self._start(self.finder.find(state))
        site = self._site(state)
        if site is None and state.access_trouble is not None:
            self._decide(state, state.pool, None, None, _EMPTY, now, epoch)
        return site

    @contextlib.contextmanager
    def _apart(self, state: PoolState) -> Iterator[None]:
        """A defect in dealing with one pool must not stop the others. It is told in the pool's status."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the other pools have nothing to do with it
            if self.clock() < state.not_before:
                return  # told already
            self._writer.failed(state, error)
            if state.stumbling is not None and state.task is None:
                status = invalid(state.about.name, state.generation, state.stumbling, state.status, datetime.now(UTC))
                if worth_writing(state.status, status) != "no":
                    state.task = self._start(self._writer.tell(state, status))

    async def _time(self, begun: list[asyncio.Task[None]], now: float) -> None:
        if begun:
            await asyncio.wait(begun)
        self.metrics.ticked(self.clock() - now, time.time())
        if not self.served.is_set() and not any(state.resolving for state in self.pools):
            self.served.set()
            log.info("first round over: %d pools", len(self.pools), extra={"action": "first_round"})

    def _site(self, state: PoolState) -> Site | None:
        if state.access is None:
            return None
        try:
            return self.sites.get(state.access)
        except BadUrl as error:
            state.access_trouble = Trouble("BadUrl", str(error))
            state.access = None
            return None

    # Observe
    def _serve(self, site: Site, states: Sequence[PoolState], now: float) -> asyncio.Task[None]:
        task = site.task = self._start(self._look(site, states, now))
        return task

    async def _look(self, site: Site, states: Sequence[PoolState], now: float) -> None:
        """One look at a Redis, and what follows for the pools on it."""
        writes: list[asyncio.Task[None]] = []
        try:
            due, resting = site.split(states, now)
            if due or resting:
                writes = await self._look_for(site, due, resting, now)
            if due:
                site.follow()
        finally:
            site.task = None
        if site.woken:
            self._news(site, frozenset())
        if writes:
            # The round is over with them, but the next look does not wait: it skips the pools that are written for.
            await asyncio.wait(writes, timeout=self.tick_s)

    async def _look_for(
        self, site: Site, states: Sequence[PoolState], resting: Sequence[PoolState], now: float
    ) -> list[asyncio.Task[None]]:
        """Those at rest are only glanced at, and looked at if there is something to see. Returns the writes it has begun."""
        snapshot = await site.look(queues_of(states), queues_of(resting))
        self.metrics.polled(snapshot is not None)
        stirred = [state for state in resting if snapshot is None or not still_rests(state, snapshot, now)]
        for state in stirred:
            state.look_at = 0.0
        writes = await self._decide_all(site, states if snapshot is not None else (*states, *stirred), snapshot, now)
        if stirred and snapshot is not None:
            writes += await self._look_for(site, stirred, (), now)
        return writes

    # Decide
    async def _decide_all(
        self, site: Site, states: Iterable[PoolState], snapshot: Snapshot | None, now: float
    ) -> list[asyncio.Task[None]]:
        """Returns the writes that it has begun."""
        directory = Directory(snapshot.workers) if snapshot is not None else _EMPTY
        writes: list[asyncio.Task[None]] = []
        for number, state in enumerate(states, 1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # thousands of pools take a second, in which other things have to go on
            if state.gone or state.pool is None or site.is_overtaken(state):
                continue
            if site.trouble is not None:
                # A new password may be waiting in the Secret.
                state.resolve_at = min(state.resolve_at, now + SECRET_AGAIN_S)
            with self._apart(state):
                note_redis(state, site.trouble, now)
                task = self._decide(state, state.pool, site, snapshot, directory, now, time.time())
                if task is not None:
                    writes.append(task)
        return writes

    def _decide(
        self,
        state: PoolState,
        pool: Pool,
        site: Site | None,
        snapshot: Snapshot | None,
        directory: Directory,
        now: float,
        epoch: float,
    ) -> asyncio.Task[None] | None:
        """``site`` is None if nobody knows where the pool's Redis is."""
        if state.task is not None:
            return None
        decision, steps, mates = consider(state, pool, snapshot, directory, now, epoch)
        state.memory = steps.memory
        self.metrics.decided(*state.key, decision.reason.value)
        note_failing(state, mates, now)
        rest(state, snapshot, now)
        return self._carry_out(state, site, mates, snapshot, steps)

    def _carry_out(
        self, state: PoolState, site: Site | None, mates: list[Mate], snapshot: Snapshot | None, steps: Plan | None
    ) -> asyncio.Task[None] | None:
        """Begin to write whatever differs; nothing, mostly."""
        if state.task is not None or self.clock() < state.not_before:
            return None
        deploys = self.hands.needs_deployment(state)
        push = site is None or site.watch.trouble is None
        status = status_of(state, mates, snapshot, datetime.now(UTC), push=push)
        kind = worth_writing(state.status, status)
        reports = kind == "now" or (kind == "later" and self.clock() - state.status_at >= COUNTS_S)
        if kind == "later" and not reports:
            state.look_at = 0.0  # what is still to be told keeps a pool awake
        tidies = self.children.differ(state)
        acts = deploys or tidies or (steps is not None and not steps.empty)
        if not (acts or reports or state.deploy_at):
            state.errors_in_a_row, state.stumbling = 0, None  # what failed is not wished for any more
        if reports and not acts and len(self._reports) >= MOST_REPORTS:
            # Something that all pools have to tell: what changes their sizes must not queue behind it.
            state.look_at = state.glance_at
            return None
        if not (acts or reports):
            if state.look_at:
                state.pack()
            return None
        task = state.task = self._start(
            self._writer.write(state, site, steps, status if reports else None, deploys=deploys)
        )
        if not acts:
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)
        return task

    # News
    def _news(self, site: Site, names: frozenset[str]) -> None:
        """Queues changed: look at their pools after a moment, in which more of the same may come."""
        asleep = not site.woken or not names
        site.woken |= names
        if asleep and site.task is None and site.woken:
            asyncio.get_running_loop().call_later(DEBOUNCE_S, self._wake, site)

    def _wake(self, site: Site) -> None:
        if site.task is not None or not site.woken:
            return  # when the look that is under way ends, it comes back to this
        names, site.woken = site.woken, set()
        if not self.leads():
            return
        states = site.pools_of(names)
        if states:
            self._serve(site, states, self.clock())

    # The dead
    def died(self, death: Death) -> None:
        """A worker died: its jobs are settled by the leader, at once."""
        if self.leads():
            self._start(self._settle(death))

    async def _settle(self, death: Death) -> None:
        access = death.state.access
        try:
            if access is not None:
                await self.hands.bury(self.sites.get(access), death)
        except StoreError as error:
            self.metrics.failed("redis")
            log.warning("jobs of pod %s are found when their leases end: %s", death.pod.name, error)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A defect in dealing with one pool must not stop the others.
            self.metrics.failed("internal")
            log.error("a defect in the operator; the next round goes on", exc_info=error, extra={"action": "defect"})
