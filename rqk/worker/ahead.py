"""Jobs ahead: with jobs of a few milliseconds, waiting for Redis takes as long as a job.

Then the next jobs are leased before the one in hand has ended, as RQ prepares one: their status stays queued, so if we
die they go back to the head of their queue and count as nothing. When the job in hand ends, the next one begins at once;
one script writes the end, says that the other has begun, and leases a further one. Its answer is read when the horse has
its job, a whole job later: so two are ahead, one that is held and one that is asked for, and two ends may be on their
way. Jobs that are held up, because the one in hand turns out to be long or the worker is told to stop, go back at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from rqk.core import keys, moves
from rqk.store import scripts, transitions
from rqk.store.line import Line
from rqk.store.transitions import Ask, Claimed, Refusal, Settlement
from rqk.store.workers import Tally
from rqk.worker.ending import Ending
from rqk.worker.heart import Heart
from rqk.worker.options import WorkerOptions
from rqk.worker.task import Task

if TYPE_CHECKING:
    from rqk.worker.report import Report

DEPTH = 2  # jobs that are held or asked for
QUICK_S = 0.025  # a job that takes longer, from its claim to its end, ends the hurry
ENOUGH = 8  # quick ones in a row
HELD_S = 0.05  # so long a job may wait for the one in hand
ANSWER_S = 0.005  # an answer is read with the next outcome, or after so long
_NEVER = float("inf")


class Owed(NamedTuple):
    """A job that is over, and its end on the way to Redis."""

    task: Task
    end: Ending
    tally: Tally | None  # what was told along with it
    asks: bool  # whether another job is asked for


class Ahead:
    """What is taken ahead, what is under way to Redis meanwhile, and whether that is wise."""

    def __init__(
        self, options: WorkerOptions, line: Line, heart: Heart, report: Report, clock: Callable[[], datetime]
    ) -> None:
        self._allowed = options.max_jobs is None and options.strategy != "round_robin"
        self._line, self._heart, self._report, self._clock = line, heart, report, clock
        self._quick = 0
        self._held: deque[Task] = deque()
        self._asked: deque[str] = deque()  # execution ids of claims under way
        self._owed: deque[Owed] = deque()
        self._sent_at = 0.0

    def note(self, seconds: float) -> None:
        """A job has ended so long after its claim."""
        self._quick = self._quick + 1 if seconds < QUICK_S else 0

    @property
    def next(self) -> Task | None:
        """The one that begins when the job in hand is over."""
        return self._held[0] if self._held else None

    def wants(self, *, begins: bool = False) -> bool:
        """Whether another job should be taken ahead; ``begins``: the one that is next begins now."""
        ahead = len(self._held) + len(self._asked) - begins
        return self._allowed and self._quick >= ENOUGH and ahead < DEPTH

    @property
    def is_owing(self) -> bool:
        """Whether the end of a job is not known to be written yet."""
        return bool(self._owed)

    def due_at(self, task: Task | None) -> float:
        """When what is held has waited long enough."""
        if not self._held:
            return _NEVER
        return task.claimed_at + HELD_S if task is not None else 0.0

    def answer_at(self) -> float:
        """When answers that nobody has waited for are to be read."""
        return self._sent_at + ANSWER_S if self._line.is_owed else _NEVER

    def read(self, task: Task | None, now: float) -> None:
        """Take in the answers that are needed now: if the job in hand is over and no other is held, or they are old."""
        over = task is None or task.ending is not None
        if (over and not self._held) or now >= self.answer_at():
            self._line.collect()

    def read_what_has_come(self) -> None:
        """Take in answers without waiting."""
        if self._line.is_owed:
            self._line.collect(wait=False)

    def claim(self, ask: Ask, now: float) -> None:
        """Ask for a job, without waiting."""
        transitions.claim_later(self._line, ask, self._took)
        self._asked.append(ask.execution_id)
        self._sent_at = now

    def settle(self, task: Task, end: Ending, following: Task, ask: Ask | None, now: float, wall: datetime) -> None:
        """Send the end of a job, and that the next one, ``following``, begins: before it is given away, so that this is
        known whatever becomes of us. ``now`` and ``wall``: the two clocks.
        """
        heart = self._heart
        tell = now >= heart.tell_at
        owed = Owed(task, end, heart.tally if tell else None, asks=ask is not None)
        transitions.settle_later(
            *(self._line, task.lease, end.move, wall, heart.tally, ask),
            tell=tell,
            begins=following.lease,
            then=lambda answer: self._paid(owed, answer),
        )
        if tell:
            heart.told(now)
        if ask is not None:
            self._asked.append(ask.execution_id)
        self._held.popleft()
        self._owed.append(owed)
        self._sent_at = now

    def _paid(self, owed: Owed, answer: Settlement) -> None:
        """The end of a job is written, and another one is taken ahead."""
        self._owed.popleft()
        if owed.tally is not None and not answer.told:
            self._heart.tally = self._heart.tally.and_also(owed.tally)
        if owed.asks:
            self._took(answer.next)
        self._report.ended(owed.task, owed.end, self._heart.verified(owed.task, answer.settled))

    def _took(self, reply: Claimed | Refusal) -> None:
        self._asked.popleft()  # answers come in the order of their questions
        if isinstance(reply, Claimed):
            self._hold(reply).order()  # packed now, while another job runs
        self._heart.hear(reply)

    def _hold(self, claimed: Claimed) -> Task:
        task = Task(claimed, self._heart.options.name, self._sent_at, self._clock())
        self._held.append(task)
        return task

    def give_back(self) -> None:
        """What is held goes back to the head of its queue, whether Redis has been told that it begins or not."""
        self._line.collect()  # what is under way may bring more
        while self._held:
            last = self._held[-1]  # so that the one that came first is the first again
            waits = self._line.execute_command("HGET", keys.job(last.id), "status") == b"queued"
            # Without the worker's name: nothing of its record changes.
            lease, now = last.lease._replace(worker="", never_started=waits), self._clock()
            transitions.settle(self._line, lease, moves.never_started() if waits else moves.put_back(now), now)
            self._held.pop()

    def recover(self, task: Task | None) -> None:
        """The connection broke: claims may have been carried out whose answers were lost, and ends may not have been written."""
        scripts.load(self._line, "claim", "settle")  # a server that was restarted has forgotten what is posted
        while self._asked:
            claimed = self._heart.find_claimed(self._asked[0])
            if claimed is not None:
                self._hold(claimed)
            self._asked.popleft()
        while self._owed:
            owed = self._owed[0]
            begun = self._owed[1].task if len(self._owed) > 1 else task
            end = owed.task.next_try(owed.end)
            args = (self._line, owed.task.lease, end.move, self._clock(), owed.tally or Tally())
            answer = transitions.settle(*args, begins=begun.lease if begun is not None else None)
            self._paid(owed._replace(asks=False), answer._replace(told=True))
        self.give_back()
