"""How long jobs waited, from a sample of those that ended: for the live view and the summary."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import quantiles

from rqk.store import waits
from rqk.store.connect import Client

_KEPT = 20_000  # waits; a sample of that size gives the percentiles of any number of jobs
_EACH_LOOK = 200  # jobs of each queue and kind


class WaitSample:
    """Add to it now and then."""

    def __init__(self) -> None:
        self._waits: deque[float] = deque(maxlen=_KEPT)
        self._known: deque[str] = deque()
        self._known_set: set[str] = set()

    def look(self, client: Client, queues: Iterable[str]) -> None:
        """Take in the jobs of these queues that ended since the last look. Raises StoreError."""
        fresh = [job_id for job_id in waits.ended(client, queues, _EACH_LOOK) if job_id not in self._known_set]
        self._waits.extend(waits.waited(client, fresh).values())
        for job_id in fresh:
            self._known.append(job_id)
            self._known_set.add(job_id)
        while len(self._known) > _KEPT:
            self._known_set.discard(self._known.popleft())

    def percentiles(self) -> tuple[float | None, float | None]:
        """The median and the 95th, in seconds."""
        if len(self._waits) < 2:
            only = self._waits[0] if self._waits else None
            return only, only
        cuts = quantiles(self._waits, n=20, method="inclusive")
        return cuts[9], cuts[18]
