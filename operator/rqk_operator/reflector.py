"""A local view of all objects of one kind: list, then watch, and list again whenever the watch is lost for good."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from rqk_operator.errors import KubeError
from rqk_operator.kube import Kube

log = logging.getLogger("rqk.operator")

Object = Mapping[str, Any]
_BREATH_S = 0.1
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0


class Reflector:
    """Calls ``seen(object)`` for each object that is there or changes, and ``gone(object)`` when one went.

    ``gone`` also gets those that vanished while nobody watched; of them only namespace, name and uid are known.
    ``path`` is a collection, ``selector`` a label selector. Run :meth:`run` as a task; :attr:`synced` is set after the
    first complete list.
    """

    def __init__(
        self,
        kube: Kube,
        path: str,
        selector: str,
        *,
        seen: Callable[[Object], None],
        gone: Callable[[Object], None],
    ) -> None:
        self._kube, self._path, self._selector = kube, path, selector
        self._seen, self._gone = seen, gone
        self._known: dict[str, tuple[str, str]] = {}  # uid -> namespace, name
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Keep the view; ends only when cancelled."""
        wait = _FIRST_WAIT_S
        version = ""
        expired = False  # the version was too old, and the watch has not worked since
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                if not version:
                    version = await self._list()
                    self.synced.set()
                    begun = asyncio.get_running_loop().time()
                async for event in self._kube.watch(self._path, version, labelSelector=self._selector):
                    version = self._take(event)
                    wait, expired = _FIRST_WAIT_S, False
                await asyncio.sleep(_BREATH_S)  # a server or proxy that ends each watch at once
            except KubeError as error:
                if asyncio.get_running_loop().time() - begun > _LONGEST_WAIT_S:
                    wait, expired = _FIRST_WAIT_S, False  # it did work: there was nothing to tell, say
                if error.status == 410 and not expired:
                    log.info("the watch of %s is too old, listing anew", self._path)
                    version, expired = "", True
                    continue
                level = logging.INFO if error.is_passing or error.status == 410 else logging.ERROR
                log.log(level, "watching %s: %s; again in %.1f s", self._path, error, wait)
                if not error.is_passing:
                    version = ""
                await asyncio.sleep(wait * random.uniform(0.8, 1.2))
                wait = min(wait * 2, _LONGEST_WAIT_S)

    async def _list(self) -> str:
        version = ""
        there: set[str] = set()
        async for event in self._kube.present(self._path, labelSelector=self._selector):
            version = self._take(event)
            if event["type"] == "RESTART":
                there.clear()
            elif event["type"] != "BOOKMARK":
                there.add(event["object"]["metadata"]["uid"])
        for uid in [uid for uid in self._known if uid not in there]:
            namespace, name = self._known.pop(uid)
            self._gone({"metadata": {"namespace": namespace, "name": name, "uid": uid}})
        return version

    def _take(self, event: Mapping[str, Any]) -> str:
        item = event["object"]
        if event["type"] in ("ADDED", "MODIFIED"):
            self._keep(item)
        elif event["type"] == "DELETED":
            self._known.pop(item["metadata"]["uid"], None)
            self._gone(item)
        version: str = item["metadata"]["resourceVersion"]
        return version

    def _keep(self, item: Object) -> None:
        meta = item["metadata"]
        self._known[meta["uid"]] = (meta["namespace"], meta["name"])
        self._seen(item)
