"""Any order of steps by several workers, producers and janitors: every job in exactly one place, every outcome once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import redis as redis_py
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from rqk.core import keys, moves
from rqk.core.codec import decode_job
from rqk.core.moves import Policy
from rqk.core.states import JobStatus
from rqk.store import leases, registries, transitions
from rqk.store.transitions import Claimed, Held, Requeued, Settled, Stored
from rqk.worker import upkeep
from tests.store.stage import WALL, FakeWorker, expire, new, put
from tests.support.examples import examples

Client = redis_py.Redis
IDS = [f"j{number}" for number in range(4)]
QUEUES = ("hi", "lo")
WORKERS = 3
STATUS_OF = {
    "queue": {"queued"},
    "intermediate": {"queued"},
    "started": {"started", "canceled"},  # a running job that is canceled is not interrupted
    "scheduled": {"scheduled"},
    "deferred": {"deferred"},
    "finished": {"finished"},
    "failed": {"failed", "stopped"},
    "canceled": {"canceled"},
}
ids = st.sampled_from(IDS)
queues = st.sampled_from(QUEUES)
workers = st.integers(0, WORKERS - 1)
policies = st.sampled_from([Policy("fail"), Policy("requeue", 2)])


@dataclass
class Open:
    """An attempt whose worker has not said yet how it ended."""

    worker: FakeWorker
    claimed: Claimed
    fenced: bool = False  # its lease is over: its word must not count
    superseded: bool = False  # its job was deleted or enqueued anew: its word must not count, lease or not


class Interleavings(RuleBasedStateMachine):
    """Each rule is one step of someone; hypothesis chooses who does what next."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client
        client.flushdb()
        self.workers = [FakeWorker(client, f"w{number}", *QUEUES) for number in range(WORKERS)]
        self.open: list[Open] = []
        self.held: list[list[Held]] = [[] for _ in range(WORKERS)]
        self.written: Counter[str] = Counter()
        self.gone: set[str] = set(IDS)  # ids without a job now

    def _supersede(self, job_id: str) -> None:
        """The id begins a new life: attempts at the former one must not count any more."""
        for one in self.open:
            one.superseded |= one.claimed.job_id == job_id

    def _members(self, key: str) -> list[bytes]:
        found: Any = self.client.lrange(key, 0, -1)
        return list(found)

    @rule(
        job_id=ids,
        queue=queues,
        place=st.sampled_from(["back", "front", "due"]),
        retries=st.integers(0, 2),
        parent=st.none() | ids,
        unique=st.booleans(),
    )
    def enqueue(self, job_id: str, queue: str, place: Any, retries: int, parent: str | None, unique: bool) -> None:
        """A producer stores a job, perhaps under an id that is in use."""
        if parent == job_id:
            return
        depends = (parent,) if parent is not None and place != "due" else ()
        status = JobStatus.SCHEDULED if place == "due" else JobStatus.QUEUED
        fields = {"retries_left": retries, "status": status}
        job = new(job_id, queue, fields=fields, place=place, due=5, depends_on=depends, unique=unique)
        if put(self.client, job)[0] is not Stored.DUPLICATE:
            self.gone.discard(job_id)
            self._supersede(job_id)

    @rule(number=workers)
    def claim(self, number: int) -> None:
        """A worker asks for a job, giving back what its blocking pops moved."""
        worker, held = self.workers[number], self.held[number]
        before = [member for queue in QUEUES for member in self._members(keys.queue(queue))]
        claimed = worker.claim(*held)
        self.held[number] = []
        if isinstance(claimed, Claimed):
            self.open.append(Open(worker, claimed))
        else:
            assert not before, "somebody waits and nobody is served"

    @rule(number=workers, queue=queues)
    def pop_blocking(self, number: int, queue: str) -> None:
        """A BLMOVE of an idle worker brings an id."""
        if any(held.queue == queue for held in self.held[number]):
            return
        moved: Any = self.client.lmove(keys.queue(queue), keys.intermediate(queue), "LEFT", "RIGHT")
        if moved is not None:
            self.held[number].append(Held(queue, moved.decode()))

    @rule(number=workers)
    def die(self, number: int) -> None:
        """A worker forgets what it holds; its name lives on."""
        self.held[number] = []

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        how=st.sampled_from(["finished", "failed", "put back", "stopped", "returned retry"]),
        go_on=st.booleans(),
    )
    def settle(self, data: st.DataObject, how: str, go_on: bool) -> None:
        """A worker says how an attempt ended, however late."""
        one = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        job, attempt = decode_job(one.claimed.job_id, one.claimed.fields), one.worker.attempt(one.claimed)
        move = {
            "finished": lambda: moves.finished(job, attempt, b"v", WALL),
            "failed": lambda: moves.failed(job, attempt, "boom", WALL),
            "put back": lambda: moves.put_back(WALL),
            "stopped": lambda: moves.stopped(job, attempt, "stop"),
            "returned retry": lambda: moves.returned_retry(
                job, attempt, b"v", WALL, most=1, intervals=(0,), at_front=True
            ),
        }[how]()
        done = one.worker.settle(one.claimed, move, one.worker.ask() if go_on else None)
        if one.superseded:
            assert done.settled is not Settled.WRITTEN, "a former life writes into the present one"
        elif one.fenced:
            assert done.settled is Settled.LEASE_LOST
        else:
            assert done.settled in (Settled.WRITTEN, Settled.CANCELED)
        self.written[one.claimed.execution_id] += done.settled is Settled.WRITTEN
        if isinstance(done.next, Claimed):
            self.open.append(Open(one.worker, done.next))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), policy=policies)
    def lease_ends(self, data: st.DataObject, policy: Policy) -> None:
        """A worker was silent for too long; a janitor judges the attempt."""
        one = data.draw(st.sampled_from(self.open))
        if one.fenced or one.superseded:
            return
        expire(self.client, one.claimed)
        lease = keys.lease(one.claimed.job_id, one.claimed.execution_id)
        assert leases.end_lease(self.client, one.claimed.queue, lease, policy, WALL) is not None
        one.fenced = True

    @rule(policy=policies)
    def janitor(self, policy: Policy) -> None:
        """A look at everything; stuck ids have no patience left."""
        upkeep.sweep(self.client, QUEUES, policy, lambda: WALL, stuck_s=0)

    @rule()
    def scheduler(self) -> None:
        """Due jobs enter their queues."""
        transitions.move_due(self.client, "s", QUEUES, WALL, lock_s=10)

    @rule(job_id=ids, release=st.booleans(), leave=st.booleans())
    def cancel(self, job_id: str, release: bool, leave: bool) -> None:
        """Somebody cancels."""
        transitions.cancel(self.client, job_id, WALL, release_dependents=release, leave_dependencies=leave)

    @rule(job_id=ids)
    def requeue(self, job_id: str) -> None:
        """Somebody requeues, from whatever registry the job is in."""
        found: Any = self.client.hmget(keys.job(job_id), "status", "origin")
        status, origin = (raw.decode() if raw else "" for raw in found)
        if status in registries.KEYS and status != "started":
            assert transitions.requeue(self.client, status, origin, job_id, WALL, at_front=True) is Requeued.DONE
            self._supersede(job_id)

    @rule(job_id=ids, dependents=st.booleans())
    def delete(self, job_id: str, dependents: bool) -> None:
        """Somebody deletes."""
        before = self._existing()
        transitions.delete(self.client, [job_id], WALL, dependents=dependents)
        self._note_gone(before)

    @rule(queue=queues)
    def empty(self, queue: str) -> None:
        """Somebody empties a queue."""
        before = self._existing()
        transitions.empty(self.client, queue)
        self._note_gone(before)

    @rule(number=workers)
    def beat(self, number: int) -> None:
        """A sign of life holds leases and revives none."""
        worker = self.workers[number]
        for one in self.open:
            if one.worker is worker and not one.superseded:
                assert worker.beat(one.claimed, "busy").lease == ("lost" if one.fenced else "held")

    def _existing(self) -> set[str]:
        return {job_id for job_id in IDS if self.client.exists(keys.job(job_id))}

    def _note_gone(self, before: set[str]) -> None:
        removed = before - self._existing()
        self.gone |= removed
        for one in self.open:
            one.superseded |= one.claimed.job_id in removed

    @invariant()
    def the_laws_hold(self) -> None:
        """Look at everything in one transaction, and check each law."""
        registry_names = ("started", "scheduled", "deferred", "finished", "failed", "canceled")
        with self.client.pipeline(transaction=True) as pipe:
            for queue in QUEUES:
                pipe.lrange(keys.queue(queue), 0, -1)
                pipe.lrange(keys.intermediate(queue), 0, -1)
                for name in registry_names:
                    pipe.zrange(registries.KEYS[name](queue), 0, -1)
            for job_id in IDS:
                pipe.hget(keys.job(job_id), "status")
                pipe.xrange(keys.results(job_id))
            answers = iter(pipe.execute())
        former = {keys.lease(one.claimed.job_id, one.claimed.execution_id) for one in self.open if one.superseded}
        found: dict[str, list[str]] = {job_id: [] for job_id in IDS}
        held: set[str] = set()
        for _ in QUEUES:
            for label in ("queue", "intermediate", *registry_names):
                for member in (text for raw in next(answers) if (text := raw.decode()) not in former):
                    found[keys.parse_lease(member)[0]].append(label)
                    held |= {member} if label == "started" else set()
        for job_id, places in found.items():
            raw, entries = next(answers), next(answers)
            self._is_in_one_place(job_id, None if raw is None else raw.decode(), places)
            told = Counter(fields[b"execution_id"] for _, fields in entries)
            assert all(count == 1 for count in told.values()), f"{job_id} has two outcomes of one attempt: {told}"
        assert all(count <= 1 for count in self.written.values())
        live = [one.claimed for one in self.open if not (one.fenced or one.superseded)]
        mine = {keys.lease(claimed.job_id, claimed.execution_id) for claimed in live}
        assert held == mine, "a lease without an attempt, or a live attempt without its lease"

    def _is_in_one_place(self, job_id: str, status: str | None, places: list[str]) -> None:
        if status is None:
            assert job_id in self.gone, f"{job_id} has vanished"
            assert not set(places) - {"intermediate"}, f"{job_id} is gone and yet in {places}"
        elif sorted(places) == ["canceled", "started"]:
            assert status == "canceled"
        else:
            assert len(places) == 1, f"{job_id} ({status}) is in {places}"
            assert status in STATUS_OF[places[0]], f"{job_id} is {status} and in {places}"

    def teardown(self) -> None:
        """Let everyone finish: what still exists must come to an end, or wait for what never will."""
        for one in self.open:
            if not one.fenced:
                expire(self.client, one.claimed)
        worker = self.workers[0]
        for _ in range(3):
            upkeep.sweep(self.client, QUEUES, Policy("requeue", 99), lambda: WALL, stuck_s=0)
            transitions.move_due(self.client, "s", QUEUES, WALL, lock_s=10)
            while isinstance(claimed := worker.claim(), Claimed):
                worker.finish(claimed)
        left = {job_id: self.client.hget(keys.job(job_id), "status") for job_id in self._existing()}
        assert set(left.values()) <= {b"finished", b"failed", b"stopped", b"canceled", b"deferred"}, left
        assert not [*self.client.scan_iter("rq:wip:*"), *self.client.scan_iter("rq:execution*")]
        assert not [*self.client.scan_iter("rq:queue:*")]


@pytest.mark.hypothesis
def test_any_order_of_steps(redis: Client) -> None:
    make: Any = lambda: Interleavings(redis)  # noqa: E731 - called as the class would be
    run_state_machine_as_test(
        make,
        settings=settings(max_examples=examples(80), stateful_step_count=40, suppress_health_check=list(HealthCheck)),
    )
