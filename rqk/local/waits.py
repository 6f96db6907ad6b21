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
        self.values: deque[float] = deque(maxlen=_KEPT)
        self._known: deque[str] = deque()
        self._known_set: set[str] = set()

    def skip(self, client: Client, queues: Iterable[str]) -> None:
        """Jobs that ended before our time are none of ours. Raises StoreError."""
        self._fresh(client, queues)

    def look(self, client: Client, queues: Iterable[str]) -> None:
        """Take in the jobs of these queues that ended since the last look. Raises StoreError."""
        self.values.extend(waits.waited(client, self._fresh(client, queues)).values())

    def _fresh(self, client: Client, queues: Iterable[str]) -> list[str]:
        fresh = [job_id for job_id in waits.ended(client, queues, _EACH_LOOK) if job_id not in self._known_set]
        self._known.extend(fresh)
        self._known_set.update(fresh)
        while len(self._known) > _KEPT:
            self._known_set.discard(self._known.popleft())
        return fresh

    def percentiles(self) -> tuple[float | None, float | None]:
        """The median and the 95th, in seconds."""
        if len(self.values) < 2:
            only = self.values[0] if self.values else None
            return only, only
        cuts = quantiles(self.values, n=20, method="inclusive")
        return cuts[9], cuts[18]
