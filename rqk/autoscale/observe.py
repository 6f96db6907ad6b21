"""From a snapshot of Redis to what is known about one pool. Pure: the snapshot was read before, for all pools at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from rqk.autoscale.retire import Duty
from rqk.autoscale.seen import Counter, Observation, QueueSeen, WorkersSeen

if TYPE_CHECKING:
    from rqk.autoscale.model import PoolSpec
    from rqk.store.snapshot import Snapshot, WorkerSnapshot


def observe(
    spec: PoolSpec,
    snapshot: Snapshot | None,
    *,
    replicas: int,
    mine: Callable[[WorkerSnapshot], bool],
    crowd: Iterable[WorkerSnapshot] | None = None,
) -> Observation:
    """What ``snapshot`` says about a pool whose size is ``replicas``; ``None``: its Redis did not answer.

    ``mine`` tells the pool's own workers: those with a living process or pod that is not on its way out. It is asked
    about workers that listen to the pool's queues. ``crowd`` holds all of these, and fewer others than the snapshot.
    """
    if snapshot is None:
        return Observation(replicas, tuple(QueueSeen(name, None) for name in spec.queues), None)
    queues = frozenset(spec.queues)
    serving = [
        worker for worker in (snapshot.workers if crowd is None else crowd) if not queues.isdisjoint(worker.queues)
    ]
    return Observation(
        replicas,
        tuple(_queue(name, snapshot, with_due=spec.worker.with_scheduler) for name in spec.queues),
        _workers([worker for worker in serving if mine(worker)], replicas),
        abandoned=_abandoned(spec.queues, snapshot, serving),
        suspended=snapshot.suspended,
    )


def duty(worker: WorkerSnapshot) -> Duty:
    """What a worker is doing, as its record says."""
    if worker.executions or worker.current_job or worker.state == "busy":
        return Duty.BUSY
    if worker.retiring:
        return Duty.RETIRING
    return Duty.STARTING if worker.state == "started" else Duty.IDLE


def _queue(name: str, snapshot: Snapshot, *, with_due: bool) -> QueueSeen:
    queue = snapshot.queues.get(name)
    if queue is None or name in snapshot.unreadable:
        return QueueSeen(name, None)
    # A job on its way from the list to a worker, or back to the list, waits as well.
    waiting = queue.queued + queue.intermediate + queue.ready
    return QueueSeen(name, waiting, due=queue.due if with_due else 0, oldest_wait=queue.oldest_wait)


def _workers(crew: list[WorkerSnapshot], replicas: int) -> WorkersSeen:
    duties = [duty(worker) for worker in crew]
    idle, busy = duties.count(Duty.IDLE), duties.count(Duty.BUSY)
    return WorkersSeen(
        idle=idle,
        busy=busy,
        starting=max(0, replicas - idle - busy),
        retiring=duties.count(Duty.RETIRING),
        counters=tuple(Counter(worker.name, worker.successful + worker.failed, worker.working_time) for worker in crew),
    )


def _abandoned(queues: tuple[str, ...], snapshot: Snapshot, serving: list[WorkerSnapshot]) -> int:
    """Started jobs of these queues, less those that a worker says it runs, whoever's it is."""
    started = sum(snapshot.queues[name].started for name in queues if name in snapshot.queues)
    if started == 0:
        return 0
    held = sum(max(worker.executions, 1) for worker in serving if duty(worker) is Duty.BUSY)
    return max(0, started - held)
