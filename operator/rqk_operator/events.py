"""Events of pools: few, and the same one again is counted instead of repeated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from rqk.autoscale.model import KIND
from rqk_operator.errors import KubeError
from rqk_operator.kube import Kube, path_of
from rqk_operator.names import OPERATOR, POOLS_API

log = logging.getLogger("rqk.operator")

Kind = Literal["Normal", "Warning"]
TOGETHER_S = 600.0  # the same reason within this time is one event with a count
_PAUSE_S = 5.0  # between two writes of the same event
_MOST_KEPT = 20_000
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class About:
    """The pool that an event is about."""

    namespace: str
    name: str
    uid: str


@dataclass(slots=True)
class _Series:
    about: About
    kind: Kind
    reason: str
    message: str
    first: datetime
    last: datetime
    count: int = 1
    name: str = ""  # of the Event object, once it is there
    written: int = 0  # the count that was last written
    not_before: float = 0.0


class Events:
    """Takes notes at once and writes them from a task of its own, so that nobody waits for an event."""

    def __init__(self, kube: Kube, clock: Callable[[], float], identity: str) -> None:
        self._kube, self._clock, self._identity = kube, clock, identity
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._news = asyncio.Event()

    def note(self, about: About, kind: Kind, reason: str, message: str) -> None:
        """Something happened."""
        now = datetime.now(UTC)
        key = (about.uid, kind, reason)
        series = self._series.get(key)
        if series is not None and (now - series.last).total_seconds() < TOGETHER_S:
            series.count, series.last, series.message = series.count + 1, now, message
        else:
            self._series.pop(key, None)
            self._series[key] = _Series(about, kind, reason, message, now, now)
            while len(self._series) > _MOST_KEPT:
                self._series.pop(next(iter(self._series)))
        self._news.set()

    async def run(self) -> None:
        """Write what is new; ends only when cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            waits = [wait for series in list(self._series.values()) if (wait := await self._write(series)) is not None]
            if waits:
                await asyncio.sleep(min(waits))
                self._news.set()

    async def _write(self, series: _Series) -> float | None:
        """Seconds to wait before it can be written, None if there is nothing left to write."""
        if series.written == series.count:
            return None
        now = self._clock()
        if now < series.not_before:
            return series.not_before - now
        series.not_before = now + _PAUSE_S
        count = series.count
        try:
            if series.name:
                change = {"count": count, "lastTimestamp": _time(series.last), "message": series.message[:_LONGEST]}
                await self._kube.merge(path_of("v1", "events", series.about.namespace, series.name), change, OPERATOR)
            else:
                made = await self._kube.create(
                    path_of("v1", "events", series.about.namespace), self._body(series), OPERATOR
                )
                series.name = made["metadata"]["name"]
        except KubeError as error:
            if not error.is_passing:  # the event has expired, or the namespace is going: let it be
                log.debug("event %s of %s: %s", series.reason, series.about.name, error)
                series.name, series.written = "", count
                return None
            return _PAUSE_S
        series.written = count
        return None if series.count == count else _PAUSE_S

    def _body(self, series: _Series) -> dict[str, Any]:
        about = series.about
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{about.name}.", "namespace": about.namespace},
            "involvedObject": {
                "apiVersion": POOLS_API,
                "kind": KIND,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
            "type": series.kind,
            "reason": series.reason,
            "message": series.message[:_LONGEST],
            "count": series.count,
            "firstTimestamp": _time(series.first),
            "lastTimestamp": _time(series.last),
            "source": {"component": OPERATOR},
            "reportingComponent": f"rqk.dev/{OPERATOR}",
            "reportingInstance": self._identity,
        }


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
