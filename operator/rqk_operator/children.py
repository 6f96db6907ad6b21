"""What a pool may have beside its Deployment: PodDisruptionBudget, PodMonitor, NetworkPolicy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from rqk.autoscale.model import KIND
from rqk_operator.conflicts import declared, listed
from rqk_operator.errors import Conflict, KubeError
from rqk_operator.events import Events
from rqk_operator.kube import Kube, path_of
from rqk_operator.manifests import digest, optional_children
from rqk_operator.names import MANIFEST_NOTE, OPERATOR, POOL_LABEL
from rqk_operator.pools import Pools, PoolState
from rqk_operator.status import Trouble
from rqk_operator.views import foreign_writers

log = logging.getLogger("rqk.operator")

AUDIT_S = 300.0  # between two looks at all of them: nobody watches these
AGAIN_S = 60.0
GOING_AGAIN_S = 2.0  # what is about to go is gone within seconds
KINDS: Mapping[str, tuple[str, str]] = {
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "PodMonitor": ("monitoring.coreos.com/v1", "podmonitors"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
}
Known = Mapping[str, str]  # kind -> digest of the manifest that is applied


class Children:
    """Keeps them as their pools want them. ``namespaces``: those that are served; empty for all."""

    def __init__(
        self, kube: Kube, pools: Pools, events: Events, namespaces: tuple[str, ...], clock: Callable[[], float]
    ) -> None:
        self._kube, self._pools, self._events, self._namespaces, self._clock = kube, pools, events, namespaces, clock
        self._known: dict[str, dict[str, str]] = {}  # by the pool's uid
        self._wanted: dict[str, tuple[int | None, dict[str, str]]] = {}  # by uid: generation, kind -> digest
        self._refused: dict[str, tuple[int | None, float]] = {}  # by uid: of which generation, when to try that again
        self._audit_at = float("-inf")
        self._auditing: asyncio.Task[None] | None = None
        self._audited = False

    def audit_if_due(self) -> bool:
        """Now and then, and at the start, see what is really there."""
        due = self._auditing is None and self._clock() >= self._audit_at
        if due:
            self._auditing = asyncio.create_task(self._audit())
        return due

    def differ(self, state: PoolState) -> bool:
        """Whether there is something to make, change or remove for this pool."""
        if not self._audited or state.gone or state.pool is None:
            return False
        generation, again_at = self._refused.get(state.about.uid, (None, 0.0))
        if generation == state.generation and self._clock() < again_at:
            return False
        return self._known.get(state.about.uid, {}) != self._digests(state)

    async def settle(self, state: PoolState) -> None:
        """Make it so. Raises KubeError for what may pass; a refusal is told in the pool's status."""
        uid = state.about.uid
        wanted = {it["kind"]: it for it in optional_children(state.pool)} if state.pool is not None else {}
        known = self._known.setdefault(uid, {})
        state.children_trouble = None
        self._refused.pop(uid, None)
        for kind, manifest in wanted.items():
            mark = digest(manifest)
            if known.get(kind) != mark:
                manifest["metadata"]["annotations"] = {MANIFEST_NOTE: mark}
                await self._apply(state, kind, manifest, known, mark)
        for kind in [kind for kind in known if kind not in wanted]:
            await self._remove(state, kind)
            del known[kind]

    def forget(self, uid: str) -> None:
        """The pool is gone, and they go with it."""
        for table in (self._known, self._wanted, self._refused):
            table.pop(uid, None)

    async def _apply(
        self, state: PoolState, kind: str, manifest: dict[str, Any], known: dict[str, str], mark: str
    ) -> None:
        api, plural = KINDS[kind]
        path = path_of(api, plural, state.about.namespace, state.about.name)
        try:
            live = await self._kube.find(path)
            if live is not None and _is_going(live, state):
                self._later(state, GOING_AGAIN_S)
                asyncio.get_running_loop().call_later(GOING_AGAIN_S, self._wake, state)
            elif live is None or _is_of(live, state):
                if others := await self._write(state, path, manifest):
                    self._refuse(state, "FieldConflict", f"{kind}: {listed(others)}; remove it there, or from the pool")
                else:
                    known[kind] = mark
            else:
                self._refuse(state, "NameTaken", f"a {kind} named {state.about.name} exists and is not this pool's")
        except KubeError as error:
            if not (error.is_rejection or error.is_missing):
                raise
            text = f"the {kind} cannot be made: {error}"
            if error.is_missing and kind == "PodMonitor":
                text = "the PodMonitor cannot be made: the Prometheus operator's CRDs are not installed"
            self._refuse(state, f"{kind}Rejected", text)

    async def _remove(self, state: PoolState, kind: str) -> None:
        """Delete it, unless it was replaced by somebody's own since it was seen."""
        api, plural = KINDS[kind]
        path = path_of(api, plural, state.about.namespace, state.about.name)
        live = await self._kube.find(path)
        if live is not None and _owner(live["metadata"]) == state.about.uid:
            await self._kube.delete(path, uid=live["metadata"]["uid"])

    async def _write(self, state: PoolState, path: str, manifest: dict[str, Any]) -> list[Conflict]:
        """Apply it; returns the fields that another tool declares as its own, which it then keeps."""
        try:
            await self._kube.apply(path, manifest, OPERATOR)
        except KubeError as error:
            if not error.conflicts:
                raise
            if others := declared(await self._kube.get(path), error.conflicts):
                return others
            text = f"changed back what was edited by hand: {listed(error.conflicts)}"
            self._events.note(state.about, "Normal", "EditReverted", f"{manifest['kind']}: {text}")
            await self._kube.apply(path, manifest, OPERATOR, force=True)
        return []

    def _refuse(self, state: PoolState, reason: str, text: str) -> None:
        state.children_trouble = Trouble(reason, text)
        self._later(state, AGAIN_S)

    def _later(self, state: PoolState, wait_s: float) -> None:
        """What is left is tried again then; the soonest of several."""
        _, other = self._refused.get(state.about.uid, (None, float("inf")))
        self._refused[state.about.uid] = state.generation, min(other, self._clock() + wait_s)

    def _wake(self, state: PoolState) -> None:
        """A pool at rest would come back to it much later."""
        self._refused.pop(state.about.uid, None)
        state.look_at = 0.0

    def _digests(self, state: PoolState) -> dict[str, str]:
        generation, digests = self._wanted.get(state.about.uid, (None, {}))
        if generation is None or generation != state.generation:
            digests = {it["kind"]: digest(it) for it in optional_children(state.pool)} if state.pool is not None else {}
            self._wanted[state.about.uid] = (state.generation, digests)
        return digests

    async def _audit(self) -> None:
        try:
            found: dict[str, dict[str, str]] = {}
            for kind in KINDS:
                await self._list(kind, found)
            for state in self._pools:
                if state.task is None:  # at work on it: the next audit sees what came of it
                    self._known[state.about.uid] = found.get(state.about.uid, {})
            self._audited, self._audit_at = True, self._clock() + AUDIT_S
            for state in self._pools:
                if self.differ(state):
                    state.look_at = 0.0
        except KubeError as error:
            log.warning("the pools' other objects could not be listed: %s", error)
            self._audit_at = self._clock() + AGAIN_S
        finally:
            self._auditing = None

    async def _list(self, kind: str, found: dict[str, dict[str, str]]) -> None:
        api, plural = KINDS[kind]
        for namespace in self._namespaces or (None,):
            try:
                async for page in self._kube.pages(path_of(api, plural, namespace), labelSelector=POOL_LABEL):
                    for item in page.get("items") or ():
                        _note(item, kind, found)
            except KubeError as error:
                # No such kind here, or no right to it: then there is none of it either.
                if not error.is_missing and error.status != 403:
                    raise


