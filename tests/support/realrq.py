"""The real ``rq`` as a black box: its client, its workers and its command line, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.processes import tied_to_us
from tests.support.venvs import venv_python
from tests.support.workers import ROOT, ProcessWithLog, user_environment

# What each version itself says of the client library (docs/protocol.md); pip takes the newest that fits.
REQUIREMENTS = {
    "3.0.0": ("rq==3.0.0", "redis>=5.0.1"),
    "2.12.0": ("rq==2.12.0", "redis>=5.0.1,!=6.*"),
}
EXPORTER = ("rq-exporter==3.1.0",)
VERSIONS = tuple(REQUIREMENTS)


class RealRqError(AssertionError):
    """Real RQ raised something that the test did not expect."""


def rq_python(version: str) -> Path:
    """The interpreter of an environment that holds this version of RQ."""
    return venv_python(f"rq-{version}", *REQUIREMENTS[version])


class RealRq:
    """One version of RQ beside a Redis.

    ``run`` executes code written against RQ's public interface and returns what the code leaves in ``result``. The
    usual steps have methods of their own.
    """

    def __init__(self, version: str, url: str) -> None:
        self.version = version
        self.url = url
        self.python = rq_python(version)
        self._driver = subprocess.Popen(
            tied_to_us([str(self.python), str(ROOT / "tests" / "support" / "rq_driver.py"), url]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=user_environment(),
            cwd=ROOT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the driver."""
        if self._driver.stdin is not None:
            self._driver.stdin.close()
        try:
            self._driver.wait(5)
        except subprocess.TimeoutExpired:
            self._driver.kill()
            self._driver.wait()

    @property
    def is_3(self) -> bool:
        """Whether this is the 3.0 line."""
        return self.version.startswith("3.")

    def run(self, code: str, **values: Any) -> Any:
        """Execute code with these values in its scope and return its ``result``, which must fit into JSON."""
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps({"code": code, "values": values}) + "\n")
        self._driver.stdin.flush()
        line = self._driver.stdout.readline()
        if not line:
            raise RealRqError(f"the driver of rq {self.version} ended with {self._driver.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RealRqError(f"rq {self.version}: {answer['error']}\n{answer['trace']}")
        return answer["result"]

    def enqueue(
        self,
        function: str,
        *args: Any,
        queue: str = "default",
        serializer: str | None = None,
        options: str = "",
        **kwargs: Any,
    ) -> str:
        """Enqueue a function by its dotted name and return the job id; ``options`` is Python for further keywords."""
        code = (
            "queue = Queue(queue_name, connection=connection, serializer=serializer)\n"
            f"result = queue.enqueue(function, args=args, kwargs=kwargs, {options}).id"
        )
        return str(
            self.run(code, function=function, args=list(args), kwargs=kwargs, queue_name=queue, serializer=serializer)
        )

    def job(self, job_id: str, serializer: str | None = None) -> dict[str, Any]:
        """What RQ's client sees of a job."""
        return dict(
            self.run(
                "job = Job.fetch(job_id, connection=connection, serializer=serializer)\n"
                "latest = job.latest_result()\n"
                "result = dict(status=str(job.get_status().value), value=job.return_value(), origin=job.origin,\n"
                "    description=job.description, worker=job.worker_name, meta=job.meta, timeout=job.timeout,\n"
                "    result_ttl=job.result_ttl, failure_ttl=job.failure_ttl, retries_left=job.retries_left,\n"
                "    repeats_left=job.repeats_left, started=str(job.started_at or ''), ended=str(job.ended_at or ''),\n"
                "    func_name=job.func_name, args=list(job.args), kwargs=job.kwargs, group=job.group_id,\n"
                "    results=len(job.results()), executions=len(job.get_executions()),\n"
                "    kind=latest.type.name if latest else None, exc=latest.exc_string if latest else None)",
                job_id=job_id,
                serializer=serializer,
            )
        )

    def status(self, job_id: str) -> str:
        """A job's status."""
        return str(self.run("result = Job.fetch(job_id, connection=connection).get_status().value", job_id=job_id))

    def registry(self, name: str, queue: str = "default") -> list[str]:
        """The job ids of one registry, read without cleaning it."""
        return list(
            self.run(
                f"result = {name}JobRegistry(queue_name, connection=connection).get_job_ids(cleanup=False)",
                queue_name=queue,
            )
        )

    def command(self, *words: str) -> list[str]:
        """The command line of ``rq`` in this environment."""
        return [str(self.python.parent / "rq"), *words]

    def cli(self, *words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run ``rq`` with these words and ``--url`` to its end."""
        return subprocess.run(
            [*self.command(*words), "--url", self.url],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=user_environment(),
            cwd=ROOT,
            check=False,
        )

    def burst(self, *queues: str, options: Sequence[str] = ()) -> str:
        """Run one of RQ's workers until its queues are empty, and return what it said."""
        done = self.cli("worker", "--burst", *options, *(queues or ("default",)))
        if done.returncode:
            raise RealRqError(f"rq worker --burst ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def worker(self, log: Path, *queues: str, options: Sequence[str] = ()) -> ProcessWithLog:
        """Start one of RQ's workers and wait until it listens; the caller closes it."""
        worker = ProcessWithLog(self.command("worker", "--url", self.url, *options, *(queues or ("default",))), log)
        worker.wait_for_log("Listening on")
        return worker
