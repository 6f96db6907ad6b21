"""Which key holds another Redis type than it should: servers say that one does, and not which."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rqk.core import keys
from rqk.errors import StoreError
from rqk.store.connect import Executor

_FIXED = {keys.QUEUES: "set", keys.WORKERS: "set"}
_REGISTRIES = (keys.STARTED, keys.FINISHED, keys.FAILED, keys.DEFERRED, keys.SCHEDULED, keys.CANCELED, keys.READY)
_MOST = 2000  # keys to ask about; a batch of thousands of jobs is looked at in part
_LONGEST = 200  # characters; what is longer is no name


def find(executor: Executor, words: Iterable[Any]) -> str | None:
    """``key rq:wip:mails is a string, not a zset`` for the first of the keys that may belong to names or keys among these
    words; None if all are as they should be, or cannot be asked about.
    """
    suspects = dict(_FIXED)
    for word in words:
        if isinstance(word, str) and 0 < len(word) <= _LONGEST and len(suspects) < _MOST:
            suspects |= _keys_of(word)
    try:
        for key, wanted in suspects.items():
            found = executor.execute_command("TYPE", key)
            kind = found.decode() if isinstance(found, bytes) else str(found)
            if kind not in (wanted, "none"):
                return f"key {key} is a {kind}, not a {wanted}"
    except (StoreError, OSError):
        pass
    return None


def _keys_of(word: str) -> dict[str, str]:
    """What it may be the name of, or the key itself."""
    if word.startswith(keys.PREFIX):
        return {word: "list"} if word.startswith(keys.QUEUE) else {word: "hash"} if word.startswith(keys.JOB) else {}
    return {
        keys.queue(word): "list",
        keys.intermediate(word): "list",
        **{prefix + word: "zset" for prefix in _REGISTRIES},
        keys.job(word): "hash",
        keys.results(word): "stream",
        keys.executions(word): "zset",
        keys.worker(word): "hash",
        keys.worker_executions(word): "set",
        keys.dependents(word): "set",
        keys.dependencies(word): "set",
    }