def _controller(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((it for it in meta.get("ownerReferences") or () if it.get("controller")), {})


def _owner(meta: Mapping[str, Any]) -> str | None:
    return _controller(meta).get("uid")


def _is_of(live: Mapping[str, Any], state: PoolState) -> bool:
    """Whether it is this pool's: made for it, or left behind by one of its name (``kubectl delete --cascade=orphan``)."""
    meta = live["metadata"]
    owner, pool = _owner(meta), (meta.get("labels") or {}).get(POOL_LABEL)
    return owner == state.about.uid or (owner is None and pool == state.about.name)


def _is_going(live: Mapping[str, Any], state: PoolState) -> bool:
    """Whether it was of a pool of this name that was deleted, and goes after it; or is this pool's and being deleted."""
    meta, pool = live["metadata"], state.about
    owner = _controller(meta)
    if owner.get("kind") == KIND and owner.get("name") == pool.name and owner["uid"] != pool.uid:
        return True
    return "deletionTimestamp" in meta and _is_of(live, state)


def _note(item: Mapping[str, Any], kind: str, found: dict[str, dict[str, str]]) -> None:
    meta = item["metadata"]
    owner = _owner(meta)
    if owner is not None and "deletionTimestamp" not in meta:
        edited = foreign_writers(meta.get("managedFields") or ())
        mark = (meta.get("annotations") or {}).get(MANIFEST_NOTE, "")
        found.setdefault(owner, {})[kind] = "" if edited else mark
