"""Finds out where a pool's Redis is, and again when that may have changed."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rqk.autoscale.model import Pool
from rqk_operator.errors import KubeError
from rqk_operator.metrics import OperatorMetrics
from rqk_operator.pools import PoolState
from rqk_operator.sources import Access, SourceError, access, refs
from rqk_operator.status import Trouble
from rqk_operator.vault import Vault

log = logging.getLogger("rqk.operator")

SECRET_AGAIN_S = 2.0  # while something is wrong...
_SECRET_LONGEST_S = 60.0  # ...and less and less often


class Finder:
    """``soon`` is called when a pool has another Redis than before."""

    def __init__(
        self,
        vault: Vault,
        metrics: OperatorMetrics,
        clock: Callable[[], float],
        leads: Callable[[], bool],
        soon: Callable[[], None],
    ) -> None:
        self.vault = vault
        self._metrics, self._clock, self._leads, self._soon = metrics, clock, leads, soon

    def find_at_once(self, state: PoolState) -> bool:
        """Set the ``access`` of a pool that tells all of it itself; False if something has to be read."""
        if state.pool is None or state.pool.spec.redis is None or refs(state.pool.spec.redis):
            return False
        self._found(state, access(state.pool.spec.redis, {}), "")
        state.resolve_at = float("inf")
        return True

    async def find(self, state: PoolState) -> None:
        """Set the pool's ``access``, or its ``access_trouble``."""
        pool = state.pool
        try:
            if pool is None or pool.spec.redis is None or not self._leads():
                return
            needed = refs(pool.spec.redis)
            ails = state.redis_since is not None or state.access_trouble is not None
            newer = self._clock() - 1.0 if ails else state.changed_at
            values, salt = await self.vault.values(state.about.namespace, needed, newer_than=newer)
            found = access(pool.spec.redis, values)
            if state.pool is not pool:
                return  # changed meanwhile; resolve_at is due again
            if self._found(state, found, salt):
                self._soon()
            state.resolve_at = self.vault.due(state.about.namespace, needed)
        except SourceError as error:
            self._failed(state, pool, Trouble("SourceMissing", str(error)))
        except KubeError as error:
            self._metrics.failed("kubernetes")
            self._failed(state, pool, state.access_trouble if state.access is None else None)
            log.warning("%s/%s: %s", *state.key, error)
        finally:
            state.resolving = False

    @staticmethod
    def _found(state: PoolState, found: Access, salt: str) -> bool:
        """Returns whether it is another one than before."""
        state.access_trouble, state.resolve_wait = None, 0.0
        if state.access is not None and state.access.key == found.key and state.salt == salt:
            return False
        state.access, state.salt, state.wanted, state.look_at = found, salt, None, 0.0
        return True

    def _failed(self, state: PoolState, pool: Pool | None, trouble: Trouble | None) -> None:
        if state.pool is not pool:
            return  # what it names now is another question; resolve_at is due again
        if trouble is not None:
            if state.access_trouble is None:
                log.warning("%s/%s: %s", *state.key, trouble.message)
            state.access, state.access_trouble, state.look_at = None, trouble, 0.0
        state.resolve_wait = min(max(SECRET_AGAIN_S, 2 * state.resolve_wait), _SECRET_LONGEST_S)
        state.resolve_at = self._clock() + state.resolve_wait
