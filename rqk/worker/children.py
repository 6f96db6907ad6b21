"""What the supervisor tells its zygote at the start, and what the zygote has to say about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rqk.core.call import Serializer


class ByUrl(NamedTuple):
    """Makes a Redis client in a horse when the user's code asks for one; unlike a function it can be sent to a new interpreter."""

    url: str

    def __call__(self) -> Any:
        """A client that has not sent anything yet."""
        from rqk.store.connect import connect  # here: most jobs need no Redis of ours

        return connect(self.url)


class ChildSettings(NamedTuple):
    """What zygote and horses need to know. Handed over by the fork, so objects of any kind are fine, unless ``fresh``."""

    preload: tuple[str, ...] = ()  # modules to import once, in this order
    path: tuple[str, ...] = ()  # put in front of sys.path, first one first
    serializer: Serializer | str | None = (
        None  # None = pickle; a dotted path is imported in the zygote, after the preload
    )
    recycle_after: int = 1  # jobs per horse; 1 = a fork of its own for every job
    job_memory_limit: int | None = None  # bytes of private memory, preloaded modules included; None = no limit
    oom_score_adj: int = 500  # zygote and horses; 0 = like the supervisor, 1000 = the first to go
    connect: Callable[[], Any] | None = None  # makes a Redis client in a horse when the user's code asks for one
    raise_again_s: float = 5.0  # a job that swallowed JobTimeoutException gets it once more after this; 0 = never
    fresh: bool = False  # a new interpreter instead of a fork of this process: a fifth of the memory, so cheaper forks


class Problem(NamedTuple):
    """Something that went wrong before the first fork."""

    what: str  # "preload", "serializer", "memory", "connections" or "threads"
    name: str  # the module or setting
    error: str  # one line for people
    fatal: bool  # True: no job can run, so the worker should stop and say so
