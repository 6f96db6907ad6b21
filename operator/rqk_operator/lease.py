"""Which of several replicas acts: the one that holds a Lease. The rule is pure; :class:`Leader` asks and writes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from rqk_operator.errors import KubeError
from rqk_operator.kube import Kube, path_of
from rqk_operator.names import OPERATOR

log = logging.getLogger("rqk.operator")

API = "coordination.k8s.io/v1"
LEASE_S = 15  # a leader that is silent for so long is gone
GIVE_UP_S = 10.0  # a leader that could not renew for so long stops acting, well before another one may begin
RENEW_S = 3.0
RETRY_S = 2.0
_RELEASES = 3


@dataclass(frozen=True, slots=True)
class Sighting:
    """A Lease as it was first seen with this content, on our own clock: clocks of others are not compared with ours."""

    mark: str
    at: float


def verdict(
    lease: Mapping[str, Any] | None, identity: str, sighting: Sighting | None, now: float
) -> Literal["create", "renew", "take", "wait"]:
    """What to do about the Lease. ``sighting`` is when it last changed, ``now`` is on the same clock."""
    if lease is None:
        return "create"
    spec = lease.get("spec") or {}
    holder = spec.get("holderIdentity") or ""
    if holder == identity:
        return "renew"
    if not holder:
        return "take"
    patience = spec.get("leaseDurationSeconds") or LEASE_S
    if sighting is not None and sighting.mark == mark_of(lease) and now - sighting.at >= patience:
        return "take"
    return "wait"


def mark_of(lease: Mapping[str, Any]) -> str:
    """Changes whenever the holder says that it lives."""
    spec = lease.get("spec") or {}
    return f"{spec.get('holderIdentity')} {spec.get('renewTime')} {spec.get('leaseTransitions')}"


class Leader:
    """Holds the Lease, or waits for it. Run :meth:`run` as a task; ask :attr:`leads` before each act."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float],
        changed: Callable[[bool], None],
    ) -> None:
        self._kube, self._namespace, self._name, self._identity = kube, namespace, name, identity
        self._clock, self._changed = clock, changed
        self._renewed_at = float("-inf")
        self._sighting: Sighting | None = None
        self._told = False
        self._over = False

    @property
    def leads(self) -> bool:
        """Whether we may act now."""
        return self._clock() - self._renewed_at < GIVE_UP_S

    async def run(self) -> None:
        """Keep the Lease or try to get it; ends only when cancelled."""
        while not self._over:
            failed = False
            try:
                await self.step()
            except KubeError as error:
                # 409: somebody was quicker. Anything else: the next try may do, or the Lease runs out.
                failed = True
                level = logging.DEBUG if error.status == 409 else logging.WARNING
                log.log(level, "Lease %s/%s: %s", self._namespace, self._name, error)
            self._tell()
            await asyncio.sleep((RENEW_S if self.leads and not failed else RETRY_S) * random.uniform(0.9, 1.1))

    async def step(self) -> None:
        """Look once, and act on it. Raises KubeError."""
        lease = await self._kube.find(path_of(API, "leases", self._namespace, self._name))
        now = self._clock()
        if self._over:
            return  # given back meanwhile, it would seem to be free
        if lease is not None and (self._sighting is None or self._sighting.mark != mark_of(lease)):
            self._sighting = Sighting(mark_of(lease), now)
        what = verdict(lease, self._identity, self._sighting, now)
        if what != "renew":
            self._renewed_at = float("-inf")  # it is not ours (any more): deleted, or another one's
        if what == "create":
            body = {"metadata": {"name": self._name, "namespace": self._namespace}, "spec": self._spec({})}
            await self._kube.create(path_of(API, "leases", self._namespace), {**_HEAD, **body}, OPERATOR)
        elif what != "wait" and lease is not None:
            await self._put({**lease, "spec": self._spec(lease.get("spec") or {})})
        if what != "wait":
            self._renewed_at = now

    def stop(self) -> None:
        """Do not renew or take the Lease any more."""
        self._over = True

    async def release(self) -> None:
        """Say that we leave, so that another one need not wait."""
        if not self.leads:
            return
        self._renewed_at = float("-inf")
        for attempt in range(1, _RELEASES + 1):
            try:
                await self._give_back()
                break
            except KubeError as error:
                # 409: our own last renewal was still under way.
                if error.status != 409 or attempt == _RELEASES:
                    log.warning("the Lease could not be given back, it runs out in %d s: %s", LEASE_S, error)
                    break
        self._tell()

    async def _give_back(self) -> None:
        lease = await self._kube.find(path_of(API, "leases", self._namespace, self._name))
        if lease is not None and (lease.get("spec") or {}).get("holderIdentity") == self._identity:
            await self._put({**lease, "spec": {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}})

    async def _put(self, lease: Mapping[str, Any]) -> None:
        await self._kube.replace(path_of(API, "leases", self._namespace, self._name), lease, OPERATOR)

    def _spec(self, before: Mapping[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = before.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_S,
            "acquireTime": before.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": before.get("leaseTransitions", 0) + (0 if ours or not before else 1),
        }

    def _tell(self) -> None:
        if self.leads != self._told:
            self._told = self.leads
            log.info("%s %s", self._identity, "leads" if self._told else "does not lead any more")
            self._changed(self._told)


_HEAD = {"apiVersion": API, "kind": "Lease"}
