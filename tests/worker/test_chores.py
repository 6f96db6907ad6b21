"""What a worker does beside its jobs, and when: by a clock that the test sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py

from rqk.core import keys
from rqk.store import transitions
from rqk.store.leases import Found
from rqk.store.line import Line
from rqk.worker.chores import Chores
from rqk.worker.options import WorkerOptions
from tests.store.stage import WALL, new

Client = redis_py.Redis


class Heart:
    """Counts the looks for jobs of dead workers."""

    def __init__(self) -> None:
        self.looks = 0

    def sweep(self) -> list[Found]:
        """Find nothing."""
        self.looks += 1
        return []


@pytest.fixture
def line(redis: Client) -> Iterator[Line]:
    """The worker's connection."""
    line = Line(redis)
    yield line
    line.close()


def chores(client: Client, line: Line, heart: Any = None, **options: Any) -> Chores:
    """The chores of a worker that has just begun."""
    report: Any = None
    chosen_heart: Any = heart or Heart()
    chosen = WorkerOptions(name="w", queues=("q",), metrics=False, **options)
    return Chores(client, line, chosen, chosen_heart, report, lambda: WALL)


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        pytest.param({}, 15.0, id="others have renewed their leases by then"),
        pytest.param({"lease_s": 4}, 4.0, id="a lease is shorter"),
        pytest.param({"burst": True}, 0.0, id="it would leave without ever having looked"),
    ],
)
def test_the_first_look_for_the_dead(redis: Client, line: Line, options: dict[str, Any], begins: float) -> None:
    """Redis may be back just now, and who was away has not renewed a lease yet."""
    heart = Heart()
    mine = chores(redis, line, heart, janitor_s=5.0, **options)
    for now in (100.0, 100.0 + begins - 0.1):
        mine.do(now)
        assert heart.looks == (begins == 0.0)
    mine.do(100.0 + begins)
    assert heart.looks == 1
    mine.do(100.0 + begins + 6.1)
    assert heart.looks == 2


def test_all_that_is_due_is_moved_without_a_pause(redis: Client, line: Line) -> None:
    transitions.enqueue(redis, [new(f"j{number}", place="due", due=5) for number in range(450)], WALL)
    transitions.enqueue(redis, [new("later", place="due", due=9e9)], WALL)
    mine = chores(redis, line)
    turns = 0
    while mine.due_at <= 100.0:
        mine.do(100.0)
        turns += 1
    assert (turns, redis.llen(keys.queue("q")), redis.zcard(keys.scheduled("q"))) == (3, 450, 1)
    assert mine.due_at == 101.0
