"""kopf's part: it watches the pools, we remember them. No finalizer, timer, daemon or index: each of those would write."""

from __future__ import annotations

import logging
from collections.abc import Mapping
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
    async def seen(event: kopf.RawEvent, body: Mapping[str, Any], **_: Any) -> None:
        meta = body["metadata"]
        if event["type"] == "DELETED":
            known = pools.get((meta["namespace"], meta["name"]))
            if known is not None and known.about.uid == meta["uid"]:
                pools.forget(known.key)
        else:
            pools.remember(event["object"])

    return registry


def configure() -> kopf.OperatorSettings:
    """kopf as a watcher only; a quiet connection is given up before the events since are forgotten."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True  # the kinds do not change, and listing CRDs would be one more permission
    settings.watching.server_timeout = 280
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 5
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 15
    settings.process.ultimate_exiting_timeout = 30
    return settings
