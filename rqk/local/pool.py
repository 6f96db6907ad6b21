"""One pool as processes: observe, decide, act, report; the same decision as the operator's."""

from __future__ import annotations

import secrets
import signal
import socket
from collections import deque
from collections.abc import Callable

from rqk.autoscale.decide import Decision, History, decide
from rqk.autoscale.model import Pool
from rqk.autoscale.observe import duty, observe
from rqk.autoscale.retire import Duty, Member, choose_victims
from rqk.errors import StoreError
from rqk.local.command import worker_command
from rqk.local.settings import worker_environment
from rqk.local.state import PoolState, QueueState, WorkerState
from rqk.local.workers import Listener, LocalWorker, start
from rqk.store import workers as worker_store
from rqk.store.connect import Client, masked
from rqk.store.snapshot import Snapshot, WorkerSnapshot

FIRST_WAIT_S = 0.5  # after a crash, before another worker is started; doubled with each further one...
LONGEST_WAIT_S = 30.0  # ...up to this
HEALTHY_S = 10.0  # a worker that lived so long did not die of being started
KILL_MARGIN_S = 15.0  # beyond its grace period, before a worker that does not go is killed
_REMEMBERED = 60  # looks


class LocalPool:
    """A pool's workers. ``embedded``: its Redis dies with us, so its workers need not finish their jobs."""

    def __init__(
        self,
        pool: Pool,
        url: str,
        client: Client,
        listener: Listener,
        note: Callable[[str], None],
        *,
        embedded: bool,
        metrics: bool = True,
    ) -> None:
        self.pool = pool
        self.url = url
        self.client = client
        self.workers: list[LocalWorker] = []
        self.crashes = 0
        self._listener = listener
        self._note = note
        self._signal_name = "KILL" if embedded else "TERM"
        self._metrics = metrics
        self._history = History()
        self._decision: Decision | None = None
        self._snapshot: Snapshot | None = None
        self._trouble: str | None = None
        self._started = 0
        self._in_a_row = 0
        self._not_before = self._failed_at = float("-inf")
        self._counted: dict[str, tuple[int, int]] = {}
        self._hostname = socket.gethostname()
        self._token = secrets.token_hex(3)
        self._sizes: deque[int] = deque(maxlen=_REMEMBERED)
        self._waiting: deque[int] = deque(maxlen=_REMEMBERED)

    @property
    def staying(self) -> list[LocalWorker]:
        """Workers that make the pool's size."""
        return [worker for worker in self.workers if not worker.leaving]

    @property
    def ended(self) -> tuple[int, int]:
        """Jobs that succeeded and that failed, of all workers there ever were."""
        done = self._counted.values()
        return sum(good for good, _ in done), sum(bad for _, bad in done)

    def tick(self, snapshot: Snapshot | None, trouble: str | None, now: float, slots: Callable[[], int]) -> None:
        """One round. ``snapshot`` is None while Redis does not answer, ``trouble`` says why; ``slots`` gives a free slot."""
        self._snapshot, self._trouble = snapshot, trouble
        self._count(snapshot)
        spec = self.pool.spec
        seen = observe(spec, snapshot, replicas=len(self.staying), mine=self._mine)
        decision, self._history = decide(spec, seen, self._history, now, paused=self.pool.paused)
        if decision.change and not spec.scaling.dry_run:
            try:
                self._act(decision, now, slots)
            except StoreError as error:  # Redis went between the look and the act; the next look says so
                self._trouble = str(error)
            except OSError as error:  # no more processes, or no memory for one
                self._back_off(now, f"a worker could not be started: {error}")
        self._decision = decision
        self._sizes.append(len(self.staying))
        self._waiting.append(seen.waiting)

    def reap(self, now: float) -> None:
        """Bury those that have ended; one that was not asked to is replaced by the next decision, after a pause."""
        for worker in [worker for worker in self.workers if worker.process.poll() is not None]:
            self.workers.remove(worker)
            self._listener.bury(worker)
            self._count_last(worker)
            if not worker.leaving:
                self._crashed(worker, now)
        # One from before the last failure shows nothing: it has been well all the while.
        if any(worker.born > self._failed_at and now - worker.born > HEALTHY_S for worker in self.staying):
            self._in_a_row = 0

    def stop(self, now: float) -> None:
        """Ask all to finish their job and go; asked again they put it back and go."""
        for worker in self.workers:
            worker.leave(now)

    def kill(self) -> None:
        for worker in self.workers:
            worker.send(signal.SIGKILL)

    def kill_overdue(self, now: float) -> None:
        """Those that were asked to leave and have had their grace period and more."""
        patience = self.pool.spec.worker.grace_seconds + KILL_MARGIN_S
        for worker in self.workers:
            if worker.leaving_since is not None and now - worker.leaving_since > patience:
                self._note(f"{worker.name} did not go within {patience:.0f} s and is killed")
                worker.send(signal.SIGKILL)

    def state(self) -> PoolState:
        """For the view."""
        decision = self._decision
        records = {worker.name: self._record(worker) for worker in self.workers}
        return PoolState(
            name=self.pool.key,
            redis=masked(self.url),
            queues=tuple(self._queue(name) for name in self.pool.spec.queues),
            workers=tuple(
                WorkerState(
                    worker.name,
                    worker.pid,
                    self._duty(worker),
                    worker.leaving,
                    record.current_job if (record := records[worker.name]) else None,
                )
                for worker in self.workers
            ),
            max_replicas=self.pool.spec.scaling.max_replicas,
            desired=decision.replicas if decision else 0,
            reason=decision.reason.value if decision else "",
            message=decision.message if decision else "",
            sizes=tuple(self._sizes),
            waiting_before=tuple(self._waiting),
            trouble=self._trouble,
            dry_run=self.pool.spec.scaling.dry_run,
        )

    def _act(self, decision: Decision, now: float, slots: Callable[[], int]) -> None:
        if decision.change > 0:
            if now < self._not_before:
                return
            self._say(decision, f"starting {decision.change}")
            for _ in range(decision.change):
                self._start(now, slots())
            return
        gone = [worker for worker in self._victims(-decision.change) if self._let_go(worker, now)]
        if gone:
            self._say(decision, f"{len(gone)} leave")

    def _say(self, decision: Decision, what: str) -> None:
        known = self._decision
        if known is None or (known.replicas, known.reason) != (decision.replicas, decision.reason):
            self._note(
                f"{self.pool.name}: {decision.before} to {decision.replicas} workers, {what}: "
                f"{decision.reason.value}, {decision.message}"
            )

    def _start(self, now: float, slot: int) -> None:
        self._started += 1
        name = f"{self.pool.name}.{self._started}.{self._token}"
        values = {variable.name: variable.value or "" for variable in self.pool.spec.worker.env}
        worker = start(
            worker_command(self.pool, name, self.url, slot, metrics=self._metrics),
            name=name,
            slot=slot,
            env=worker_environment(self.url, values),
            now=now,
            signal_name=self._signal_name,
        )
        self.workers.append(worker)
        self._listener.add(worker)

    def _victims(self, count: int) -> list[LocalWorker]:
        by_name = {worker.name: worker for worker in self.staying}
        members = [Member(worker.name, self._duty(worker), worker.born) for worker in by_name.values()]
        return [by_name[member.name] for member in choose_victims(members, count)]

    def _let_go(self, worker: LocalWorker, now: float) -> bool:
        """The handshake: it must not have taken a job meanwhile. One that is still starting only gets the signal."""
        record = self._record(worker)
        if record is not None and worker_store.retire(self.client, record.name) == "busy":
            return False
        worker.leave(now)
        return True

    def _crashed(self, worker: LocalWorker, now: float) -> None:
        self.crashes += 1
        code = worker.process.returncode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        self._back_off(now, f"worker {worker.name} ended {how} ({worker.last_words()})")

    def _back_off(self, now: float, what: str) -> None:
        self._in_a_row, self._failed_at = self._in_a_row + 1, now
        pause = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self._in_a_row - 1, 10))
        self._not_before = now + pause
        self._note(f"{what}; another may start in {pause:.1f} s")

    def _mine(self, record: WorkerSnapshot) -> bool:
        return any(self._is(worker, record) for worker in self.staying)

    def _is(self, worker: LocalWorker, record: WorkerSnapshot) -> bool:
        """By name; workers of another make choose their own, and are known by their process."""
        return record.name == worker.name or (record.pid == worker.pid and record.hostname == self._hostname)

    def _record(self, worker: LocalWorker) -> WorkerSnapshot | None:
        records = self._snapshot.workers if self._snapshot is not None else ()
        return next((record for record in records if self._is(worker, record)), None)

    def _duty(self, worker: LocalWorker) -> Duty:
        record = self._record(worker)
        return Duty.STARTING if record is None else duty(record)

    def _queue(self, name: str) -> QueueState:
        found = self._snapshot.queues.get(name) if self._snapshot is not None else None
        if found is None:
            return QueueState(name)
        waiting = found.queued + found.intermediate + found.ready
        return QueueState(name, waiting, found.started, found.finished, found.failed, found.oldest_wait)

    def _count(self, snapshot: Snapshot | None) -> None:
        for record in snapshot.workers if snapshot is not None else ():
            if any(self._is(worker, record) for worker in self.workers):
                self._counted[record.name] = (record.successful, record.failed)

    def _count_last(self, worker: LocalWorker) -> None:
        """A worker's record stays for a while after its end: the jobs it ended since the last look are in it."""
        record = self._record(worker)
        try:
            last = worker_store.fetch(self.client, record.name if record is not None else worker.name)
        except StoreError:
            return  # the figures of the last look stand
        if last is not None:
            self._counted[last.name] = (last.successful_job_count or 0, last.failed_job_count or 0)
