"""Workers: birth, sign of life, retirement, death, and commands to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from rqk.core import keys
from rqk.core.codec import decode_worker, encode_worker, pairs
from rqk.core.commands import Command, encode
from rqk.core.records import WorkerRecord
from rqk.core.times import to_date, to_epoch
from rqk.errors import DuplicateWorkerError
from rqk.store import scripts
from rqk.store.connect import Client, Executor, talk


@dataclass(frozen=True, slots=True)
class Namesake:
    """The live worker that has the name already."""

    hostname: str
    pid: str
    address: str
    last_heartbeat: str


def birth(executor: Executor, worker: WorkerRecord, ttl_s: int, *, take_over: bool = False) -> Namesake | None:
    """Register a worker; None when done, else who has the name."""
    reply = scripts.run(
        executor,
        "birth",
        worker.name,
        ttl_s,
        "1" if take_over else "",
        *scripts.counted(list(worker.queues)),
        *scripts.flat(encode_worker(worker)),
    )
    return None if reply[0] == 1 else Namesake(*(item.decode() for item in reply[1:5]))


def duplicate(name: str, other: Namesake) -> DuplicateWorkerError:
    """The error for a name that is taken, in RQ's words and then ours."""
    return DuplicateWorkerError(
        f"There exists an active worker named {name!r} already (host {other.hostname}, process {other.pid}, last heard of {other.last_heartbeat}); "
        "choose another --name, or wait until it is forgotten"
    )


def death(executor: Executor, name: str, queues: Sequence[str], now: datetime) -> None:
    """Unregister a worker."""
    scripts.run(executor, "death", name, to_date(now), *scripts.counted(list(queues)))


class Tally(NamedTuple):
    """What a worker has done since it last told Redis. It tells when it has nothing to do, and at each sign of life."""

    successes: int = 0
    failures: int = 0
    working_s: float = 0.0

    def texts(self) -> tuple[int, int, str]:
        """As scripts read it."""
        return self.successes, self.failures, f"{self.working_s:.6f}"

    def plus(self, counter: str, seconds: float) -> Tally:
        """With one more attempt."""
        done, failed, worked = self
        return Tally(
            done + (counter == _SUCCESS), failed + (counter == _FAILURE), worked + (seconds if counter else 0.0)
        )

    def and_also(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(self.successes + other.successes, self.failures + other.failures, self.working_s + other.working_s)


_SUCCESS, _FAILURE = "successful_job_count", "failed_job_count"


_RETIRED: Mapping[int, Literal["retiring", "busy", "gone", "ahead"]] = {
    1: "retiring",
    0: "busy",
    -1: "gone",
    -2: "ahead",
}


@dataclass(frozen=True, slots=True)
class Running:
    """The attempt a worker is at."""

    job_id: str
    execution_id: str
    queue: str
    working_s: float


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a sign of life was answered with."""

    registered: bool
    lease: Literal["held", "lost", "none"]
    retiring: bool
    suspended: bool
    job_exists: bool


def beat(
    executor: Executor,
    name: str,
    state: str,
    now: datetime,
    *,
    ttl_s: int,
    lease_s: int,
    running: Running | None,
    tally: Tally = Tally(),  # noqa: B008 - an immutable value
) -> Pulse:
    """Tell that a worker lives and what it has done, and renew the lease of what it runs."""
    job = (
        (running.job_id, running.execution_id, running.queue, f"{running.working_s:.3f}")
        if running
        else ("", "", "", "")
    )
    known, held, retiring, suspended, exists = scripts.run(
        executor, "beat", name, to_date(now), repr(to_epoch(now)), ttl_s, state, lease_s, *tally.texts(), *job
    )
    return Pulse(
        bool(known),
        "held" if held == 1 else "lost" if held == 0 else "none",
        bool(retiring),
        bool(suspended),
        bool(exists),
    )


def retire(executor: Executor, name: str, *, ahead_s: int = 0) -> Literal["retiring", "busy", "gone", "ahead"]:
    """Ask a worker to take no more jobs, only if it holds none.

    With ``ahead_s``, one that has not come yet is asked too: if it comes within that time, it takes none from the start.
    So does one that comes in the place of one whose record is still there.
    """
    code = scripts.run(executor, "retire", name, "1", ahead_s)
    return _RETIRED[code]


def unretire(executor: Executor, name: str) -> bool:
    """Take a retirement back; False if there is no such worker."""
    return bool(scripts.run(executor, "retire", name, "0", 0) == 1)


def mark(executor: Executor, name: str, field: str, value: str) -> None:
    """Set one field of a worker hash that exists."""
    if executor.execute_command("HEXISTS", keys.worker(name), "birth"):
        executor.execute_command("HSET", keys.worker(name), field, value)


def fetch(executor: Executor, name: str) -> WorkerRecord | None:
    """One worker; None if it is not registered."""
    raw = executor.execute_command("HGETALL", keys.worker(name))
    fields = raw if isinstance(raw, dict) else pairs(raw)
    return decode_worker(name, fields) if fields else None


def names(executor: Executor, queue: str | None = None) -> list[str]:
    """Names of registered workers, of one queue or of all, sorted; what is no worker's key counts as nothing."""
    found = executor.execute_command("SMEMBERS", keys.queue_workers(queue) if queue else keys.WORKERS)
    return sorted(name for name in map(_name, found) if name is not None)


def _name(key: bytes) -> str | None:
    try:
        return keys.worker_name(key.decode())
    except ValueError:
        return None


def send(client: Client, worker: str, command: Command) -> int:
    """Publish a command; returns how many heard it (0: nobody, it is lost)."""
    with talk(client) as asked:
        return int(asked.publish(keys.pubsub(worker), encode(command)))
