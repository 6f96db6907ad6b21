"""After a failure or a repeat: again at once, later, or never. Source: docs/protocol.md 3.8 and 3.9 (the 3.0 rules)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from rqk.core.records import JobRecord

LONGEST_WAIT_S = 315_360_000  # ten years; a moment much later has no date


@dataclass(frozen=True, slots=True)
class Again:
    """Into the queue at once."""

    at_front: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """Scheduled for a moment."""

    due: datetime


@dataclass(frozen=True, slots=True)
class Never:
    """The end."""

    reason: str


def _later(now: datetime, wait: int) -> Later:
    return Later(now + timedelta(seconds=min(wait, LONGEST_WAIT_S)))


def after_failure(job: JobRecord, now: datetime) -> Again | Later | Never:
    """What follows an exception. A list of intervals longer than the retries starts in its middle; a shorter one repeats its first."""
    left = job.retries_left or 0
    if left <= 0:
        return Never("no retries left")
    intervals = job.retry_intervals or ()
    wait = intervals[max(len(intervals) - left, 0)] if intervals else 0
    return _later(now, wait) if wait > 0 else Again(job.enqueue_at_front_on_retry)


def after_returned_retry(
    job: JobRecord, most: int, intervals: tuple[int, ...], at_front: bool, now: datetime
) -> Again | Later | Never:
    """What follows a returned Retry. The last interval repeats."""
    done = job.number_of_retries or 0
    if done >= most:
        return Never("maximum of returned retries reached")
    wait = intervals[min(done, len(intervals) - 1)] if intervals else 0
    return _later(now, wait) if wait > 0 else Again(at_front)


@dataclass(frozen=True, slots=True)
class NextRepeat:
    """The next run of a repeating job."""

    when: Again | Later
    left: int
    intervals: bytes  # JSON, as stored


def next_repeat(job: JobRecord, now: datetime) -> NextRepeat | None:
    """After a success: the head of the intervals is the next wait and is dropped unless it is the last. None when it is over."""
    left = job.repeats_left or 0
    if left <= 0:
        return None
    intervals = job.repeat_intervals or (0,)
    wait, rest = intervals[0], intervals[1:] if len(intervals) > 1 else intervals
    when: Again | Later = _later(now, wait) if wait > 0 else Again()
    return NextRepeat(when, left - 1, json.dumps(list(rest)).encode())
