"""What the operator does to a pool: make its Deployment, set its size, ask workers to retire, settle jobs of dead ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rqk.autoscale.model import Abandoned, Pool
from rqk.core.moves import Policy
from rqk.errors import StoreError
from rqk.store import leases, workers
from rqk.store.connect import Client
from rqk_operator import manifests
from rqk_operator.conflicts import declared, listed
from rqk_operator.errors import KubeError
from rqk_operator.events import Events
from rqk_operator.kube import Kube, path_of
from rqk_operator.names import AUTOSCALER, COST_NOTE, MANIFEST_NOTE, OPERATOR, POOLS, POOLS_API
from rqk_operator.pools import Pools, PoolState
from rqk_operator.retire import LOWEST_COST, Mate, Plan
from rqk_operator.sites import Site
from rqk_operator.status import Trouble
from rqk_operator.views import DeploymentView, PodView, deployment_view

log = logging.getLogger("rqk.operator")

APPS = "apps/v1"
BELIEVED_S = 60.0  # that a pool exists of which its watch has just spoken
AHEAD_S = 86_400  # a worker that was asked to retire before it came is remembered for so long
TAKEN_AGAIN_S = 10.0  # nobody watches what is not a pool's
REFUSED_AGAIN_S = 60.0  # a refused manifest is tried again, since quotas and policies change


@dataclass(frozen=True, slots=True)
class Death:
    """A worker known to be dead, whose jobs are to be settled."""

    state: PoolState
    pod: PodView
    reason: str
    begun_before: float | None  # epoch seconds; attempts begun later are those of the process that came after it


class Hands:
    """Everything here writes. Errors of the API server and of Redis are the caller's."""

    def __init__(self, kube: Kube, pools: Pools, events: Events, clock: Callable[[], float]) -> None:
        self._kube, self._pools, self._events, self._clock = kube, pools, events, clock

    # The Deployment
    def needs_deployment(self, state: PoolState) -> bool:
        """Whether the Deployment is missing, is of an older spec, or was changed by somebody else."""
        if state.pool is None or state.access is None:
            return False
        if state.wanted is None:
            state.deploy_at = 0.0
            try:
                manifest = manifests.deployment(state.pool, state.access.fingerprint(state.salt))
            except ValueError as error:  # BadPool
                state.template, state.template_known = Trouble("Rejected", str(error)), True
                return False
            state.wanted = manifest["metadata"]["annotations"][MANIFEST_NOTE]
        if self._clock() < state.deploy_at or (state.refused == state.wanted and self._clock() < state.again_at):
            return False
        live = state.deployment
        if live is None:
            return True
        if live.deleting or live.owner not in ("", state.about.uid):
            return False
        if state.accepted_owners is None and not live.foreign:
            state.accepted_owners = live.owners
        if live.manifest == state.wanted and live.owners == state.accepted_owners and live.scaler_owns_replicas:
            if state.refused is None:
                # As it should be, so what was wrong before is over: the pool was changed back, say.
                state.template, state.template_known, state.conflict = None, True, None
            state.deploy_at = 0.0
            return False
        return True

    async def deploy(self, state: PoolState, replicas: int) -> None:
        """Make the Deployment, of ``replicas`` pods, or bring it up to date without touching its size."""
        pool = state.pool
        if pool is None or state.wanted is None:
            return
        if state.deployment is None and not await self._may_create(state):
            return
        if state.access is None:
            return  # it went meanwhile, with its Secret say; workers without a Redis are no good
        manifest = manifests.deployment(pool, state.access.fingerprint(state.salt))
        try:
            if state.deployment is None:
                await self._create(state, manifest, replicas)
            elif not await self._update(state, manifest, state.deployment):
                return
        except KubeError as error:
            if not error.is_rejection:
                raise
            state.refused, state.again_at = state.wanted, self._clock() + REFUSED_AGAIN_S
            state.template, state.template_known = Trouble("Rejected", str(error)), True
            return
        state.refused, state.template, state.template_known = None, None, True

    async def _may_create(self, state: PoolState) -> bool:
        """A Deployment of that name may be someone else's, and the pool may have gone without a word."""
        about = state.about
        if self._clock() - state.told_at > BELIEVED_S and not await self._is_there(state):
            self._pools.forget(state.key)
            return False
        live = await self._kube.find(path_of(APPS, "deployments", about.namespace, about.name))
        state.conflict = None
        if live is None:
            return True
        view = deployment_view(live)
        if view.owner == about.uid or (not view.owner and view.pool == about.name):
            state.deployment = view
        elif not view.owner or view.pool != about.name:
            state.conflict = Trouble("NameTaken", f"a Deployment named {about.name} exists and is not this pool's")
            state.refused, state.again_at = state.wanted, self._clock() + TAKEN_AGAIN_S
        # else: it belonged to a pool of this name that was deleted, and is about to go
        return state.deployment is not None and not view.deleting

    async def _is_there(self, state: PoolState) -> bool:
        """Whether the API server has this very pool, and is not about to lose it."""
        pool = await self._kube.find(path_of(POOLS_API, POOLS, state.about.namespace, state.about.name))
        meta = pool["metadata"] if pool is not None else {}
        return meta.get("uid") == state.about.uid and "deletionTimestamp" not in meta

    async def _create(self, state: PoolState, manifest: dict[str, Any], replicas: int) -> None:
        # Left out, the number would become 1. It is handed over to its own manager at once; if that fails, a little later.
        state.lost_size = replicas
        manifest["spec"]["replicas"] = 0
        path = path_of(APPS, "deployments", state.about.namespace, state.about.name)
        made, warnings = await self._kube.apply(path, manifest, OPERATOR, force=True)
        state.deployment, state.template_note = deployment_view(made), "; ".join(warnings)
        await self._hand_over(state, state.deployment, replicas)
        log.info("%s/%s: Deployment made", *state.key, extra={"action": "deployment_made"})

    async def _update(self, state: PoolState, manifest: dict[str, Any], live: DeploymentView) -> bool:
        """Bring it up to date; False if another tool holds fields of ours."""
        if not live.scaler_owns_replicas:
            # We were interrupted between making it and handing over; without an owner the number would become 1.
            await self._hand_over(state, live, live.replicas or state.lost_size)
        path = path_of(APPS, "deployments", live.namespace, live.name)
        state.conflict = None
        try:
            made, warnings = await self._kube.apply(path, manifest, OPERATOR)
        except KubeError as error:
            if not error.conflicts:
                raise
            others = declared(await self._kube.get(path), error.conflicts)
            if others:
                state.conflict = Trouble("FieldConflict", f"{listed(others)}; remove it there, or from the pool")
                state.accepted_owners, state.refused, state.again_at = (
                    live.owners,
                    state.wanted,
                    self._clock() + REFUSED_AGAIN_S,
                )
                return False
            self._events.note(
                state.about,
                "Normal",
                "EditReverted",
                f"changed back what was edited by hand: {listed(error.conflicts)}",
            )
            made, warnings = await self._kube.apply(path, manifest, OPERATOR, force=True)
        view = deployment_view(made)
        state.deployment, state.accepted_owners = view, view.owners
        state.template_note = "; ".join(warnings)
        return True

    async def _hand_over(self, state: PoolState, live: DeploymentView, replicas: int) -> None:
        """Let the autoscaler's field manager own the number."""
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": live.name, "namespace": live.namespace},
            "spec": {"replicas": replicas},
        }
        path = path_of(APPS, "deployments", live.namespace, live.name, "scale")
        scale, _ = await self._kube.apply(path, body, AUTOSCALER, force=True)
        state.deployment = _resized(live, scale)
        state.accepted_owners = state.accepted_owners or live.owners
        state.lost_size = 0

    # The size
    async def resize(self, state: PoolState, replicas: int) -> bool:
        """Write the number of replicas; False if it was changed by somebody else meanwhile."""
        live = state.deployment
        if live is None:
            return False
        path = path_of(APPS, "deployments", live.namespace, live.name, "scale")
        try:
            if live.replicas:
                # Only if it still is what was decided upon: else too many might go.
                steps = [
                    {"op": "test", "path": "/spec/replicas", "value": live.replicas},
                    {"op": "replace", "path": "/spec/replicas", "value": replicas},
                ]
                scale = await self._kube.patch(path, steps, AUTOSCALER)
            else:
                scale = await self._kube.merge(path, {"spec": {"replicas": replicas}}, AUTOSCALER)
        except KubeError as error:
            if error.status in (404, 409, 422):
                log.info("%s/%s: the Deployment has changed meanwhile, looking again", *state.key)
                return False
            raise
        state.deployment, state.last_scale = _resized(live, scale), datetime.now(UTC)
        return True

    async def retire(self, site: Site, plan: Plan) -> tuple[PodView, ...]:
        """Ask workers to take no more jobs, and take that back from others; returns the pods whose workers agreed,
        among them those whose workers have not come yet."""
        if not plan.retire and not plan.unretire:
            return ()
        return await site.ask(lambda client: _ask(client, plan.retire, plan.unretire))

    async def mark(self, pods: Iterable[PodView], *, leaving: bool) -> None:
        """Set the lowest deletion cost, or take it away again."""
        value = str(LOWEST_COST) if leaving else None
        body = {"metadata": {"annotations": {COST_NOTE: value}}}
        answers = await asyncio.gather(
            *(self._kube.merge(path_of("v1", "pods", pod.namespace, pod.name), body, AUTOSCALER) for pod in pods),
            return_exceptions=True,
        )
        for answer in answers:
            # A pod that went meanwhile needs no mark.
            if isinstance(answer, BaseException) and not (isinstance(answer, KubeError) and answer.is_missing):
                raise answer

    # The status
    async def report(self, state: PoolState, change: dict[str, Any]) -> None:
        """Write a merge patch of the status."""
        path = path_of(POOLS_API, POOLS, state.about.namespace, state.about.name, "status")
        body = {"metadata": {"uid": state.about.uid}, "status": change}
        try:
            written = await self._kube.merge(path, body, OPERATOR)
            state.status_version = max(state.status_version, int(written["metadata"]["resourceVersion"]))
        except KubeError as error:
            if not error.is_missing and error.status != 409:
                raise
            # A conflict means another pool of that name, or somebody else's writing at the same moment.
            if error.status == 409 and await self._is_there(state):
                raise
            self._pools.forget(state.key)

    # The dead
    async def bury(self, site: Site, death: Death) -> None:
        """Settle the jobs of a worker whose process is known to be dead, instead of waiting for its leases to end."""
        state = death.state
        pool = state.pool
        if pool is None:
            return
        policy = Policy("requeue" if pool.spec.worker.abandoned is Abandoned.REQUEUE else "fail")
        found = await site.ask(lambda client: _settle(client, pool, death, policy))
        for one in found:
            log.warning(
                "%s/%s: job %s of pod %s: %s (%s)", *state.key, one.job_id, death.pod.name, one.action, death.reason,
                extra={"action": "job_settled", "job_id": one.job_id},
            )  # fmt: skip
        if found:
            jobs = ", ".join(f"{one.job_id} {one.action}" for one in found)
            self._events.note(state.about, "Warning", "WorkerDied", f"{death.reason} Jobs: {jobs}")


