"""Frames: what goes in comes out, whatever the cuts; garbage is named, never believed."""

from __future__ import annotations

import marshal
import socket
import struct
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqk.worker import frames
from rqk.worker.frames import Decoder, Frame, FrameError, Kind, Outgoing, encode, pieces, receive, receive_all, send
from rqk.worker.messages import Mode, Order, Outcome, RetryWish, order_fields, outcome_fields, read_order, read_outcome

FRAMES = st.lists(st.builds(Frame, st.sampled_from(Kind), st.lists(st.binary(max_size=200), max_size=8)), max_size=6)


@given(FRAMES, st.data())
def test_frames_survive_any_cut_of_the_stream(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode(*frame) for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    decoder = Decoder()
    got = [frame for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) for frame in decoder.feed(stream[a:b])]
    assert got == sent
    assert not decoder.midway


@given(st.binary(min_size=1, max_size=400))
def test_garbage_raises_frame_error_and_nothing_else(garbage: bytes) -> None:
    decoder = Decoder()
    try:
        for frame in decoder.feed(garbage):
            try:
                read_outcome(frame.fields)
            except FrameError:
                pass
    except FrameError:
        with pytest.raises(FrameError):
            decoder.feed(encode(Kind.FORK))


@given(st.lists(st.binary(max_size=30), max_size=16))
def test_fields_of_any_kind_are_an_outcome_or_a_frame_error(fields: list[bytes]) -> None:
    try:
        read_outcome(fields)
    except FrameError:
        pass


@pytest.mark.parametrize(
    ("head", "words"),
    [
        pytest.param(struct.pack("<BBII", 0x41, 1, 0, 0), "not a frame", id="another first byte"),
        pytest.param(struct.pack("<BBII", frames.MAGIC, 99, 0, 0), "not a frame", id="an unknown kind"),
        pytest.param(
            struct.pack("<BBII", frames.MAGIC, 18, 0, frames.MAX_FRAME_BYTES + 1), "above the limit", id="too large"
        ),
        pytest.param(
            struct.pack("<BBII", frames.MAGIC, 18, 5, 10), "cannot have 5 fields", id="no room for the lengths"
        ),
        pytest.param(
            struct.pack("<BBII", frames.MAGIC, 18, 200_000, 1 << 29), "cannot have 200000 fields", id="too many fields"
        ),
        pytest.param(
            struct.pack("<BBIII", frames.MAGIC, 18, 1, 5, 7) + b"x", "do not add up", id="lengths that do not fit"
        ),
    ],
)
def test_a_bad_head_is_refused_at_once(head: bytes, words: str) -> None:
    decoder = Decoder()
    with pytest.raises(FrameError, match=words):
        decoder.feed(head)
    with pytest.raises(FrameError, match=words):
        decoder.feed(b"")


def test_a_frame_above_the_limit_is_not_sent() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return frames.MAX_FRAME_BYTES

    left, right = socket.socketpair()
    with left, right:
        with pytest.raises(FrameError, match="above the limit"):
            send(left, Kind.OUTCOME, [Huge()])
        left.close()
        assert receive(right, Decoder()) is None
    with pytest.raises(FrameError, match="100001 fields"):
        encode(Kind.JOB, [b""] * 100_001)


def test_large_fields_are_not_copied_on_their_way_out() -> None:
    large = bytes(frames.LARGE)
    parts = pieces(Kind.JOB, [b"a", b"b", large, b"c"])
    assert len(parts) == 3
    assert parts[1] is large
    assert b"".join(parts) == encode(Kind.JOB, [b"a", b"b", large, b"c"])


def test_a_field_of_200_mb_passes_a_socket_in_linear_time() -> None:
    left, right = socket.socketpair()
    large = bytes(200_000_000)
    began = time.monotonic()
    with left, right:
        writer = threading.Thread(target=send, args=(left, Kind.OUTCOME, [b"small", large, b"end"]))
        writer.start()
        decoder, got = Decoder(), list[Frame]()
        while not got:
            received = receive(right, decoder)
            assert received is not None
            got += received
        writer.join()
    assert got[0].fields[0] == b"small"
    assert got[0].fields[1] == large
    assert got[0].fields[2] == b"end"
    assert time.monotonic() - began < 20  # about 0.3 s on an idle machine; a copy per read would take minutes


