"""Where jobs are, by looking into every place: the invariants of docs/architecture.md as functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis as redis_py

WAITING = ("queue", "intermediate", "scheduled", "deferred")
ENDED = ("finished", "failed")


@dataclass(frozen=True)
class Places:
    """The places that hold a job's id, and the status its hash shows."""

    status: str | None
    places: tuple[str, ...]

    @property
    def is_consistent(self) -> bool:
        """In exactly one place, and the hash agrees with it."""
        fits = {
            "queued": {"queue", "intermediate", "started"},  # leased and not begun, as RQ prepares jobs too
            "started": {"started"},
            "finished": {"finished"},
            "failed": {"failed"},
            "stopped": {"failed"},
            "scheduled": {"scheduled"},
            "deferred": {"deferred"},
        }
        return len(self.places) == 1 and self.places[0] in fits.get(self.status or "", set())


def places(connection: redis_py.Redis, queues: Iterable[str], ids: Iterable[str]) -> dict[str, Places]:
    """Where each job is, at one instant: all is read in one transaction."""
    wanted = list(ids)
    names = list(queues)
    client: Any = connection
    with client.pipeline(transaction=True) as pipeline:
        for name in names:
            pipeline.lrange(f"rq:queue:{name}", 0, -1)
            pipeline.lrange(f"rq:queue:{name}:intermediate", 0, -1)
            pipeline.zrange(f"rq:wip:{name}", 0, -1)
            for registry in ("scheduled", "deferred", "finished", "failed"):
                pipeline.zrange(f"rq:{registry}:{name}", 0, -1)
        for job_id in wanted:
            pipeline.hget(f"rq:job:{job_id}", "status")
        answers = pipeline.execute()
    found: dict[str, list[str]] = {job_id: [] for job_id in wanted}
    labels = ("queue", "intermediate", "started", "scheduled", "deferred", "finished", "failed")
    for index in range(len(names)):
        for offset, label in enumerate(labels):
            for member in answers[index * len(labels) + offset]:
                job_id = member.decode().partition(":")[0]
                if job_id in found:
                    found[job_id].append(label)
    statuses = answers[len(names) * len(labels) :]
    return {
        job_id: Places(status.decode() if status else None, tuple(found[job_id]))
        for job_id, status in zip(wanted, statuses, strict=True)
    }


def assert_each_in_one_place(connection: redis_py.Redis, queues: Iterable[str], ids: Iterable[str]) -> None:
    """Invariant 1: at every instant a job is in exactly one place."""
    odd = {job_id: where for job_id, where in places(connection, queues, ids).items() if not where.is_consistent}
    assert not odd, f"{len(odd)} jobs are not in exactly one place: {dict(list(odd.items())[:5])}"


def count_words(notes: Path) -> Counter[str]:
    """How often each line stands in a file that jobs append to."""
    return Counter(notes.read_text().split()) if notes.exists() else Counter()
