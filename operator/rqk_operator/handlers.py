"""kopf's part: it watches the pools, we remember them. No finalizer, timer, daemon or index: each of those would write."""

from __future__ import annotations

import logging
from typing import Any

import kopf

from rqk_operator.names import POOLS, POOLS_API
from rqk_operator.pools import Pools

log = logging.getLogger("rqk.operator")


def register(pools: Pools) -> kopf.OperatorRegistry:
    """A registry with the one handler there is."""
    registry = kopf.OperatorRegistry()
    group, _, version = POOLS_API.partition("/")

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    # A coroutine: plain functions would run in threads.
    @kopf.on.event(group, version, POOLS, registry=registry)
    async def seen(event: kopf.RawEvent, **_: Any) -> None:
        if event["type"] == "DELETED":
            pools.deleted(event["object"])
        else:
            pools.remember(event["object"])

    return registry


class _NoComparing(kopf.DiffBaseStorage):
    """kopf finds out what changed since it last wrote to an object, for handlers that we have none of; it takes half its time."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass


def configure(*, streaming: bool) -> kopf.OperatorSettings:
    """kopf as a watcher only; a quiet connection is given up before the events since are forgotten.

    ``streaming``: the server can stream what is there (Kube.present), which kopf does not find out itself.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.persistence.diffbase_storage = _NoComparing()
    settings.queueing.idle_timeout = 0.5  # a task for each pool is kept for so long, with the pool's last state
    settings.scanning.disabled = True  # the kinds do not change, and listing CRDs would be one more permission
    settings.watching.server_timeout = 280
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 5
    settings.watching.initial_streaming = streaming
    settings.watching.chunk_size = 200  # what is read at once is the most memory that a start needs
    settings.networking.request_timeout = 15
    settings.process.ultimate_exiting_timeout = 30
    return settings
