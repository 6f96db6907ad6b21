"""Arguments of RQ's classes that ours have not: None and the like pass, what would be ignored is said, the rest is refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger("rqk")

WITHOUT_EFFECT = {
    "worker_ttl": "a silent worker is forgotten after twice its lease_s",
    "default_worker_ttl": "a silent worker is forgotten after twice its lease_s",
    "maintenance_interval": "one worker of the fleet looks every janitor_s seconds",
    "job_monitoring_interval": "a running job's lease is renewed three times per lease_s",
    "prepare_for_work": "a worker prepares itself when its work begins",
}
UNUSABLE = {
    "exception_handlers": "exception handlers are not called; use on_failure callbacks",
    "disable_default_exception_handler": "a failed job always goes to the failed registry",
    "work_horse_killed_handler": "a job whose process was killed calls its on_failure callback",
    "job_class": "rqk has one kind of job",
    "queue_class": "rqk has one kind of queue",
    "death_penalty_class": "time limits are those of the worker, see kill_after_s",
}


def sort_out(of: str, given: Mapping[str, Any], known: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What is left of the keywords ``given`` to the class ``of``. Raises TypeError for one that is not ``known`` nor RQ's, or that cannot be obeyed."""
    left: dict[str, Any] = {}
    for name, value in given.items():
        if name in known:
            left[name] = value
        elif name in UNUSABLE:
            if value:
                raise TypeError(f"{of}({name}=...) cannot be used here: {UNUSABLE[name]}")
        elif name in WITHOUT_EFFECT:
            if value is not None:
                log.warning("%s(%s=...) has no effect here: %s", of, name, WITHOUT_EFFECT[name])
        else:
            raise TypeError(f"{of}() knows no argument {name!r}")
    return left
