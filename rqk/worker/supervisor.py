"""The supervisor: the worker's one loop. It does all I/O with Redis, judges horses, and never runs or imports user code.

``step()`` waits for whatever comes first and acts on it; ``run()`` repeats it. The state is small: a task in hand or none,
waiting on blocking pops or not, a Redis that answers or the moment at which it is asked again.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from rqk import clock as clocks
from rqk.core import commands, keys, moves
from rqk.errors import StoreError
from rqk.store import transitions
from rqk.store.connect import Client
from rqk.store.line import Line
from rqk.store.transitions import Ask, Claimed, Held, Lease, Refusal, Settled, Settlement
from rqk.worker.ahead import Ahead, Owed
from rqk.worker.chores import Chores
from rqk.worker.claiming import Waiter
from rqk.worker.ending import Ending
from rqk.worker.heart import Heart
from rqk.worker.options import WorkerOptions
from rqk.worker.outage import Outage
from rqk.worker.running import Runner
from rqk.worker.signals import StopRequests
from rqk.worker.task import Task
from rqk.worker.watchers import Watchers

if TYPE_CHECKING:
    from rqk.worker.report import Report

log = logging.getLogger("rqk.worker")

_LINE_TIMEOUT_S = 5.0
_OWED_S = 0.005  # the answer about an end under way is read with the next outcome, or after so long
_NEVER = float("inf")
_PAUSE_S = 1.0  # between looks while suspended


class Supervisor:
    """One worker at work."""

    def __init__(
        self,
        client: Client,
        options: WorkerOptions,
        runner: Runner,
        report: Report,
        stop: StopRequests,
        clock: Callable[[], datetime] = clocks.now,
        monotonic: Callable[[], float] = clocks.monotonic,
    ) -> None:
        self.client, self.options, self.runner, self.report, self.stop = client, options, runner, report, stop
        self.clock, self.monotonic = clock, monotonic
        self.line = Line(client, _LINE_TIMEOUT_S)
        self.waiter = Waiter(client, options.queues)
        self.heart = Heart(client, self.line, options, clock)
        self.watchers = Watchers()
        self.queues = list(options.queues)
        self.task: Task | None = None
        self.done, self.turned_at = False, monotonic()
        self.jobs_done = 0
        self.idle_since = monotonic()
        self.outage = Outage()
        self.ahead = Ahead(options)
        self._asked: str | None = None  # execution id of a claim whose answer was lost with the connection
        self._held: list[Held] = []  # moved by blocking pops, not yet given back or started
        self._paused_until = 0.0
        self.chores = Chores(client, self.line, options, self.heart, report, clock)
        self._stop_seen = 0
        self._grace_at: float | None = None
        self._recovering = False

    # The loop
    def run(self) -> bool:
        """Work until there is a reason to leave; returns whether any job was run."""
        while not self.done:
            self.step()
        return bool(self.jobs_done)

    def step(self) -> None:
        """Wait for the next thing to happen, then do what follows from it."""
        self.watchers.wait(self._sources(), self._patience(), self.runner.writing(self.task))
        now = self.turned_at = self.monotonic()
        self._heed_stop(now)
        for event in self.runner.look(self.task, now, self.watchers.ready("runner")):
            self._ended(event)
        if now >= self.outage.again_at:
            try:
                self._talk(now)
                self._redis_is_back(now)
            except StoreError as error:
                self._redis_is_away(error, now)
        self._leave_if_done(now)

    def _sources(self) -> dict[int, str]:
        """File descriptors to wait on."""
        sources = {self.stop.reader.fileno(): "signal", **dict.fromkeys(self.runner.filenos(self.task), "runner")}
        if self.heart.channel.fileno() >= 0:
            sources[self.heart.channel.fileno()] = "channel"
        if self.waiter.waiting:
            sources |= dict.fromkeys(self.waiter.filenos(), "queue")
        return sources

    def _patience(self) -> float:
        """Seconds until something is due by the clock."""
        now = self.monotonic()
        dues = [self.heart.due_at, self.runner.due_at(self.task)]
        if self._grace_at is not None:
            dues.append(self._grace_at)
        if self.task is None and not self.waiter.waiting:
            dues.append(self._paused_until if self._can_claim() else now + _PAUSE_S)
        if self.task is not None and self.task.ending is not None:
            dues.append(now)
        dues += (self.chores.due_at, self.ahead.due_at(self.task), now + _OWED_S if self.line.is_owed else _NEVER)
        if self.options.max_idle_s is not None and self.task is None:
            dues.append(self.idle_since + self.options.max_idle_s)
        first = (
            min(dues)
            if now >= self.outage.again_at
            else max(min(self.outage.again_at, self.runner.due_at(self.task)), now)
        )
        return min(max(first - now, 0.0), 60.0)

    # What needs Redis
    def _talk(self, now: float) -> None:
        if self._recovering:
            self._recover(now)
        if not self.heart.is_born:
            self.heart.birth()
        if self.watchers.saw("channel") or not self.heart.channel.is_open:
            for command in self.heart.listen():
                self._obey(command)
        if self.line.is_owed:
            self.line.collect()
        self._held += self._popped()
        if self.task is not None and self.task.ending is not None:
            self._settle(self.task, self.task.ending, now)
        if self.stop.asked or self.heart.retiring or now >= self.ahead.due_at(self.task):
            self._return_ahead()
        if self.task is None and (self._held or self._wants_job(now)):
            self._claim(now)
        if now >= self.heart.due_at:
            self._beat(now)
        self.chores.do(now)
        if self._can_wait(now):
            self.waiter.arm()

    def _popped(self) -> list[Held]:
        """What the blocking pops have brought, after ending the other ones."""
        if not self.waiter.waiting:
            return []
        held: list[Held] = []
        answers = self.waiter.filenos()
        for fileno in self.watchers.ready("queue"):
            if fileno in answers:
                held += answers[fileno]()
        if held or self.stop.asked or self.heart.retiring:
            held += self.waiter.stop(self.line)
        return held

    def _can_claim(self) -> bool:
        return (
            self.task is None
            and not self.stop.asked
            and not self.heart.retiring
            and self.runner.can_run
            and not self._enough()
        )

    def _enough(self) -> bool:
        return self.options.max_jobs is not None and self.jobs_done >= self.options.max_jobs

    def _wants_job(self, now: float) -> bool:
        return self._can_claim() and not self.waiter.waiting and now >= self._paused_until

    def _can_wait(self, now: float) -> bool:
        return self._wants_job(now) and not self.options.burst and self.heart.is_born

    def _ask(self, held: list[Held] | None = None, *, ahead: bool = False) -> Ask:
        self._asked, self.ahead.asked = os.urandom(16).hex(), ahead
        return Ask(self.options.name, self._asked, self._order(), self.options.lease_s, self.clock(), held or (), ahead)

    def _order(self) -> list[str]:
        if self.options.strategy == "random":
            random.shuffle(self.queues)
        return self.queues

    def _claim(self, now: float) -> None:
        started = self.monotonic()
        ask = self._ask(self._held)
        if not self._can_claim():
            ask = ask._replace(queues=())  # only gives back what the blocking pops have moved
        reply = transitions.claim(self.line, ask)
        self._held = []
        self.report.round_trip(self.monotonic() - started)
        self._received(reply, now)
        if self.task is not None:
            self.report.started(self.task)

    def _received(self, reply: Claimed | Refusal, now: float, *, hurry: bool = False) -> None:
        self._asked = None
        if self.heart.suspended and reply is not Refusal.SUSPENDED:
            log.info("Resumed.")
            self.heart.suspended = False
        if isinstance(reply, Claimed):
            self._begin(reply, now, hurry=hurry)
        elif reply is Refusal.SUSPENDED:
            if self.options.burst:
                self.done = True
            if not self.heart.suspended:
                log.warning('RQ is currently suspended, to resume job execution run "rqk resume"')
                self.heart.suspended = True
            self._paused_until = now + _PAUSE_S
            return
        elif reply is Refusal.RETIRING:
            self.heart.retiring = True
        elif reply is Refusal.UNKNOWN_WORKER:
            self.heart.forgotten()
        elif self.options.burst:
            self._finish_burst()
        else:
            self.heart.say("idle")

    def _finish_burst(self) -> None:
        if self.options.with_scheduler:
            moved = transitions.move_due(self.line, self.options.name, self.options.queues, self.clock(), lock_s=10)[1]
            if moved:
                return
        self.done = True

    def _begin(self, claimed: Claimed, now: float, *, hurry: bool = False) -> Task:
        if self.options.strategy == "round_robin" and claimed.queue in self.queues:
            served = self.queues.index(claimed.queue) + 1
            self.queues = self.queues[served:] + self.queues[:served]
        task = self.task = Task(claimed, self.options.name, now, self.clock())
        self.heart.say("busy")
        self.runner.start(task, now, hurry=hurry)
        return task

    def _ended(self, end: Ending) -> None:
        if self.task is not None:
            self.task.ending = end

    def _settle(self, task: Task, end: Ending, now: float) -> None:
        task.tries += 1
        if task.tries == 1:
            self.heart.tally = self.heart.tally.plus(end.move.counter, end.attempt.seconds)
            self.ahead.note(now - task.claimed_at)
        if self._goes_on() and self.ahead.claimed is not None:
            self._overlap(task, end, self.ahead.claimed, now)
            return
        ask = self._ask() if self._goes_on() else None
        started = self.monotonic()
        settled, reply, told = transitions.settle(
            self.line, task.lease, end.move, self.clock(), self.heart.tally, ask, tell=now >= self.heart.tell_at
        )
        if told:
            self.heart.told(now)
        self.report.round_trip(self.monotonic() - started)
        self._forget(end, now)
        if ask is None:
            self._asked = None
            self.heart.say("idle")
        else:
            self._received(reply, now, hurry=True)
            if self.task is not None and self.ahead.is_wise:
                transitions.claim_later(self.line, self._ask(ahead=True), self._took_ahead)
        # Told only now: the next horse is at work meanwhile.
        self._tell_end(task, end, settled)
        if self.task is not None:
            self.report.started(self.task)

    def _goes_on(self) -> bool:
        """Whether another job is wanted after this one."""
        enough = self.options.max_jobs is not None and self.jobs_done + 1 >= self.options.max_jobs
        return not enough and not self.stop.asked and self.runner.can_run and not self.heart.retiring

    # One job ahead (ahead.py)
    def _overlap(self, task: Task, end: Ending, claimed: Claimed, now: float) -> None:
        """The job that was taken ahead begins; the end of the last one is on its way to Redis meanwhile."""
        ask = self._ask(ahead=True) if self.ahead.is_wise else None
        begins = Lease(claimed.job_id, claimed.execution_id, claimed.queue)
        transitions.settle_later(  # sent before the job is given away: that it has begun is known then, whatever becomes of us
            *(self.line, task.lease, end.move, self.clock(), self.heart.tally, ask),
            tell=now >= self.heart.tell_at,
            begins=begins,
            then=self._paid,
        )
        self.ahead.owed, self.ahead.claimed = Owed(task, end), None
        self._forget(end, now)
        self.report.started(self._begin(claimed, now, hurry=True))

    def _paid(self, answer: Settlement) -> None:
        """The end of a job is written, and another one is taken ahead."""
        owed, self.ahead.owed = self.ahead.owed, None
        if answer.told:
            self.heart.told(self.turned_at)
        self._took_ahead(answer.next)
        if owed is not None:
            self._tell_end(owed.task, owed.end, answer.settled)

    def _pay_again(self, owed: Owed) -> None:
        """The connection broke before the answer came."""
        owed.task.tries += 1
        begins = self.task.lease if self.task is not None else None
        args = (self.line, owed.task.lease, owed.end.move, self.clock(), self.heart.tally)
        self._paid(transitions.settle(*args, begins=begins))

    def _took_ahead(self, reply: Claimed | Refusal) -> None:
        self._asked = None
        if isinstance(reply, Claimed):
            self.ahead.claimed = reply
        elif reply is Refusal.RETIRING:
            self.heart.retiring = True
        elif reply is Refusal.UNKNOWN_WORKER:
            self.heart.forgotten()

    def _return_ahead(self) -> None:
        """What was taken ahead goes back to the head of its queue, whether Redis has been told that it begins or not."""
        lease = self.ahead.lease
        if lease is not None:
            status = self.line.execute_command("HGET", keys.job(lease.job_id), "status")
            move = moves.put_back(self.clock())
            transitions.settle(
                self.line, lease._replace(never_started=status == b"queued", worker=""), move, self.clock()
            )
            self.ahead.claimed = None

    def _tell_end(self, task: Task, end: Ending, settled: Settled) -> None:
        if settled is Settled.LEASE_LOST and task.tries > 1 and self.heart.was_written(task):
            settled = Settled.WRITTEN  # the answer to the first try was lost on the way, not the outcome
        self.report.ended(task, end, settled)

    def _forget(self, end: Ending, now: float) -> None:
        self.task = None
        self.jobs_done += end.outcome != "requeued"
        self.idle_since = now

    def _beat(self, now: float) -> None:
        pulse = self.heart.beat(self.task.running(now) if self.task is not None else None, now)
        self.report.beat(self.clock())
        self._tell_state()
        # Of a job that was deleted meanwhile the lease is gone too; it may run to its end, as with RQ.
        if self.task is not None and pulse.lease == "lost" and pulse.job_exists and self.task.ending is None:
            self.runner.kill(self.task, "lease")

    def _tell_state(self) -> None:
        heart = self.heart
        idle = (
            "stopping"
            if self.stop.asked
            else "retiring"
            if heart.retiring
            else "suspended"
            if heart.suspended
            else "idle"
        )
        self.report.state("busy" if self.task is not None else idle)

    def _obey(self, command: commands.Command) -> None:
        task = self.task
        if command.name == commands.SHUTDOWN:
            log.info("%s: told to shut down", self.options.name)
            self.stop.asked = max(self.stop.asked, 1)
        elif command.name == commands.RETIRE:
            self.heart.retiring = True
        elif command.name == commands.UNRETIRE:
            self.heart.retiring = False
        elif task is None or task.ending is not None:
            return
        elif command.name == commands.KILL_HORSE:
            self.runner.kill(task, None)
        elif (command.name == commands.STOP_JOB and command.job_id == task.id) or (
            command.name == commands.STOP_EXECUTION and command.execution_id == task.claimed.execution_id
        ):
            log.info("%s: job %s is stopped on request", task.queue, task.id)
            self.runner.kill(task, "stop")

    # Stopping
    def _heed_stop(self, now: float) -> None:
        if self.watchers.saw("signal"):
            self.stop.drain()
            self.runner.reap()
        if self._stop_seen >= self.stop.asked:
            if (
                self._grace_at is not None
                and now >= self._grace_at
                and self.task is not None
                and self.task.ending is None
            ):
                self._grace_at = None
                log.warning("the grace period is nearly over: job %s goes back to its queue", self.task.id)
                self.runner.kill(self.task, "grace")
            return
        self._stop_seen = self.stop.asked
        if self._stop_seen == 1:
            log.info("Warm shut down requested%s", ", the running job may end" if self.task is not None else "")
            if self.options.grace_s is not None:
                # A tenth of the period, two seconds at most, is left for killing and writing.
                self._grace_at = now + self.options.grace_s - min(self.options.grace_s / 10, 2.0)
        elif self.task is not None and self.task.ending is None:
            log.warning("Cold shut down: job %s goes back to its queue", self.task.id)
            self.runner.kill(self.task, "grace")

    def _leave_if_done(self, now: float) -> None:
        if self.task is not None or self.ahead.owed is not None:
            # A second request while Redis is away: the outcome cannot be written; the lease ends and a janitor finds the job.
            ended = self.task is None or self.task.ending is not None
            self.done = self.stop.asked > 1 and now < self.outage.again_at and ended
            return
        if self.stop.asked or self._enough() or self.runner.hopeless:
            self.done = True
        elif self.options.max_idle_s is not None and now - self.idle_since >= self.options.max_idle_s:
            log.info("idle for %.0f s: leaving", self.options.max_idle_s)
            self.done = True

    def close(self) -> None:
        """Leave in order: give back what blocking pops have moved, unregister, end the children."""
        self.runner.stop()
        with suppress(StoreError):
            self.line.collect()
            self._return_ahead()
            if self.waiter.waiting:
                self._held += self.waiter.stop(self.line)
            if self._held:
                ask = Ask(self.options.name, os.urandom(16).hex(), (), self.options.lease_s, self.clock(), self._held)
                transitions.claim(self.line, ask)
            if self.options.with_scheduler:
                transitions.unlock(self.line, self.options.name, self.options.queues)
            self.heart.death()
        self.waiter.drop()
        self.heart.channel.close()
        self.line.close()

    # Redis away and back
    def _redis_is_away(self, error: StoreError, now: float) -> None:
        wait = self.outage.begin_or_go_on(self.monotonic())
        self._recovering = True
        self.waiter.drop()
        self.heart.lost_connection()
        self.line.close()
        what = "the running job goes on" if self.task is not None else "no job is lost"
        log.warning("%s; asking again in %.1f s, %s", error, wait, what, extra={"action": "store_wait"})

    def _redis_is_back(self, now: float) -> None:
        if self.outage.is_on:
            self.outage.end()
            self.report.reconnected()
            log.info("Redis answers again", extra={"action": "store_back"})
            # Others were away too and must renew their leases before anyone may call them dead.
            self.chores.janitor_at = now + self.options.lease_s

    def _recover(self, now: float) -> None:
        """A claim whose answer was lost may have started a job for us: find it by the execution id that we chose."""
        self.heart.renew_soon()
        claimed = self.heart.find_claimed(self._asked) if self._asked is not None else None
        self._asked = None
        if self.ahead.asked and claimed is not None:
            self.ahead.claimed, claimed = claimed, None
        if self.ahead.owed is not None:
            self._pay_again(self.ahead.owed)
        self._return_ahead()
        if claimed is not None:
            if self.task is not None and self.task.ending is not None:
                # One script settles and claims: as the new job was started, the old one's outcome was written.
                self.report.ended(self.task, self.task.ending, Settled.WRITTEN)
                self._forget(self.task.ending, now)
            log.info("job %s was claimed when the connection broke; it starts now", claimed.job_id)
            self.report.started(self._begin(claimed, now))
        self._recovering = False
