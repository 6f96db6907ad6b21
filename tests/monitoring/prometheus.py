"""A real Prometheus for tests: found on the path, or unpacked from Debian's package into the user's cache.

Nothing is installed: no service, no user, nothing outside the cache.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pytest
import yaml

from tests.support.processes import tied_to_us
from tests.support.server import free_port
from tests.support.waiting import wait_until

START_SECONDS = 30.0
_DOWNLOAD_SECONDS = 300


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rqk"


@cache
def program(name: str) -> Path:
    """``prometheus`` or ``promtool``. Skips the test where neither the path nor Debian's archive has it."""
    if found := shutil.which(name):
        return Path(found)
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        pytest.skip(f"{name} is not on the path, and without apt-get it cannot be had from Debian")
    home = _cache()
    home.mkdir(parents=True, exist_ok=True)
    with (home / "prometheus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unpacked = sorted(home.glob("prometheus-*/usr/bin/promtool"))
        root = unpacked[-1].parents[2] if unpacked else _unpack(home)
    return root / "usr" / "bin" / name


def _unpack(home: Path) -> Path:
    """Fetch the package with apt-get and unpack it, scripts and all left alone."""
    with tempfile.TemporaryDirectory(dir=home) as temporary:
        fetched = _run(["apt-get", "download", "prometheus"], temporary)
        if fetched.returncode:  # a machine whose package lists were never read
            _run(["apt-get", "update"], temporary)
            fetched = _run(["apt-get", "download", "prometheus"], temporary)
        packages = list(Path(temporary).glob("prometheus_*.deb"))
        if not packages:
            pytest.skip(f"no prometheus from Debian: {fetched.stderr[-500:]}")
        version = packages[0].name.split("_")[1].replace("%2b", "+")
        done = _run(["dpkg", "-x", packages[0].name, "unpacked"], temporary)
        assert done.returncode == 0, done.stderr
        target = home / f"prometheus-{version}"
        (Path(temporary) / "unpacked").rename(target)
        return target


def _run(command: list[str], directory: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False
    )


def promtool(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool and return what it said."""
    return subprocess.run(
        [str(program("promtool")), *words], capture_output=True, text=True, timeout=120, check=False, cwd=cwd
    )


class Series(NamedTuple):
    """One series of an answer: its labels, and (time, value) pairs; an instant query gives one pair."""

    labels: dict[str, str]
    values: list[tuple[float, float]]


class QueryRefused(Exception):
    """Prometheus does not take the query; the text is its own."""


class Prometheus:
    """One Prometheus process on a loopback port, with these scrape jobs and rule files."""

    def __init__(self, scrapes: Sequence[Mapping[str, Any]], rules: Sequence[Path], *, interval: str = "1s") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rqk-prometheus-"))
        self.port = free_port()
        self.log = self.directory / "log"
        config = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(rule) for rule in rules],
            "scrape_configs": [dict(scrape) for scrape in scrapes],
        }
        (self.directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [
            str(program("prometheus")),
            f"--config.file={self.directory / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                tied_to_us(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        wait_until(self._ready, START_SECONDS, "Prometheus to be ready", every=0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove its data."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def url(self) -> str:
        """Where its HTTP API is."""
        return f"http://127.0.0.1:{self.port}"

    def query(self, expr: str, at: float | None = None) -> list[Series]:
        """The value of an expression at an instant (seconds since 1970; now if left out)."""
        answer = self._ask("query", {"query": expr, **({} if at is None else {"time": f"{at:.3f}"})})
        if answer["resultType"] in ("scalar", "string"):
            return [Series({}, [_pair(answer["result"])])]
        return [Series(each["metric"], [_pair(each["value"])]) for each in answer["result"]]

    def query_range(self, expr: str, start: float, end: float, step: float = 1.0) -> list[Series]:
        """The values of an expression from start to end."""
        words = {"query": expr, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        return [
            Series(each["metric"], [_pair(pair) for pair in each["values"]])
            for each in self._ask("query_range", words)["result"]
        ]

    def value(self, expr: str) -> float | None:
        """The one value of an expression now; None if it has none."""
        found = self.query(expr)
        assert len(found) <= 1, f"{expr} has {len(found)} series"
        return found[0].values[0][1] if found else None

    def rules(self) -> list[dict[str, Any]]:
        """Every rule that was loaded, with its health and its alerts."""
        return [rule for group in self._ask("rules", {})["groups"] for rule in group["rules"]]

    def _ready(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"prometheus ended with {code}:\n{self.log.read_text()[-3000:]}"
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def _ask(self, path: str, words: Mapping[str, str]) -> Any:
        request = urllib.request.Request(
            f"{self.url}/api/v1/{path}",
            data=urllib.parse.urlencode(words).encode() if words else None,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise QueryRefused(f"{words.get('query', path)}: {error.read().decode()}") from error


def _pair(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