def test_a_non_blocking_writer_never_waits_for_a_reader_that_sleeps() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        outgoing = Outgoing()
        outgoing.push(pieces(Kind.JOB, [b"x" * 3_000_000]))
        outgoing.push(pieces(Kind.LEAVE))
        assert outgoing.flush(left) is False
        decoder, got = Decoder(), list[Frame]()
        while len(got) < 2:
            received, ended = receive_all(right, decoder)
            got += received
            assert not ended
            outgoing.flush(left)
        assert not outgoing
        assert [frame.kind for frame in got] == [Kind.JOB, Kind.LEAVE]
        right.close()
        outgoing.push(pieces(Kind.LEAVE))
        with pytest.raises(OSError):
            outgoing.flush(left)


def test_the_end_of_a_stream_in_the_middle_of_a_frame_shows() -> None:
    left, right = socket.socketpair()
    with right:
        with left:
            left.sendall(encode(Kind.OUTCOME, [b"a" * 100])[:50])
        decoder = Decoder()
        assert receive(right, decoder) == []
        assert receive(right, decoder) is None
        assert decoder.midway


@pytest.mark.parametrize(
    "order",
    [
        Order("j", "e" * 32, "high", "w", 180.0, {b"data": b"\x00\xff", b"meta": b""}),
        Order("j", "", "ünï", "", None, {}, Mode.FAILURE_CALLBACK, "oom", "SIGKILL, out of memory"),
    ],
)
def test_an_order_is_read_as_it_was_written(order: Order) -> None:
    assert read_order(order_fields(order)) == order


def test_large_values_of_an_order_are_fields_of_their_own() -> None:
    values = {b"data": bytes(frames.LARGE), b"status": b"started", b"meta": b"m" * frames.LARGE, b"origin": b""}
    order = Order("j", "e", "q", "w", 1.5, values)
    fields = order_fields(order)
    assert fields[1:] == [values[b"data"], values[b"meta"]]
    assert len(fields[0]) < 200
    assert read_order(fields) == order


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="nothing"),
        pytest.param([b""], id="an empty one"),
        pytest.param([marshal.dumps(("j", "e", "q"))], id="too few"),
        pytest.param([marshal.dumps(7)], id="no tuple"),
        pytest.param([marshal.dumps(("j", "e", "q", "w", None, {}, "play", "", ""))], id="an unknown mode"),
        pytest.param([marshal.dumps(("j", "e", "q", "w", None, {b"data": 1}, "perform", "", "")), b"x"], id="no value"),
    ],
)
def test_a_spoilt_order_is_refused(fields: list[bytes]) -> None:
    with pytest.raises(FrameError, match="JOB"):
        read_order(fields)


@pytest.mark.parametrize("timeout", [0, -1, None])
def test_no_timeout_has_three_spellings(timeout: float | None) -> None:
    assert read_order(order_fields(Order("j", "e", "q", "w", timeout, {}))).timeout_s is None


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(
            "finished", 1.5, 2.25, "f", "42", maxrss_kib=7, has_result=True, leaving=True, result=b"\x80", metrics=b"{}"
        ),
        Outcome("failed", 1.0, 2.0, "f", exc_type="builtins.ValueError", note="n", exc_string="Traceback: ü"),
        Outcome("retry", 1.0, 2.0, "f", retry=RetryWish(3, True, (1, 60)), has_result=True, result=b"r"),
        Outcome("retry", 1.0, 2.0, "f", retry=RetryWish(3, False, ())),
    ],
)
def test_an_outcome_is_read_as_it_was_written(outcome: Outcome) -> None:
    assert read_outcome(outcome_fields(outcome)) == outcome


def test_text_that_is_no_unicode_is_escaped_not_refused() -> None:
    outcome = Outcome("failed", 1.0, 2.0, exc_string="bad \udcff name", result_repr="\ud800")
    read = read_outcome(outcome_fields(outcome))
    assert (read.exc_string, read.result_repr) == ("bad \\udcff name", "\\ud800")


@pytest.mark.parametrize(
    "spoilt",
    [
        (0, b"exploded"),
        (5, struct.pack("<ddQBB", float("nan"), 2.0, 1, 0, 0)),
        (5, struct.pack("<ddQBB", 1.0, float("inf"), 1, 0, 0)),
        (5, struct.pack("<ddQBB", 1e300, 2.0, 1, 0, 0)),
        (5, struct.pack("<ddQBB", -1.0, 2.0, 1, 0, 0)),
        (5, b"yesterday"),
        (5, b"9" * 5000),
        (6, b"1"),
        (6, b"x 1 2"),
    ],
)
def test_a_spoilt_outcome_is_refused(spoilt: tuple[int, bytes]) -> None:
    fields = outcome_fields(Outcome("finished", 1.0, 2.0))
    fields[spoilt[0]] = spoilt[1]
    with pytest.raises(FrameError, match="OUTCOME"):
        read_outcome(fields)
