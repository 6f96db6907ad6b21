"""The worker's presence in Redis: birth, signs of life, commands, death; and its share of the upkeep for all."""

from __future__ import annotations

import logging
import os
import platform
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from rqk import clock as clocks
from rqk.core import keys
from rqk.core.codec import pairs
from rqk.core.commands import Command
from rqk.core.records import WorkerRecord
from rqk.errors import StoreError
from rqk.store import leases, registries, results, workers
from rqk.store.channel import Channel
from rqk.store.connect import Client, talk
from rqk.store.line import Line
from rqk.store.transitions import Claimed, Refusal, Settled
from rqk.store.workers import Namesake, Pulse, Running, Tally
from rqk.version import __version__
from rqk.worker import upkeep
from rqk.worker.options import WorkerOptions

if TYPE_CHECKING:
    from rqk.worker.task import Task

log = logging.getLogger("rqk.worker")


_NOTHING = Tally()
_TELL_S = 0.25  # between writes of the counts while jobs follow each other without a pause


class Heart:
    """Says that the worker lives, and hears what it is told."""

    def __init__(self, client: Client, line: Line, options: WorkerOptions, clock: Callable[[], datetime]) -> None:
        self.client, self.line, self.options, self.clock = client, line, options, clock
        self.channel = Channel(client, options.name)
        self.is_born = False
        self.retiring = False
        self.suspended = False
        self.state = "started"
        self.beat_at = 0.0
        self.last_beat: datetime | None = None
        self.tally = _NOTHING  # what was done and not told yet
        self.tell_at = 0.0
        self._born = clock()
        self._registered_once = False

    def birth(self) -> None:
        """Register. Raises DuplicateWorkerError if a live worker has the name; one that we were ourselves is taken over."""
        record = WorkerRecord(
            name=self.options.name,
            birth=self._born,
            last_heartbeat=self.clock(),
            queues=self.options.queues,
            pid=os.getpid(),
            hostname=socket.gethostname(),
            ip_address=self._address(),
            version=__version__,
            python_version=sys.version.replace("\n", ""),
            state=self.state,
            extra=(("rqk_python", platform.python_implementation().encode()),),
        )
        ttl = self.options.worker_ttl_s
        other = workers.birth(self.line, record, ttl, take_over=self._registered_once)
        if other is not None:
            if not self._is_dead(other):
                raise workers.duplicate(self.options.name, other)
            log.info("taking the name %s over from process %s, which is gone", self.options.name, other.pid)
            self._settle_predecessor(other)
            workers.birth(self.line, record, ttl, take_over=True)
        self._registered_once = self.is_born = True
        self.beat_at = clocks.monotonic() + self.options.beat_s

    def _address(self) -> str:
        with suppress(StoreError, IndexError, ValueError):
            raw = self.line.execute_command("CLIENT", "INFO")
            text = raw.decode() if isinstance(raw, bytes) else str(raw)
            return dict(part.split("=", 1) for part in text.split() if "=" in part)["addr"]
        return "unknown"

    @staticmethod
    def _is_dead(other: Namesake) -> bool:
        """Whether the holder of our name ran on this very host (or in this very pod) and is gone."""
        if other.hostname != socket.gethostname() or not other.pid.isdigit():
            return False
        if int(other.pid) == os.getpid():
            return True  # a restarted container: same host name, same process number
        try:
            os.kill(int(other.pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def _settle_predecessor(self, other: Namesake) -> None:
        reason = f"Its worker {self.options.name} (process {other.pid}) died and was started again."
        for found in leases.end_leases_of(self.client, self.options.name, self.options.policy, self.clock(), reason):
            log.warning("job %s of the former %s: %s", found.job_id, self.options.name, found.action)

    def beat(self, running: Running | None, now: float) -> Pulse:
        """One sign of life; renews the lease of the running job."""
        state = "busy" if running is not None else "suspended" if self.suspended else self.state
        pulse = workers.beat(
            self.line,
            self.options.name,
            state,
            self.clock(),
            ttl_s=self.options.worker_ttl_s,
            lease_s=self.options.lease_s,
            running=running,
            tally=self.tally,
        )
        self.told(now)
        self.beat_at = now + self.options.beat_s
        self.last_beat = self.clock()
        self.retiring = pulse.retiring
        if not pulse.registered:
            self.is_born = False
        return pulse

    @property
    def due_at(self) -> float:
        """When the next sign of life is due; sooner if there is something to tell."""
        return min(self.beat_at, self.tell_at) if self.tally != _NOTHING else self.beat_at

    def told(self, now: float) -> None:
        """The tally is written."""
        self.tally, self.tell_at = _NOTHING, now + _TELL_S

    def say(self, state: str) -> None:
        """Remember the state; the scripts that move jobs have told Redis already."""
        self.state = state

    @property
    def leisure(self) -> str:
        """What a worker without a job is doing, for the metrics."""
        return "retiring" if self.retiring else "suspended" if self.suspended else "idle"

    def hear(self, reply: Claimed | Refusal) -> None:
        """What a claim was answered with, as far as it is about us."""
        if reply is Refusal.RETIRING:
            self.retiring = True
        elif reply is Refusal.UNKNOWN_WORKER:
            self.is_born = False  # Redis does not know us (any more): register again before the next claim

    def renew_soon(self) -> None:
        """Beat at the next chance."""
        self.beat_at = 0.0

    def lost_connection(self) -> None:
        """The command channel is to be opened anew."""
        self.channel.close()

    def listen(self) -> list[Command]:
        """Commands that have arrived."""
        if not self.channel.is_open:
            self.channel.open()
        return self.channel.read()

    def find_claimed(self, execution_id: str) -> Claimed | None:
        """The job that was started for us under an execution id, if any."""
        for lease in registries.leases_of(self.client, self.options.name):
            job_id, found = keys.parse_lease(lease)
            if found == execution_id:
                fields = pairs_of(self.client, job_id)
                if fields:
                    queue = fields.get(b"origin", b"").decode() or self.options.queues[0]
                    return Claimed(job_id, execution_id, queue, fields)
        return None

    def verified(self, task: Task, settled: Settled) -> Settled:
        """What became of an outcome: a lease lost at the second try may mean that the first one's answer got lost."""
        lost = settled is Settled.LEASE_LOST and task.tries > 1
        return Settled.WRITTEN if lost and self.was_written(task) else settled

    def was_written(self, task: Task) -> bool:
        """Whether the newest result is of this very attempt: then an unanswered write had arrived."""
        try:
            entry = results.newest(self.client, task.id)
        except ValueError:  # an entry of somebody else's making
            return False
        return entry is not None and entry[2].execution_id == task.claimed.execution_id

    def sweep(self) -> list[leases.Found]:
        """Look for jobs of dead workers, unless another worker has just done so."""
        options = self.options
        if not registries.lock(self.client, keys.JANITOR_LOCK, options.name, max(int(options.janitor_s), 1)):
            return []
        return upkeep.sweep(self.client, options.queues, options.policy, self.clock, stuck_s=options.stuck_s)

    def death(self) -> None:
        """Unregister."""
        if self._registered_once:
            workers.death(self.line, self.options.name, self.options.queues, self.clock())
        self.is_born = False


def pairs_of(client: Client, job_id: str) -> dict[bytes, bytes]:
    """A job's hash as it is."""
    with talk(client) as asked:
        raw = asked.hgetall(keys.job(job_id))
    return raw if isinstance(raw, dict) else pairs(raw)
