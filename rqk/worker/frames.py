"""Frames: how supervisor, zygote and horses talk over their socket pairs. What the frames mean is in messages.py.

A frame is a kind and a list of byte fields. On the wire (little endian, no padding)::

    magic u8 = 0xF7 | kind u8 | number of fields u32 | length of the rest u32 | one u32 length per field | the fields

The lengths stand together in front of the fields so that one ``struct`` call writes or reads them all. Nothing that a
horse sends is ever unpickled: it runs user code and may send anything, so a reader answers every oddity with
FrameError and nothing else.
"""

from __future__ import annotations

import _socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from rqk.errors import RqkError

MAGIC = 0xF7
MAX_FRAME_BYTES = 1 << 30  # Redis refuses values above 512 MB; a job hash may carry two large fields (data and meta)
MAX_FIELDS = 100_000  # a job hash has about forty; more than this is garbage, and tuples of that size cost memory
LARGE = 1 << 16  # a field from this size on is written on its own instead of being copied into one buffer

_HEAD = struct.Struct("<BBII")
HEAD_BYTES = _HEAD.size
# The class in C that Python's own is made of, which is more for each fork to copy.
PlainSocket = _socket.socket
_SMALL_READ = 1 << 15  # a larger buffer would be mapped and unmapped by malloc at each read
_LARGE_READ = 1 << 18


class FrameError(RqkError):
    """The other process sent bytes that are not a frame, or a frame is too large to be sent."""


class Kind(IntEnum):
    """What a frame says; messages.py has the fields of each."""

    FORK = 1  # supervisor -> zygote, as SETTINGS and IMPORT
    READY = 2  # zygote -> supervisor, from here to FORK_FAILED
    FORKED = 3
    EXITED = 4
    FORK_FAILED = 5
    SETTINGS = 6
    IMPORT = 7
    JOB = 16  # supervisor -> horse
    LEAVE = 17
    OUTCOME = 18  # horse -> supervisor


_KINDS = {int(kind): kind for kind in Kind}


class Frame(NamedTuple):
    """One message between two processes."""

    kind: Kind
    fields: list[bytes]


def _head(kind: Kind, fields: Sequence[bytes]) -> tuple[bytes, int]:
    """The frame up to its fields, and how many bytes follow its first HEAD_BYTES."""
    sizes = list(map(len, fields))
    count = len(sizes)
    rest = sum(sizes) + 4 * count
    if rest > MAX_FRAME_BYTES:
        raise FrameError(f"a {kind.name} frame of {rest} bytes is above the limit of {MAX_FRAME_BYTES} bytes")
    if count > MAX_FIELDS:
        raise FrameError(f"a {kind.name} frame with {count} fields is above the limit of {MAX_FIELDS} fields")
    return struct.pack(f"<BBII{count}I", MAGIC, kind, count, rest, *sizes), rest


def rest_of(head: bytes) -> int:
    """How many bytes follow the first HEAD_BYTES of a frame."""
    return int(_HEAD.unpack(head)[3])


def encode(kind: Kind, fields: Sequence[bytes] = ()) -> bytes:
    """Return a frame as one piece of bytes. Raises FrameError above MAX_FRAME_BYTES or MAX_FIELDS."""
    return b"".join((_head(kind, fields)[0], *fields))


def pieces(kind: Kind, fields: Sequence[bytes] = ()) -> list[bytes]:
    """Return a frame as few pieces, without copying its large fields. Raises FrameError as encode does."""
    head, rest = _head(kind, fields)
    if rest < LARGE:
        return [b"".join((head, *fields))]
    done: list[bytes] = []
    small = [head]
    for field in fields:
        if len(field) < LARGE:
            small.append(field)
        else:
            done += (b"".join(small), field)
            small = []
    if small:
        done.append(b"".join(small))
    return done


def send(sock: PlainSocket, kind: Kind, fields: Sequence[bytes] = ()) -> None:
    """Write one frame to a blocking socket, whole.

    Raises FrameError for a frame above the limits (nothing was written then), OSError when the other side is gone.
    """
    for piece in pieces(kind, fields):
        sock.sendall(piece)


class Outgoing:
    """Frames on their way into a non-blocking socket, for a supervisor that must not wait for a stopped or stuck
    horse.
    """

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: deque[memoryview] = deque()

    def __bool__(self) -> bool:
        """Whether something still waits to be written."""
        return bool(self._queue)

    def push(self, frame: Iterable[bytes]) -> None:
        """Line a frame up, which pieces() has made."""
        self._queue.extend(map(memoryview, frame))

    def flush(self, sock: PlainSocket) -> bool:
        """Write what the socket takes now; return True when nothing is left. Raises OSError when the other side is
        gone.
        """
        queue = self._queue
        while queue:
            try:
                sent = sock.send(queue[0])
            except (BlockingIOError, InterruptedError):
                return False
            if sent == len(queue[0]):
                queue.popleft()
            else:
                queue[0] = queue[0][sent:]
        return True


