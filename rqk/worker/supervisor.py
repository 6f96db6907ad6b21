"""The supervisor: the worker's one loop. It does all I/O with Redis, judges horses, and never runs or imports user code.

``step()`` waits for whatever comes first and acts on it; ``run()`` repeats it. The state is small: a task in hand or none,
waiting on blocking pops or not, a Redis that answers or the moment at which it is asked again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from rqk import clock as clocks
from rqk.core import commands
from rqk.errors import StoreError
from rqk.store import transitions
from rqk.store.connect import Client
from rqk.store.line import Line
from rqk.store.transitions import Ask, Claimed, Held, Refusal, Settled
from rqk.worker.ahead import Ahead
from rqk.worker.chores import Chores
from rqk.worker.claiming import Turns, Waiter
from rqk.worker.ending import Ending
from rqk.worker.heart import Heart
from rqk.worker.options import WorkerOptions
from rqk.worker.outage import Outage
from rqk.worker.running import Runner
from rqk.worker.signals import StopRequests
from rqk.worker.stopping import Stopping
from rqk.worker.task import Task
from rqk.worker.watchers import Watchers

if TYPE_CHECKING:
    from rqk.worker.report import Report

log = logging.getLogger("rqk.worker")

_LINE_TIMEOUT_S = 5.0
_PAUSE_S = 1.0  # between looks while suspended
_LOOK_S = 0.1  # between looks of a burst that is over but for the preload
_HEAR_S = 30.0  # so long a worker that has run nothing stays to hear how the preload went
_NEVER = float("inf")


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
        self.turns = Turns(options)
        self.task: Task | None = None
        self.done, self.turned_at = False, monotonic()
        self.jobs_done = 0
        self.idle_since = monotonic()
        self._hear_until = monotonic() + _HEAR_S
        self.outage = Outage()
        self.ahead = Ahead(options, self.line, self.heart, report, clock)
        self._asked: str | None = None  # execution id of a claim whose answer was lost with the connection
        self._paused_until = 0.0
        self.chores = Chores(client, self.line, options, self.heart, report, clock)
        self.stopping = Stopping(stop, runner, options)
        self._recovering = False

    # The loop
    def run(self) -> bool:
        """Work until there is a reason to leave; returns whether any job was run."""
        while not self.done:
            self.step()
        if not (self._has_heard or self.stop.asked):
            log.warning("leaving after %.0f s in which the preload was not over; how it went is not known", _HEAR_S)
        return bool(self.jobs_done)

    def step(self) -> None:
        """Wait for the next thing to happen, then do what follows from it."""
        self.watchers.wait(self._sources(), self._patience(), self.runner.writing(self.task))
        now = self.turned_at = self.monotonic()
        self.stopping.heed(self.task, now, signalled=self.watchers.saw("signal"))
        for event in self.runner.look(self.task, now, self.watchers.ready("runner")):
            if self.task is not None:
                self.task.ending = event
        if now >= self.outage.again_at:
            try:
                self._talk(now)
                self._redis_is_back(now)
            except StoreError as error:
                self._redis_is_away(error, now)
        self._leave_if_done(now)

    def _sources(self) -> dict[int, str]:
        """File descriptors to wait on."""
        sources = {self.stop.reader.fileno(): "signal"}
        for fileno in self.runner.filenos(self.task):
            sources[fileno] = "runner"
        if (channel := self.heart.channel.fileno()) >= 0:
            sources[channel] = "channel"
        if self.waiter.waiting:
            sources |= dict.fromkeys(self.waiter.filenos(), "queue")
        return sources

    def _patience(self) -> float:
        """Seconds until something is due by the clock."""
        now = self.monotonic()
        dues = [self.heart.due_at, self.runner.due_at(self.task), self.stopping.due_at]
        if self.task is None and not self.waiter.waiting:
            dues.append(self._paused_until if self._can_claim() else now + _PAUSE_S)
        if self.task is not None and self.task.ending is not None:
            dues.append(now)
        dues += (self.chores.due_at, self.ahead.due_at(self.task), self.ahead.answer_at())
        if self.task is None:
            dues.append(self._idle_until())
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
            self.ahead.read(self.task, now)
        self._hear_pops()
        if self.task is not None and self.task.ending is not None:
            self._settle(self.task, self.task.ending, now)
        if self.stop.asked or self.heart.retiring or now >= self.ahead.due_at(self.task):
            self.ahead.give_back()
        if self.task is None and (self.waiter.held or self._wants_job(now)):
            self._claim(now)
        if now >= self.heart.due_at:
            self._beat(now)
        self.chores.do(now)
        if self._can_wait(now):
            self.waiter.arm()

    def _hear_pops(self) -> None:
        """Take in what the blocking pops have brought, and then end the other ones."""
        if not self.waiter.waiting:
            return
        answers = self.waiter.filenos()
        for fileno in self.watchers.ready("queue"):
            if fileno in answers:
                answers[fileno]()
        if self.waiter.held or self.stop.asked or self.heart.retiring:
            self.waiter.stop(self.line)

    def _can_claim(self) -> bool:
        return self.task is None and self._may_take() and not self._enough()

    def _may_take(self) -> bool:
        return not self.stop.asked and not self.heart.retiring and self.runner.can_run

    def _enough(self) -> bool:
        return self.options.max_jobs is not None and self.jobs_done >= self.options.max_jobs

    def _wants_job(self, now: float) -> bool:
        return self._can_claim() and not self.waiter.waiting and now >= self._paused_until

    def _can_wait(self, now: float) -> bool:
        return self._wants_job(now) and not self.options.burst and self.heart.is_born

    @property
    def _has_heard(self) -> bool:
        """Whether what is wrong with the preload has been said: one that finds no job can be quicker than its zygote."""
        return self.runner.is_ready or self.jobs_done > 0

    def _idle_until(self) -> float:
        """When a worker without a job has waited long enough."""
        if self.options.max_idle_s is None:
            return _NEVER
        until = self.idle_since + self.options.max_idle_s
        return until if self._has_heard else max(until, self._hear_until)

    def _ask(self, wall: datetime, held: Sequence[Held] = (), *, ahead: bool = False) -> Ask:
        execution_id = os.urandom(16).hex()
        if not ahead:
            self._asked = execution_id
        return Ask(self.options.name, execution_id, self.turns.order(), self.options.lease_s, wall, held, ahead)

    def _claim(self, now: float) -> None:
        started = self.monotonic()
        ask = self._ask(self.clock(), self.waiter.held)
        if not self._can_claim():
            ask = ask._replace(queues=())  # only gives back what the blocking pops have moved
        reply = transitions.claim(self.line, ask)
        self.waiter.held = []
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
            self._begin(self._task_of(reply, now), now, hurry=hurry)
        elif reply is Refusal.SUSPENDED:
            if self.options.burst:
                self.done = self._has_heard or now >= self._hear_until
            if not self.heart.suspended:
                and_so = "; a burst does not wait for that: it leaves, and jobs stay" if self.options.burst else ""
                log.warning('RQ is currently suspended, to resume job execution run "rqk resume"%s', and_so)
                self.heart.suspended = True
            self._paused_until = now + _PAUSE_S
            return
        elif reply in (Refusal.RETIRING, Refusal.UNKNOWN_WORKER):
            self.heart.hear(reply)
        elif self.options.burst:
            self._finish_burst(now)
        else:
            self.heart.say("idle")

    def _finish_burst(self, now: float) -> None:
        if self.options.with_scheduler:
            moved = transitions.move_due(self.line, self.options.name, self.options.queues, self.clock(), lock_s=10)[1]
            if moved:
                return
        self.done = self._has_heard or now >= self._hear_until
        self._paused_until = now + _LOOK_S

    def _task_of(self, claimed: Claimed, now: float) -> Task:
        return Task(claimed, self.options.name, now, self.clock())

    def _begin(self, task: Task, now: float, *, hurry: bool = False) -> Task:
        self.turns.served(task.queue)
        self.task = task
        self.heart.say("busy")
        self.runner.start(task, now, hurry=hurry)
        return task

    def _settle(self, task: Task, end: Ending, now: float) -> None:
        end = task.next_try(end)
        if task.tries == 1:
            self.heart.tally = self.heart.tally.plus(end.move.counter, end.attempt.seconds)
            self.ahead.note(now - task.claimed_at)
        following, wall = self.ahead.next, self.clock()
        if following is not None and self._goes_on():
            asks = self._ask(wall, ahead=True) if self.ahead.wants(begins=True) else None
            self.ahead.settle(task, end, following, asks, now, wall)
            self._forget(end, now)
            following.begins(now, wall)
            begun = self._begin(following, now, hurry=True)
            # What can be done later is done now that the next horse is at work.
            self.report.started(begun)
            self.ahead.read_what_has_come()
            if self.ahead.wants():
                self.ahead.claim(self._ask(self.clock(), ahead=True), now)
            return
        ask = self._ask(wall) if self._goes_on() else None
        started = self.monotonic()
        settled, reply, told = transitions.settle(
            self.line, task.lease, end.move, wall, self.heart.tally, ask, tell=now >= self.heart.tell_at
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
            if self.task is not None and self.ahead.wants():
                self.ahead.claim(self._ask(self.clock(), ahead=True), now)
        # Told only now: the next horse is at work meanwhile.
        self.report.ended(task, end, self.heart.verified(task, settled))
        if self.task is not None:
            self.report.started(self.task)

    def _goes_on(self) -> bool:
        """Whether another job is wanted after this one."""
        return self._may_take() and (self.options.max_jobs is None or self.jobs_done + 1 < self.options.max_jobs)

    def _forget(self, end: Ending, now: float) -> None:
        self.task = None
        self.jobs_done += end.outcome != "requeued"
        self.idle_since = now

    def _beat(self, now: float) -> None:
        pulse = self.heart.beat(self.task.running(now) if self.task is not None else None, now)
        self.report.beat(self.clock())
        self.report.state("busy" if self.task is not None else "stopping" if self.stop.asked else self.heart.leisure)
        # Of a job that was deleted meanwhile the lease is gone too; it may run to its end, as with RQ.
        if self.task is not None and pulse.lease == "lost" and pulse.job_exists and self.task.ending is None:
            self.runner.kill(self.task, "lease")

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
    def _leave_if_done(self, now: float) -> None:
        if self.task is not None or self.ahead.is_owing:
            # A second request while Redis is away: the outcome cannot be written; the lease ends and a janitor finds the job.
            ended = self.task is None or self.task.ending is not None
            self.done = self.stop.asked > 1 and now < self.outage.again_at and ended
            return
        if self.stop.asked or self._enough() or self.runner.hopeless:
            self.done = True
        elif now >= self._idle_until():
            log.info("idle for %.0f s: leaving", self.options.max_idle_s)
            self.done = True

    def close(self) -> None:
        """Leave in order: give back what blocking pops have moved, unregister, end the children."""
        self.runner.stop()
        with suppress(StoreError):
            self.ahead.give_back()
            if self.waiter.waiting:
                self.waiter.stop(self.line)
            if self.waiter.held:
                ask = Ask(
                    self.options.name, os.urandom(16).hex(), (), self.options.lease_s, self.clock(), self.waiter.held
                )
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
        self.ahead.recover(self.task)
        if claimed is not None:
            if self.task is not None and self.task.ending is not None:
                # One script settles and claims: as the new job was started, the old one's outcome was written.
                self.report.ended(self.task, self.task.ending, Settled.WRITTEN)
                self._forget(self.task.ending, now)
            log.info("job %s was claimed when the connection broke; it starts now", claimed.job_id)
            self.report.started(self._begin(self._task_of(claimed, now), now))
        self._recovering = False
