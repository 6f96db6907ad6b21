"""What a round writes for one pool: its Deployment, its size, what else belongs to it, its status."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from rqk.autoscale.decide import Decision
from rqk.errors import StoreError
from rqk_operator.children import Children
from rqk_operator.errors import KubeError
from rqk_operator.events import Events
from rqk_operator.hands import Hands
from rqk_operator.metrics import OperatorMetrics
from rqk_operator.pools import PoolState
from rqk_operator.retire import Plan, still_holds, still_to_mark
from rqk_operator.sites import Site
from rqk_operator.status import Status, Trouble, merge_patch, news

log = logging.getLogger("rqk.operator")

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0  # after an error with one pool
_STUMBLES = 3  # errors in a row, after which they are told


class Writer:
    """Writes as long as :attr:`leads` says so."""

    def __init__(
        self,
        hands: Hands,
        children: Children,
        events: Events,
        metrics: OperatorMetrics,
        *,
        leads: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.hands, self.children, self.events, self.metrics = hands, children, events, metrics
        self.leads, self.clock = leads, clock

    async def write(
        self, state: PoolState, site: Site | None, steps: Plan | None, status: Status | None, *, deploys: bool
    ) -> None:
        """What cannot be done does not keep the rest from being done, nor from being told."""
        seen_at = time.time()
        errors: list[Exception] = []
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
                except Exception as error:  # noqa: BLE001 - a defect is told like any other error
                    errors.append(error)
                    if isinstance(error, KubeError) and error.status == 0:
                        break  # nobody there
            if errors:
                self.failed(state, errors[0])
            elif not state.deploy_at:
                state.errors_in_a_row, state.stumbling = 0, None
        finally:
            for part in parts:
                part.close()
            state.task, state.worked_at = None, self.clock()

    async def tell(self, state: PoolState, status: Status) -> None:
        """Write no more than this, for a pool for which nothing else can be done."""
        try:
            await self._report(state, status)
        except (KubeError, StoreError) as error:
            log.warning("%s/%s: %s", *state.key, error, extra={"action": "kubernetes_error"})
        finally:
            state.task, state.worked_at = None, self.clock()

    def failed(self, state: PoolState, error: Exception, *, deploying: bool = False) -> None:
        """Leave the pool alone for a while, or only its Deployment: the number of workers still follows the queues.

        An error that stays is told, and a defect at once: it does not pass.
        """
        kind = _kind(error)
        self.metrics.failed(kind)
        state.errors_in_a_row += 1
        wait = min(_FIRST_WAIT_S * 2 ** (state.errors_in_a_row - 1), _LONGEST_WAIT_S)
        if deploying:
            state.deploy_at = self.clock() + wait
        else:
            state.not_before = self.clock() + wait
        state.look_at = 0.0
        defect = kind == "internal"
        if defect:
            text = f"a defect in the operator, see its log: {type(error).__name__}: {error}"
            log.error("%s/%s: %s; again in %.0f s", *state.key, text, wait, exc_info=error, extra={"action": "defect"})
        else:
            text = str(error)
            log.warning("%s/%s: %s; again in %.0f s", *state.key, text, wait, extra={"action": f"{kind}_error"})
        if state.stumbling is None and (defect or state.errors_in_a_row >= _STUMBLES):
            state.stumbling = Trouble("Failing", text)

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
        state.look_at = 0.0
        try:
            await self.hands.deploy(state, state.lost_size if dry else size)
        except Exception as error:  # noqa: BLE001 - a defect is told like any other error
            if isinstance(error, KubeError) and error.status == 0:
                raise  # nobody there, for nothing else either
            self.failed(state, error, deploying=True)
            return
        state.deploy_at = 0.0
        if new and size and not dry and decision is not None and state.deployment is not None:
            self._tell(state, decision, 0, size, seen_at)

    async def _act(self, state: PoolState, site: Site, steps: Plan, seen_at: float) -> None:
        if not self.leads():
            return
        decision, before = state.decision, state.size_now
        if steps.replicas is not None and steps.replicas > before:
            # Growing comes first and needs nobody's consent.
            await self._resize(state, decision, steps.replicas, seen_at)
            if not self.leads():
                return
        agreed = await self.hands.retire(site, steps)
        state.memory = state.memory.asked_ahead(agreed)
        marked = still_to_mark(steps, state.pods)
        await self.hands.mark((*marked, *(pod for pod in agreed if pod not in marked)), leaving=True)
        await self.hands.mark(steps.unmark, leaving=False)
        if steps.replicas is None or steps.replicas >= before or not still_holds(steps, state.pods):
            return
        if self.leads():  # whoever else does by now may have taken back what this rests on
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


def _kind(error: Exception) -> str:
    """As the metrics count it."""
    if isinstance(error, KubeError):
        return "kubernetes"
    return "redis" if isinstance(error, StoreError) else "internal"