class Decoder:
    """Turns a stream of bytes back into frames; never reads, never blocks.

    After the first FrameError the stream has no known frame boundary any more, so every later feed raises FrameError
    too.
    """

    __slots__ = ("_broken", "_buffer", "_max", "_need")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._need = _HEAD.size  # bytes that must be in the buffer before looking again is worth while
        self._max = max_frame_bytes
        self._broken = ""

    @property
    def midway(self) -> bool:
        """Whether a frame has begun and is not complete; at the end of a stream that means it was cut off."""
        return bool(self._buffer)

    @property
    def missing(self) -> int:
        """How many bytes the frame in progress still lacks, as far as known."""
        return max(0, self._need - len(self._buffer))

    def feed(self, data: bytes) -> list[Frame]:
        """Take more bytes and return the frames that they complete. Raises FrameError for what is not a frame."""
        if self._broken:
            raise FrameError(self._broken)
        try:
            return self._feed(data)
        except FrameError as error:
            self._broken = str(error)
            self._buffer = bytearray()
            raise

    def _feed(self, data: bytes) -> list[Frame]:
        if not self._buffer:  # the usual case: whole frames in one read, so fields are cut from it
            frames, used = self._take(data)
            if used < len(data):
                self._buffer = bytearray(data[used:] if used else data)
            return frames
        self._buffer += data
        if len(self._buffer) < self._need:  # a large frame is looked at once, when it is there, not at each read
            return []
        with memoryview(self._buffer) as view:
            frames, used = self._take(view)
        if used == len(self._buffer):
            self._buffer = bytearray()  # gives a large buffer back to the system
        else:
            del self._buffer[:used]
        return frames

    def _take(self, source: bytes | memoryview) -> tuple[list[Frame], int]:
        frames: list[Frame] = []
        size, at = len(source), 0
        while size - at >= _HEAD.size:
            magic, kind, count, rest = _HEAD.unpack_from(source, at)
            if magic != MAGIC or kind not in _KINDS:
                raise FrameError(f"not a frame: it starts with {bytes(source[at : at + 16])!r}")
            if rest > self._max:
                raise FrameError(f"a {_KINDS[kind].name} frame of {rest} bytes is above the limit of {self._max} bytes")
            if count > MAX_FIELDS or 4 * count > rest:
                raise FrameError(f"a {_KINDS[kind].name} frame of {rest} bytes cannot have {count} fields")
            end = at + _HEAD.size + rest
            if end > size:
                self._need = end - at
                return frames, at
            sizes = struct.unpack_from(f"<{count}I", source, at + _HEAD.size)
            if sum(sizes) + 4 * count != rest:
                raise FrameError(f"the field lengths of a {_KINDS[kind].name} frame do not add up to its {rest} bytes")
            at += _HEAD.size + 4 * count
            fields: list[bytes] = []
            for length in sizes:
                field = source[at : at + length]
                fields.append(field if isinstance(field, bytes) else bytes(field))  # of a view the one copy there is
                at += length
            frames.append(Frame(_KINDS[kind], fields))
        self._need = _HEAD.size
        return frames, at


def receive(sock: PlainSocket, decoder: Decoder) -> list[Frame] | None:
    """Read once from a socket: complete frames (maybe none), or None when the other side is gone.

    On a non-blocking socket with nothing to read it returns an empty list. Raises FrameError for bytes that are no
    frame.
    """
    try:
        data = sock.recv(_LARGE_READ if decoder.midway and decoder.missing > _SMALL_READ else _SMALL_READ)
    except (BlockingIOError, InterruptedError):
        return []
    except ConnectionError:
        return None
    return decoder.feed(data) if data else None


def receive_all(sock: PlainSocket, decoder: Decoder) -> tuple[list[Frame], bool]:
    """Read a non-blocking socket until it is empty or at its end: the frames, and whether the end was reached.

    For the moment after a horse's EXITED: what it wrote before it died is still in the socket and counts.
    Raises FrameError for bytes that are no frame.
    """
    frames: list[Frame] = []
    while True:
        try:
            data = sock.recv(_LARGE_READ)
        except InterruptedError:
            continue
        except BlockingIOError:
            return frames, False
        except ConnectionError:
            return frames, True
        if not data:
            return frames, True
        frames += decoder.feed(data)


def text_fields(values: Iterable[str]) -> list[bytes]:
    """Return texts as fields. Lone surrogates, which file names and broken input bring along, are escaped, not
    refused.
    """
    return [value.encode("utf-8", "backslashreplace") for value in values]
