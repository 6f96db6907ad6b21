"""The one loop that serves all pools: observe, decide, act, report.

Every round starts from what is there, so that a restart, a missed event or a helping hand changes nothing for longer
than a round. Each Redis is looked at on its own, and each pool is written for on its own: none waits for another.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rqk.autoscale.decide import Decision
from rqk.autoscale.model import Pool
from rqk.errors import BadUrl, StoreError
from rqk.store.snapshot import Snapshot
from rqk_operator.children import Children
from rqk_operator.errors import KubeError
from rqk_operator.events import Events
from rqk_operator.finder import SECRET_AGAIN_S, Finder
from rqk_operator.hands import Death, Hands
from rqk_operator.metrics import OperatorMetrics
from rqk_operator.pools import Pools, PoolState
from rqk_operator.retire import Directory, Mate, Plan, still_holds, still_to_mark
from rqk_operator.rules import consider, note_failing, note_redis, rest, status_of, still_rests
from rqk_operator.sites import Site, Sites, queues_of
from rqk_operator.status import Status, Trouble, merge_patch, news, worth_writing
from rqk_operator.vault import Vault

log = logging.getLogger("rqk.operator")

DEBOUNCE_S = 0.02  # after news of a queue: a producer that enqueues one by one gets its workers in one step
COUNTS_S = 5.0  # between two status writes of a pool in which only counts changed
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0  # after an error with one pool
_AT_ONCE = 50  # decisions in a row
MOST_REPORTS = 64  # statuses on their way
_STUMBLES = 3  # errors in a row, after which they are told
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
        self.events, self.metrics, self.leads, self.tick_s, self.clock = events, metrics, leads, tick_s, clock
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
            if state.pool is None:
                self._carry_out(state, None, [], None, None)
                continue
            if now >= state.resolve_at and not state.resolving and not self.finder.find_at_once(state):
                state.resolving = True
                self._start(self.finder.find(state))
            site = self._site(state)
            if site is not None:
                by_site.setdefault(site.key, []).append(state)
            elif state.access_trouble is not None:
                self._decide(state, state.pool, None, None, _EMPTY, now, epoch)
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
        if state.stumbling is not None and not acts:
            state.errors_in_a_row, state.stumbling = 0, None  # what failed is not wished for any more
        if reports and not acts and len(self._reports) >= MOST_REPORTS:
            # Something that all pools have to tell: what changes their sizes must not queue behind it.
            state.look_at = state.glance_at
            return None
        if not (acts or reports):
            if state.look_at:
                state.pack()
            return None
        task = state.task = self._start(self._write(state, site, steps, status if reports else None, deploys=deploys))
        if not acts:
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)
        return task

    # Act and report
    async def _write(
        self, state: PoolState, site: Site | None, steps: Plan | None, status: Status | None, *, deploys: bool
    ) -> None:
        """What cannot be done does not keep the rest from being done, nor from being told."""
        seen_at = time.time()
        errors: list[KubeError | StoreError] = []
        parts: list[Coroutine[Any, Any, None]] = []
        if deploys:
            parts.append(self._deploy(state, seen_at))
        elif steps is not None and site is not None:
            parts.append(self._act(state, site, steps, seen_at))
        parts += [self._tidy(state), self._report(state, status)]
        try:
            for part in parts:
                try:
                    await part
                except (KubeError, StoreError) as error:
                    errors.append(error)
                    if isinstance(error, KubeError) and error.status == 0:
                        break  # nobody there
            if errors:
                self._failed(state, errors[0])
            else:
                state.errors_in_a_row, state.stumbling = 0, None
        finally:
            for part in parts:
                part.close()
            state.task, state.worked_at = None, self.clock()

    async def _tidy(self, state: PoolState) -> None:
        if self.leads() and self.children.differ(state):
            await self.children.settle(state)
            state.look_at = 0.0  # what came of it is to be told

    async def _report(self, state: PoolState, status: Status | None) -> None:
        if status is None or state.gone or not self.leads():
            return
        before = state.status
        await self.hands.report(state, merge_patch(before, status))
        state.status, state.status_at = status, self.clock()
        if state.look_at:
            state.pack()
        for trouble in news(before, status):
            self.events.note(state.about, "Warning", trouble.reason, trouble.message)

    async def _deploy(self, state: PoolState, seen_at: float) -> None:
        if not self.leads():
            return
        decision, seen = state.decision, state.observed
        size = (
            decision.replicas
            if decision is not None and seen is not None and seen.workers is not None
            else state.lost_size
        )
        dry = state.pool is None or state.pool.spec.scaling.dry_run
        new = state.deployment is None
        await self.hands.deploy(state, state.lost_size if dry else size)
        state.look_at = 0.0
        if new and size and not dry and decision is not None and state.deployment is not None:
            self._tell(state, decision, 0, size, seen_at)

    async def _act(self, state: PoolState, site: Site, steps: Plan, seen_at: float) -> None:
        if not self.leads():
            return
        decision, before = state.decision, state.size_now
        if steps.replicas is not None and steps.replicas > before:
            # Growing comes first and needs nobody's consent.
            await self._resize(state, decision, steps.replicas, seen_at)
        agreed = await self.hands.retire(site, steps)
        state.memory = state.memory.asked_ahead(agreed)
        marked = still_to_mark(steps, state.pods)
        await self.hands.mark((*marked, *(pod for pod in agreed if pod not in marked)), leaving=True)
        await self.hands.mark(steps.unmark, leaving=False)
        if steps.replicas is not None and steps.replicas < before and still_holds(steps, state.pods):
            await self._resize(state, decision, steps.replicas, seen_at)

    async def _resize(self, state: PoolState, decision: Decision | None, number: int, seen_at: float) -> None:
        before = state.size_now
        if await self.hands.resize(state, number) and decision is not None:
            self._tell(state, (state.shrinking or decision) if number < before else decision, before, number, seen_at)

    def _tell(self, state: PoolState, decision: Decision, before: int, after: int, seen_at: float) -> None:
        grew = after > before
        if grew and state.observed is not None and state.observed.oldest_wait is not None:
            self.metrics.reacted(state.observed.oldest_wait + time.time() - seen_at)
        text = f"{before} to {after} workers: {decision.reason.value}, {decision.message}"
        log.info("%s/%s: %s", *state.key, text, extra={"action": "scaled_up" if grew else "scaled_down"})
        self.events.note(state.about, "Normal", "ScaledUp" if grew else "ScaledDown", text)

    def _failed(self, state: PoolState, error: KubeError | StoreError) -> None:
        kind = "kubernetes" if isinstance(error, KubeError) else "redis"
        self.metrics.failed(kind)
        state.errors_in_a_row += 1
        wait = min(_FIRST_WAIT_S * 2 ** (state.errors_in_a_row - 1), _LONGEST_WAIT_S)
        state.not_before, state.look_at = self.clock() + wait, 0.0
        log.warning("%s/%s: %s; again in %.0f s", *state.key, error, wait, extra={"action": f"{kind}_error"})
        if state.errors_in_a_row >= _STUMBLES and state.stumbling is None:
            state.stumbling = Trouble("Failing", str(error))

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
