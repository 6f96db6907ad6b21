"""What ``rqk info`` draws of a snapshot."""

from __future__ import annotations

import pytest

from rqk.cli.info_lines import ASCII, UNICODE, Glyphs, Wanted, lines
from rqk.store.snapshot import QueueSnapshot, Snapshot, WorkerSnapshot

WORKER = WorkerSnapshot("w1", ("high", "low"), "busy", 7, "host", "10.0.0.1:5", successful=3, failed=1)


def text(seen: Snapshot, wanted: Wanted, glyphs: Glyphs = UNICODE) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in lines(seen, wanted, glyphs)]


def queues(**queued: int) -> dict[str, QueueSnapshot]:
    return {name: QueueSnapshot(name, queued=count) for name, count in queued.items()}


@pytest.mark.parametrize(
    ("queued", "width"), [(0, 0), (1, 1), (15, 15), (20, 20), (25, 10), (50, 20), (99, 19), (1000, 20), (123_456, 20)]
)
def test_a_bar_fits_its_scale(queued: int, width: int) -> None:
    first = text(Snapshot(0, queues(high=queued)), Wanted(workers=False))[0]
    assert first == f"high         |{'█' * width} {queued}, 0 executing, 0 finished, 0 failed"


def test_the_smallest_backlog_is_seen_beside_the_largest() -> None:
    drawn = text(Snapshot(0, queues(big=1000, small=1)), Wanted(workers=False))
    assert drawn[1].startswith("small        |█ 1,")


def test_without_unicode() -> None:
    drawn = text(Snapshot(0, queues(high=3)), Wanted(by_queue=True), ASCII)
    assert drawn[0].startswith("high         |### 3,")
    assert "high: -" in drawn
    assert "\n".join(drawn).isascii()


def test_everything() -> None:
    seen = Snapshot(1.5, queues(high=2, low=0), (WORKER,), suspended=True, unreadable={"odd": "WRONGTYPE"})
    drawn = text(seen, Wanted())
    assert drawn[:-2] == [
        "high         |██ 2, 0 executing, 0 finished, 0 failed",
        "low          | 0, 0 executing, 0 finished, 0 failed",
        "queue odd cannot be read: WRONGTYPE",
        "2 queues, 2 jobs total",
        "",
        "w1 (host 10.0.0.1:5 7): busy high, low. jobs: 3 finished, 1 failed",
        "1 workers, 2 queues",
        "",
        "Suspended: no job is started until `rqk resume`.",
    ]
    assert drawn[-1].startswith("Updated: 1970-01-01 ")


def test_some_queues_in_the_order_asked_for() -> None:
    seen = Snapshot(0, queues(a=1, b=2, c=3), (WORKER, WorkerSnapshot("w2", ("b",), "idle")))
    drawn = text(seen, Wanted(("c", "a", "c")))
    assert [line.split()[0] for line in drawn[:2]] == ["c", "a"]
    assert not any(line.startswith(("w1", "w2")) for line in drawn)


def test_workers_by_queue() -> None:
    seen = Snapshot(0, queues(high=0, longer_name=0), (WORKER, WorkerSnapshot("w0", ("high",), "idle")))
    assert text(seen, Wanted(queues=False, by_queue=True)) == [
        "high:        w0 (idle), w1 (busy)",
        "longer_name: –",  # noqa: RUF001 - as rq info has it
        "low:         w1 (busy)",
        "2 workers, 2 queues",
    ]


def test_a_retiring_worker_is_called_so() -> None:
    seen = Snapshot(0, {}, (WorkerSnapshot("w", ("q",), "idle", retiring=True),))
    assert text(seen, Wanted(queues=False))[0] == "w (? ? ?): idle retiring q. jobs: 0 finished, 0 failed"
