"""The code of an app whose jobs the cluster tests run. Whatever ran is counted in Redis, so that no job runs unseen."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import redis


def _count(what: str, word: str) -> None:
    """Each run has a token, since the client repeats a command whose answer it did not get."""
    with redis.Redis.from_url(os.environ["RQ_REDIS_URL"]) as client:
        client.sadd(f"shop:{what}", f"{word} {uuid.uuid4().hex}")


@contextmanager
def _timed(word: str) -> Iterator[None]:
    """When and in which pod: for those who ask whether a pod that was taken away was at work."""
    begun = time.time()
    _count("started", f"{word} {os.uname().nodename} {begun:.3f}")
    yield
    _count("ended", f"{word} {os.uname().nodename} {time.time():.3f}")


def nap(word: str, seconds: float) -> str:
    """A job of known length."""
    with _timed(word):
        time.sleep(seconds)
        _count("ran", word)
    return word


def begin_and_nap(word: str, seconds: float) -> str:
    """A job that says when it begins."""
    _count("begun", word)
    return nap(word, seconds)


def hold(word: str, _seconds: float) -> str:
    """A job that lasts until it is let go."""
    _count("begun", word)
    with _timed(word), redis.Redis.from_url(os.environ["RQ_REDIS_URL"]) as client:
        while not client.xread({"shop:go": "0"}, block=1000):  # below the client's own patience
            pass
        _count("ran", word)
    return word


def eat(megabytes: int) -> int:
    """A job that needs more memory than the pod may have; the worker around it is eaten too."""
    heap = [bytearray(b"x" * (1 << 20)) for _ in range(megabytes)]
    return len(heap)


def fill(word: str, megabytes: int) -> str:
    """A job that writes more than the pod may store, and then lasts: the kubelet evicts the pod when it looks again."""
    _count("begun", word)
    with open("/tmp/filled", "wb") as file:
        file.writelines(os.urandom(1 << 20) for _ in range(megabytes))
    return nap(word, 600.0)
