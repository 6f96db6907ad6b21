"""Putting the operator together, and taking it apart in the right order."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar, cast

import kopf

from rqk.metrics.endpoint import Endpoint, Health
from rqk_operator import handlers
from rqk_operator.children import Children
from rqk_operator.errors import KubeError, OperatorError
from rqk_operator.events import Events
from rqk_operator.hands import APPS, Death, Hands
from rqk_operator.kube import Kube, path_of
from rqk_operator.lease import Leader
from rqk_operator.loop import Loop
from rqk_operator.metrics import OperatorMetrics
from rqk_operator.names import POOL_LABEL, POOLS, POOLS_API
from rqk_operator.pools import Key, Pools, PoolState, Version, missed, version_of
from rqk_operator.reflector import Object, Reflector
from rqk_operator.rules import cause_of_death
from rqk_operator.settings import Settings
from rqk_operator.vault import Vault
from rqk_operator.views import PodView, deployment_view, pod_view

log = logging.getLogger("rqk.operator")

T = TypeVar("T")

_STUCK_S = 30.0  # a loop that has not turned for so long is stuck
_AUDIT_S = 120.0  # between comparisons of the pools that we know with those that there are
_FIRST_AUDIT_S = 30.0  # a pool that was deleted before the watch began is not told of
_FIRST_ROUND_S = 20.0  # so long the watch waits for the first round
_CRD_S = 2.0
_AGAIN_S = 2.0
_EXPIRED = 410  # a list that took too long, page by page


class Operator:
    """One process of the operator."""

    def __init__(self, settings: Settings, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings, self.kube, self.clock = settings, kube, clock
        self.pools = Pools(self._pool_changed, self._pool_left, clock)
        self.metrics = OperatorMetrics(lambda: self.pools if self.leads() else ())
        self.events = Events(kube, clock, settings.identity)
        self.children = Children(kube, self.pools, self.events, settings.namespaces, clock)
        self.leader = Leader(
            kube.express(), settings.lease_namespace, settings.lease_name, settings.identity, clock, self.metrics.leads
        )
        self.loop = Loop(
            self.pools,
            Hands(kube, self.pools, self.events, clock),
            self.children,
            Vault(kube, clock),
            self.events,
            self.metrics,
            leads=self.leads,
            tick_s=settings.tick_s,
            clock=clock,
        )
        self.synced = False
        self._seen = asyncio.Event()  # the same, to be waited for
        self.stop = asyncio.Event()
        self._reflectors = [
            Reflector(kube, path_of(api, plural, namespace), POOL_LABEL, seen=seen, gone=gone)
            for namespace in settings.namespaces or (None,)
            for api, plural, seen, gone in (
                ("v1", "pods", self._pod, self._pod_gone),
                (APPS, "deployments", self._deployment, self._deployment_gone),
            )
        ]

    def leads(self) -> bool:
        """Whether this process may act: it holds the Lease and knows what there is."""
        return self.synced and (self.leader.leads or not self.settings.leader_election)

    def health(self) -> Health:
        """For the probes; asks nobody."""
        stale = self.clock() - self.loop.turned_at
        if stale > _STUCK_S:
            return Health(False, False, f"the loop has not turned for {stale:.0f} s")
        if not self.synced:
            return Health(True, False, "finding out what there is")
        return Health(True, True, "leads" if self.leads() else "stands by")

    async def run(self) -> None:
        """Work until :attr:`stop` is set. Raises OperatorError for what no waiting helps against."""
        endpoint = Endpoint(
            self.settings.metrics_host,
            self.settings.metrics_port,
            self.metrics.registry,
            self.health,
            title="rqk operator",
        )
        endpoint.start(any_port=False)
        self.metrics.leads(not self.settings.leader_election)
        acting = asyncio.create_task(self.loop.run())
        tasks = [acting, asyncio.create_task(self.stop.wait()), asyncio.create_task(self._work())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # In this order: nothing is written any more, another one may begin, and only then the rest.
            await _ended(acting)
            if self.settings.leader_election:
                self.leader.stop()
                await self.leader.release()
            await _ended(*tasks)
            endpoint.stop()

    async def _work(self) -> None:
        tasks: list[asyncio.Future[Any]] = []
        try:
            await self._wait_for_crd()
            begun: list[Coroutine[Any, Any, Any]] = [
                *(it.run() for it in self._reflectors),
                self.events.run(),
                self._watch_pools(),
                self._sync(),
            ]
            if self.settings.leader_election:
                begun.append(self.leader.run())
            tasks = [asyncio.create_task(it) for it in begun]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            await _ended(*tasks)

    async def _wait_for_crd(self) -> None:
        said = False
        while True:
            try:
                kinds = await self.kube.get(f"/apis/{POOLS_API}")
                if any(it["name"] == POOLS for it in kinds.get("resources", ())):
                    return
                text = f"the API server does not know {POOLS}.{POOLS_API}: is the CRD installed?"
            except KubeError as error:
                if error.status == 401:
                    raise OperatorError(f"the API server refuses our credentials: {error}") from error
                text = str(error) if not error.is_missing else "the RQWorkerPool CRD is not installed"
            if not said:
                log.warning("%s; waiting", text)
            said = True
            await asyncio.sleep(_CRD_S)

    async def _watch_pools(self) -> None:
        await self._after_the_first_round()
        namespaces = self.settings.namespaces
        ready = asyncio.Event()
        signals = asyncio.create_task(self._take_signals(ready))
        try:
            await kopf.operator(
                registry=handlers.register(self.pools),
                settings=handlers.configure(streaming=bool(self.kube.streams)),
                standalone=True,
                # Of no use without peering; kopf would look for the user's name, which a container need not have.
                identity=cast(Any, self.settings.identity),
                clusterwide=not namespaces,
                namespaces=namespaces,
                stop_flag=self.stop,
                ready_flag=ready,
            )
        finally:
            signals.cancel()
        if not self.stop.is_set():
            raise OperatorError("the watch of the pools ended")

    async def _after_the_first_round(self) -> None:
        """The watch tells of all pools once more, which takes time that they need first: for those who lead."""
        await self._seen.wait()
        if self.leads():
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_ROUND_S):
                    await self.loop.served.wait()

    async def _take_signals(self, ready: asyncio.Event) -> None:
        """kopf has signal handlers of its own, which end its watch first; ours end the acting first."""
        await ready.wait()
        take_signals(self.stop)

    async def _sync(self) -> None:
        """See all pools, pods and Deployments that there are; from then on, compare now and then.

        The pools too: kopf makes a task for each, so thousands of them would wait for their first round for long.
        """
        await self._patiently(self._take_up_pools)
        for reflector in self._reflectors:
            await reflector.synced.wait()
        self.synced = True
        self._seen.set()
        log.info("pools known: %d", len(self.pools), extra={"action": "synced"})
        self.loop.soon()
        wait = _FIRST_AUDIT_S
        while True:
            await asyncio.sleep(wait)
            await self._compare()
            wait = _AUDIT_S

    async def _take_up_pools(self) -> None:
        for namespace in self.settings.namespaces or (None,):
            async for event in self.kube.present(path_of(POOLS_API, POOLS, namespace)):
                if event["type"] in ("ADDED", "MODIFIED"):
                    self.pools.remember(event["object"], heard=False)
                elif event["type"] == "DELETED":
                    self.pools.deleted(event["object"])

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except KubeError as error:
                if not error.is_passing and error.status != _EXPIRED:
                    raise
                log.warning("the pools could not be listed: %s; again in %.0f s", error, _AGAIN_S)
                await asyncio.sleep(_AGAIN_S)

    async def _compare(self) -> None:
        """A watch may have missed something; kopf does not look back."""
        known = {state.key: state.version for state in self.pools}
        try:
            there = await self._pools_there()
            for key in missed(known, there):
                # One that is gone, is another one, has just changed, or was not seen: what it is now counts.
                body = await self.kube.find(path_of(POOLS_API, POOLS, *key))
                before = self.pools.version(key)
                if body is not None:
                    self.pools.remember(body)
                else:
                    self.pools.forget(key)
                if before != self.pools.version(key):
                    log.warning("%s/%s has changed, and the watch did not say so", *key)
        except KubeError as error:
            log.warning("the pools could not be compared: %s", error)

    async def _pools_there(self) -> dict[Key, Version]:
        found: dict[Key, Version] = {}
        for namespace in self.settings.namespaces or (None,):
            path = path_of(POOLS_API, POOLS, namespace)
            async for page in self.kube.pages(path, light=True):
                for it in page.get("items") or ():
                    meta = it["metadata"]
                    if "deletionTimestamp" not in meta:
                        found[meta["namespace"], meta["name"]] = version_of(meta)
        return found

    # What the watches say
    def _pool_changed(self, state: PoolState) -> None:
        state.wanted, state.look_at, state.resolve_at, state.resolve_wait = None, 0.0, 0.0, 0.0
        state.not_before, state.again_at, state.refused = 0.0, 0.0, None
        self.loop.soon()

    def _pool_left(self, state: PoolState) -> None:
        self.children.forget(state.about.uid)
        self.metrics.forget(*state.key)

    def _pod(self, item: Object) -> None:
        pod = pod_view(item)
        state, before = self.pools.pod(pod)
        if state is not None:
            self._mourn(state, before, pod, gone=False)

    def _pod_gone(self, item: Object) -> None:
        state, before = self.pools.pod_gone(item["metadata"]["uid"])
        if state is not None and before is not None:
            last = pod_view(item) if "status" in item else before
            self._mourn(state, before, last, gone=True)

    def _mourn(self, state: PoolState, before: PodView | None, pod: PodView, *, gone: bool) -> None:
        if not self.synced:
            return  # how it was before we came is not news
        cause = cause_of_death(before, pod, gone=gone)
        if cause is not None:
            self.loop.died(Death(state, pod, *cause))

    def _deployment(self, item: Object) -> None:
        state = self.pools.deployment(deployment_view(item))
        if state is not None:
            state.look_at = 0.0

    def _deployment_gone(self, item: Object) -> None:
        meta = item["metadata"]
        state = self.pools.deployment_gone(meta["namespace"], meta["name"], meta["uid"])
        if state is not None:
            state.look_at, state.accepted_owners = 0.0, None
            self.loop.soon()


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def operate(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises OperatorError, or EndpointError if the port is taken."""
    counted: list[Callable[[str, int], None]] = []
    kube = await Kube.connect(lambda verb, status: counted[0](verb, status) if counted else None)
    try:
        operator = Operator(settings, kube)
        counted.append(operator.metrics.requested)
        take_signals(operator.stop)
        await operator.run()
    finally:
        await kube.close()


def take_signals(stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT set ``stop``."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
