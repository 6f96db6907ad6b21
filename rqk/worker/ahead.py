"""One job ahead: with jobs of a few milliseconds, waiting for Redis takes as long as a job.

Then the next job is leased before the one in hand has ended, as RQ prepares one: its status stays queued, so if we die
it goes back to the head of its queue and counts as nothing. When the job in hand ends, the other one begins at once; one
script writes the end, says that the other has begun, and leases a third. Its answer is read with the next end. A job
that is held up, because the one in hand turns out to be long or the worker is told to stop, goes back at once.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from rqk.core import keys, moves
from rqk.store import transitions
from rqk.store.line import Line
from rqk.store.transitions import Claimed, Lease
from rqk.worker.ending import Ending
from rqk.worker.options import WorkerOptions
from rqk.worker.task import Task

QUICK_S = 0.025  # a job that takes longer, from its claim to its end, ends the hurry
ENOUGH = 8  # quick ones in a row
HELD_S = 0.05  # so long a job may wait for the one in hand
ANSWER_S = 0.005  # what was asked without waiting is read with the next outcome, or after so long
_NEVER = float("inf")


class Owed(NamedTuple):
    """A job that is over, and its end on the way to Redis."""

    task: Task
    end: Ending


class Ahead:
    """What is taken ahead, and whether that is wise."""

    def __init__(self, options: WorkerOptions) -> None:
        self._allowed = options.max_jobs is None and options.strategy != "round_robin"
        self._quick = 0
        self.claimed: Claimed | None = None
        self.owed: Owed | None = None
        self.asked = False  # the claim under way is for a job ahead

    def note(self, seconds: float) -> None:
        """A job has ended so long after its claim."""
        self._quick = self._quick + 1 if seconds < QUICK_S else 0

    @property
    def is_wise(self) -> bool:
        """Whether jobs are quick enough."""
        return self._allowed and self._quick >= ENOUGH

    def due_at(self, task: Task | None) -> float:
        """When the job that is held has waited long enough."""
        if self.claimed is None:
            return _NEVER
        return task.claimed_at + HELD_S if task is not None else 0.0

    @staticmethod
    def answer_at(now: float, line: Line) -> float:
        """When answers that nobody has waited for are to be read."""
        return now + ANSWER_S if line.is_owed else _NEVER

    def give_back(self, line: Line, now: datetime) -> None:
        """What is held goes back to the head of its queue, whether Redis has been told that it begins or not."""
        held = self.claimed
        if held is not None:
            status = line.execute_command("HGET", keys.job(held.job_id), "status")
            lease = Lease(held.job_id, held.execution_id, held.queue, never_started=status == b"queued")
            transitions.settle(line, lease, moves.put_back(now), now)
            self.claimed = None