def _ask(client: Client, leaving: Iterable[Mate], staying: Iterable[Mate]) -> tuple[PodView, ...]:
    for mate in staying:
        workers.unretire(client, mate.worker.name if mate.worker is not None else mate.pod.worker)
    agreed: list[PodView] = []
    for mate in leaving:
        name = mate.worker.name if mate.worker is not None else mate.pod.worker
        answer = workers.retire(client, name, ahead_s=AHEAD_S if mate.away else 0)
        if answer in ("retiring", "ahead"):
            agreed.append(mate.pod)
    return tuple(agreed)


def _settle(client: Client, pool: Pool, death: Death, policy: Policy) -> list[leases.Found]:
    now = datetime.now(UTC)
    found: list[leases.Found] = []
    names = [death.pod.worker]
    if pool.spec.worker.command is not None:
        names += [name for name in workers.names(client) if _lives_in(client, name, death.pod)]
    for name in names:
        found += leases.end_leases_of(client, name, policy, now, death.reason, begun_before=death.begun_before)
        if death.begun_before is None:  # the pod never comes back, and nor does the name
            workers.death(client, name, pool.spec.queues, now)
    return found


def _lives_in(client: Client, name: str, pod: PodView) -> bool:
    try:
        record = workers.fetch(client, name)
    except StoreError:
        return False
    return record is not None and record.hostname == pod.hostname


def _resized(live: DeploymentView, scale: dict[str, Any]) -> DeploymentView:
    """The Deployment as the answer to a write of its scale shows it."""
    return replace(
        live,
        replicas=int((scale.get("spec") or {}).get("replicas", 0)),
        version=int(scale["metadata"]["resourceVersion"]),
        scaler_owns_replicas=True,
    )
