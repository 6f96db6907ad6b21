"""Waiting for whichever of several file descriptors has something to say first."""

from __future__ import annotations

import select
from collections.abc import Iterable
from math import ceil


class Watchers:
    """A poll over descriptors that change from step to step; each carries a tag."""

    def __init__(self) -> None:
        self._ready: dict[str, list[int]] = {}
        self._sources: dict[int, str] = {}
        self._writing: int | None = None
        self._poller = select.poll()

    def wait(self, sources: dict[int, str], seconds: float, writing: int | None = None) -> None:
        """Wait until one can be read, ``writing`` can take more, or the time is over; signals have a descriptor of their own."""
        if sources != self._sources or writing != self._writing:
            self._sources, self._writing, self._poller = sources, writing, select.poll()
            for fileno in sources:
                if fileno >= 0:
                    events = select.POLLIN if fileno != writing else select.POLLIN | select.POLLOUT
                    self._poller.register(fileno, events)
        self._ready = {}
        for fileno, _ in self._poller.poll(ceil(seconds * 1000)):
            self._ready.setdefault(sources[fileno], []).append(fileno)

    def ready(self, tag: str) -> list[int]:
        """Descriptors of a tag that can be read."""
        return self._ready.get(tag, [])

    def saw(self, tag: str) -> bool:
        """Whether any of a tag can be read."""
        return tag in self._ready


def wait_to_read(filenos: Iterable[int], timeout_s: float) -> list[int]:
    """Wait for one of these to have something to read, or its end; return those that have. select() knows no descriptor
    above 1023.
    """
    poller = select.poll()
    for fileno in filenos:
        poller.register(fileno, select.POLLIN)
    return [fileno for fileno, _ in poller.poll(ceil(1000 * timeout_s))]
