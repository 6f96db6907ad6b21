"""Worker processes of ours, started as a user starts them and always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.support.processes import is_running, tied_to_us
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0
WORKER_COMMAND = [sys.executable, "-m", "rqk", "worker"]


def user_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: ours without RQ's and rqk's settings, with the repository on the import path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RQ_", "RQK_", "REDIS_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(extra or {})}


class ProcessWithLog:
    """A child process whose output is kept in a file, for waiting on a line and for the failure message."""

    def __init__(
        self, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.command = list(command)
        self.log_path = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                tied_to_us(self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=user_environment(env),
                cwd=cwd or ROOT,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything the process has said so far."""
        return self.log_path.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def wait_for_log(self, text: str, timeout: float = START_SECONDS, times: int = 1) -> None:
        """Wait until the log holds ``text`` at least ``times`` times; a process that ends first is an error."""

        def said() -> bool:
            if self.log.count(text) >= times:
                return True
            assert self.alive, f"ended with {self.process.returncode} before saying {text!r}:\n{self.log[-4000:]}"
            return False

        try:
            wait_until(said, timeout, f"the log line {text!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log[-4000:]}") from None

    def wait(self, timeout: float = START_SECONDS) -> int:
        """Wait for the end and return the exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {timeout:g} s:\n{self.log[-4000:]}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self.process.send_signal(number)

    def descendants(self) -> list[psutil.Process]:
        """Every living process below this one."""
        try:
            found = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [process for process in found if is_running(process.pid)]

    def kill(self) -> None:
        """Kill this process at once; its descendants are left to the fate the product gives them."""
        self.process.kill()
        self.process.wait(START_SECONDS)

    def close(self) -> None:
        """End the process and all its descendants, if they still run."""
        below = self.descendants()
        if self.alive:
            self.process.kill()
        self.process.wait(START_SECONDS)
        for process in below:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


class WorkerProcess(ProcessWithLog):
    """``rqk worker`` in a process of its own: the supervisor, with zygote and horse below it."""

    def __init__(
        self,
        url: str,
        log: Path,
        *queues: str,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        command = [*WORKER_COMMAND, *queues, "--url", url, *options]
        super().__init__(command, log, env=env)

    def wait_ready(self, timeout: float = START_SECONDS) -> WorkerProcess:
        """Wait until the worker listens to its queues."""
        self.wait_for_log("Listening on", timeout)
        return self

    @property
    def zygote(self) -> psutil.Process | None:
        """The zygote: the supervisor's only child."""
        try:
            found = [child for child in psutil.Process(self.pid).children() if is_running(child.pid)]
        except psutil.NoSuchProcess:
            return None
        return found[0] if found else None

    @property
    def horses(self) -> list[psutil.Process]:
        """The zygote's children: waiting or running a job."""
        zygote = self.zygote
        if zygote is None:
            return []
        try:
            return [child for child in zygote.children() if is_running(child.pid)]
        except psutil.NoSuchProcess:
            return []

    def terminate(self, timeout: float = START_SECONDS) -> int:
        """Ask for a warm shutdown and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)
