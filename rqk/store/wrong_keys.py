"""Which key it is that holds another type than RQ's protocol says: Redis' answer (WRONGTYPE) names none, so it is looked for then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import exceptions as wire

from rqk.core import keys
from rqk.errors import StoreError, WrongKeyType

if TYPE_CHECKING:
    from rqk.store.connect import Executor

_MOST_NAMES = 100  # that are looked at, some twenty keys each, in one round trip
_LONGEST_NAME = 200  # characters; what is longer is an argument of another kind
_MOST_TOLD = 3
_WORDS = {"list": "a list", "set": "a set", "zset": "a sorted set", "hash": "a hash", "stream": "a stream"}
_SHARED = (keys.QUEUES, keys.WORKERS, keys.GROUPS, keys.RATE_LIMIT_KEYS)


class Place(NamedTuple):
    """What a key should hold, and whose it is."""

    type: str  # in Redis' words
    owner: str


def named(error: StoreError, executor: Executor, about: Sequence[Any]) -> StoreError:
    """The same error with the keys that are wrong in its message; as it is if it is another one, or none can be found.

    ``about``: names of queues, jobs, workers or groups, or their keys, among other arguments. One round trip.
    """
    if not isinstance(error, WrongKeyType) or not about:
        return error
    told = sentence(executor, about)
    return type(error)(f"{error}: {told}") if told else error


def sentence(executor: Executor, about: Sequence[Any]) -> str:
    """What is wrong with which keys, and what helps; empty if none can be found. One round trip."""
    from rqk.store.scripts import source  # here: it is made of connect, which is made of this

    places = dict(_places(about))
    asked = [word for key, place in places.items() for word in (key, place.type)]
    try:
        found = [_text(word) for word in executor.execute_command("EVAL", source("types"), 0, *asked)]
    except (StoreError, wire.RedisError, OSError):  # the first error counts
        return ""
    told = [
        f"{key}{places[key].owner} is {_word(is_)} and should be {_word(places[key].type)}"
        for key, is_ in islice(zip(found[::2], found[1::2], strict=True), _MOST_TOLD)
    ]
    return f"{', '.join(told)}; another program must have written it, so rename or delete it" if told else ""


def _places(about: Iterable[Any]) -> Iterator[tuple[str, Place]]:
    for key in _SHARED:
        yield key, Place("set", "")
    names = (_name(word) for word in about if isinstance(word, str) and 0 < len(word) <= _LONGEST_NAME)
    for name in islice(dict.fromkeys(names), _MOST_NAMES):
        yield from _places_of(name)


def _name(word: str) -> str:
    """The name in a full key, or the word itself."""
    return word.removeprefix(keys.QUEUE).removeprefix(keys.JOB)


def _places_of(name: str) -> Iterator[tuple[str, Place]]:
    queue, job, worker = f" of queue {name!r}", f" of job {name!r}", f" of worker {name!r}"
    for key in (keys.queue(name), keys.intermediate(name)):
        yield key, Place("list", queue)
    for registry in (
        keys.started,
        keys.finished,
        keys.failed,
        keys.deferred,
        keys.scheduled,
        keys.canceled,
        keys.ready,
    ):
        yield registry(name), Place("zset", queue)
    yield keys.queue_workers(name), Place("set", queue)
    yield keys.unsettled(name), Place("hash", queue)
    yield keys.scheduler_lock(name), Place("string", queue)
    yield keys.job(name), Place("hash", job)
    for key in (keys.dependents(name), keys.dependencies(name)):
        yield key, Place("set", job)
    yield keys.results(name), Place("stream", job)
    yield keys.executions(name), Place("zset", job)
    yield keys.worker(name), Place("hash", worker)
    yield keys.worker_executions(name), Place("set", worker)
    yield keys.group(name), Place("set", f" of group {name!r}")


def _word(kind: str) -> str:
    return _WORDS.get(kind, f"a {kind}")


def _text(word: bytes | str) -> str:
    return word.decode() if isinstance(word, bytes) else word
