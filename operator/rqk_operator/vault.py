"""Secrets and ConfigMaps that pools name: read one at a time, since the operator may get them but not list or watch them."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rqk_operator.errors import KubeError
from rqk_operator.kube import Kube, path_of
from rqk_operator.sources import Ref, SourceError

log = logging.getLogger("rqk.operator")

FRESH_S = 60.0  # what was read is believed for so long...
_READS_PER_S = 10.0  # ...or longer, where there are so many that it would be more reads than this
_PLURALS = {"Secret": "secrets", "ConfigMap": "configmaps"}


@dataclass(slots=True)
class _Read:
    values: Mapping[str, bytes] | None  # None: it is not there, or may not be read
    uid: str
    complaint: str
    at: float


class Vault:
    """What pools refer to, read again when it is old."""

    def __init__(self, kube: Kube, clock: Callable[[], float]) -> None:
        self._kube, self._clock = kube, clock
        self._read: dict[tuple[str, str, str], _Read] = {}
        self._reading: dict[tuple[str, str, str], tuple[float, asyncio.Future[_Read]]] = {}  # since when

    @property
    def fresh_s(self) -> float:
        """How long a reading is believed."""
        return max(FRESH_S, len(self._read) / _READS_PER_S)

    async def values(
        self, namespace: str, refs: tuple[Ref, ...], *, newer_than: float = 0.0
    ) -> tuple[dict[Ref, bytes], str]:
        """The contents, and a text that only those can know who may read them (for fingerprints).

        ``newer_than`` asks for a reading after that moment of the clock. Raises SourceError for what is not there,
        KubeError if the API server does not answer.
        """
        found: dict[Ref, bytes] = {}
        salts: list[str] = []
        for ref in refs:
            read = await self._get(namespace, ref, newer_than)
            if read.values is None:
                raise SourceError(read.complaint)
            if ref.key not in read.values:
                keys = ", ".join(sorted(read.values)) or "nothing"
                raise SourceError(f"{ref.kind} {ref.name} has no key {ref.key}; it has {keys}")
            found[ref] = read.values[ref.key]
            salts.append(read.uid)
        return found, " ".join(sorted(set(salts)))

    def due(self, namespace: str, refs: tuple[Ref, ...]) -> float:
        """The moment of the clock from which on the oldest of these is not believed any more."""
        read = (self._read.get((namespace, ref.kind, ref.name)) for ref in refs)
        return min((it.at for it in read if it is not None), default=self._clock()) + self.fresh_s

    def prune(self) -> None:
        """Forget what no pool has asked for in a long time: nothing of a Secret is kept for longer than it is needed."""
        old = self._clock() - 3 * self.fresh_s
        self._read = {key: read for key, read in self._read.items() if read.at > old}

    async def _get(self, namespace: str, ref: Ref, newer_than: float) -> _Read:
        key = (namespace, ref.kind, ref.name)
        known, now = self._read.get(key), self._clock()
        if known is not None and known.at > newer_than and now - known.at < self.fresh_s:
            return known
        # Thousands of pools may name one Secret, and ask for it at the same moment.
        since, reading = self._reading.get(key, (0.0, None))
        if reading is None or since < newer_than:
            reading = asyncio.ensure_future(self._fetch(namespace, ref, now))
            self._reading[key] = now, reading
        try:
            read = self._read[key] = await asyncio.shield(reading)
        finally:
            if reading.done() and self._reading.get(key, (0.0, None))[1] is reading:
                del self._reading[key]
        return read

    async def _fetch(self, namespace: str, ref: Ref, now: float) -> _Read:
        try:
            item = await self._kube.get(path_of("v1", _PLURALS[ref.kind], namespace, ref.name))
        except KubeError as error:
            if error.is_missing:
                return _Read(None, "", f"{ref.kind} {ref.name} does not exist", now)
            if error.status in (401, 403):
                return _Read(None, "", f"the operator may not read {ref.kind} {ref.name}", now)
            raise
        return _Read(_contents(item, ref.kind), item["metadata"]["uid"], "", now)


def _contents(item: Mapping[str, Any], kind: str) -> dict[str, bytes]:
    if kind == "Secret":
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (item.get("data") or {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}
