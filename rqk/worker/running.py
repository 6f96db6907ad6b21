"""Running the job in hand: a horse to run it, its time limits, and the judgement of its end."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from rqk import clock as clocks
from rqk.core.verdict import Verdict, explain
from rqk.worker import ending
from rqk.worker.ending import Ending
from rqk.worker.limits import own_cgroup
from rqk.worker.messages import Mode, Outcome
from rqk.worker.options import WorkerOptions
from rqk.worker.process import kill_group
from rqk.worker.stable import Stable
from rqk.worker.task import KilledFor, Task
from rqk.worker.watchers import wait_to_read
from rqk.worker.zygote import Closable, Exited, Forked, ForkFailed, Ready

if TYPE_CHECKING:
    from rqk.worker.report import Report
    from rqk.worker.signals import StopRequests

log = logging.getLogger("rqk.worker")

_NEVER = float("inf")
_LONGEST_RESTART_WAIT_S = 30.0


class Runner:
    """Owns the stable, and the horse that runs."""

    def __init__(
        self,
        stable: Stable,
        options: WorkerOptions,
        report: Report,
        clock: Callable[[], datetime] = clocks.now,
        open_now: Callable[[], Iterable[Closable]] = tuple,
    ) -> None:
        self.stable, self.options, self.report, self.clock = stable, options, report, clock
        self.open_now = open_now  # what a newly forked zygote must close: the connections that exist by then
        self.hopeless: str | None = None  # why no job can run
        self._cgroup = own_cgroup()
        self._oom_kills = (
            self._cgroup.oom_kills()
        )  # as last seen; it moves only when something dies, so that is when we look
        self._restart_at = 0.0
        self._restarts = 0
        self._ask_again_at = _NEVER

    @property
    def can_run(self) -> bool:
        """Whether a claimed job would find a horse."""
        return self.stable.has_horse and self.hopeless is None

    @property
    def is_ready(self) -> bool:
        """Whether the preload is over."""
        return self.stable.ready is not None

    def filenos(self, task: Task | None) -> list[int]:
        """What to wait on."""
        numbers = (
            [self.stable.zygote.fileno()] if self.stable.zygote is not None and not self.stable.zygote.closed else []
        )
        if task is not None and task.horse is not None and not task.horse.silent:
            numbers.append(task.horse.sock.fileno())
        return numbers

    @staticmethod
    def writing(task: Task | None) -> int | None:
        """The socket of a horse that has not got the whole of its job yet; such a job is larger than a socket's buffer."""
        return task.horse.sock.fileno() if task is not None and task.horse is not None and task.horse.outgoing else None

    def due_at(self, task: Task | None) -> float:
        """When something is to be done by the clock."""
        due = self._ask_again_at
        if self.stable.is_broken:
            due = min(due, self._restart_at)
        if task is not None and task.ending is None and task.hard_limit_at is not None:
            due = min(due, task.hard_limit_at)
        return due

    def start(self, task: Task, now: float, *, hurry: bool = False) -> None:
        """Give a job to a horse, or to the next one that comes."""
        while task.horse is None and (horse := self.stable.take()) is not None:
            try:
                horse.give(task.order())
            except OSError:  # it died while it waited; it cannot have begun, so the next one gets the job
                horse.close()
                continue
            task.horse = horse
            limit = task.limit_s
            task.hard_limit_at = None if limit is None else now + limit + self.options.kill_after_s
        self.stable.ask(hurry=hurry)  # only now: the horse is at work while the next ones are forked

    def look(self, task: Task | None, now: float, readable: Collection[int]) -> list[Ending]:
        """Take in what zygote and horse have said; returns how the task ended, if it did."""
        endings: list[Ending] = []
        if task is not None and task.horse is not None and task.ending is None:
            if task.horse.outgoing:
                with suppress(OSError):
                    task.horse.outgoing.flush(task.horse.sock)
            outcome = task.horse.outcome() if task.horse.sock.fileno() in readable else None
            if outcome is not None:
                endings += self._reported(task, outcome, now)
        for event in self.stable.events(readable):
            # A job that has just ended is not for the horse that comes in the same moment.
            endings += self._event(event, None if endings else task, now)
        if self.stable.is_broken and self.hopeless is None:
            endings += self._restart(None if endings else task, now)
        if task is not None and task.ending is None and not endings:
            self._enforce(task, now)
        if now >= self._ask_again_at:
            self._ask_again_at = _NEVER
            self.stable.ask()
        return endings

    def hear_of_preload(self, until: float, stop: StopRequests) -> None:
        """Wait for the end of the preload, and tell what went wrong in it; not beyond ``until``, nor when told to stop."""
        while not (self.is_ready or self.hopeless or self.stable.is_broken or stop.asked):
            left = until - clocks.monotonic()
            if left <= 0:
                return
            self.look(None, clocks.monotonic(), wait_to_read([*self.filenos(None), stop.reader.fileno()], left))

    def _event(self, event: Ready | Forked | ForkFailed | Exited, task: Task | None, now: float) -> list[Ending]:
        if isinstance(event, Forked):
            self._restarts = 0
            self.report.forked(event.fork_s)
            if task is not None and task.horse is None and task.ending is None:
                self.start(task, now)
        elif isinstance(event, Ready):
            return self._prepared(event, task, now)
        elif isinstance(event, ForkFailed):
            log.error("the system refuses a process (%s), asking again in 1 s", event.error)
            self._ask_again_at = now + 1.0
        elif task is not None and task.horse is not None and event.pid == task.horse.pid and task.ending is None:
            return self._died(task, event, now)
        elif self.stable.has_lost(event.pid) or (not self.stable.waiting and self.stable.asked == 0):
            # A waiting horse died (the kernel's choice, or someone's); the next one after a breath, in case they all do.
            self._oom_kills = self._cgroup.oom_kills()
            if event.status != 0:
                log.warning(
                    "a waiting work-horse died (wait status %d)%s",
                    event.status,
                    "\n" + event.crash_text if event.crash_text else "",
                )
            self._ask_again_at = now + (0.0 if event.status == 0 else 0.1)
        return []

    def _prepared(self, ready: Ready, task: Task | None, now: float) -> list[Ending]:
        """The preload is over. If no job can run, whoever ends the worker says why; a job taken meanwhile goes back."""
        for problem in ready.problems:
            if problem.fatal:
                self.hopeless = self.hopeless or problem.error
            else:
                log.warning("%s %s: %s", problem.what, problem.name, problem.error, extra={"action": "preload"})
        if ready.preloaded:
            log.info("preloaded %s", ", ".join(ready.preloaded))
        if self.hopeless is None or task is None or task.ending is not None:
            return []
        task.killed_for = task.killed_for or "grace"
        return self._died(task, None, now)

    def _reported(self, task: Task, outcome: Outcome, now: float) -> list[Ending]:
        horse, task.horse = task.horse, None
        if horse is not None:
            if outcome.leaving:
                horse.close()
            else:
                self.stable.keep(horse)
        if outcome.note:
            log.warning("%s: job %s: %s", task.queue, task.id, outcome.note)
        if outcome.imported:
            self.stable.learn(outcome.imported)
        self.report.metrics_of(outcome)
        wall = self.clock()
        if task.verdict is not None:
            return [ending.died(task.job, task.attempt(wall), task.verdict, wall, task.func)]
        task.peak_bytes = outcome.maxrss_kib * 1024
        return [
            ending.reported(
                task.brief, task.claimed.execution_id, task.worker, outcome, wall, self.options.result_ttl_s
            )
        ]

    def _died(self, task: Task, event: Exited | None, now: float) -> list[Ending]:
        horse, task.horse = task.horse, None
        if horse is not None:
            outcome = horse.outcome(last_words=True)
            horse.close()
            if outcome is not None:
                return self._reported(task, outcome, now)
        wall = self.clock()
        attempt = task.attempt(wall)
        if task.verdict is not None:  # the callback's horse died too; what it was called for stands
            return [ending.died(task.job, attempt, task.verdict, wall, task.func)]
        if task.killed_for in ("grace", "lease"):
            why = "the worker stops" if task.killed_for == "grace" else "its lease was lost"
            return [ending.returned(attempt, wall, task.func, why)]
        limits = [limit for limit in (self.options.job_memory_limit, self._cgroup.limit()) if limit is not None]
        peak = event.maxrss_kib * 1024 if event is not None else None
        task.peak_bytes = peak
        oom_before, self._oom_kills = self._oom_kills, self._cgroup.oom_kills()
        verdict = explain(
            event.status if event is not None else None,
            killed_for=task.killed_for,
            timeout_s=task.timeout_s,
            oom_kills_before=oom_before,
            oom_kills_after=self._oom_kills,
            peak_bytes=peak,
            memory_limit_bytes=min(limits, default=None),
            crash_text=event.crash_text if event is not None else "",
        )
        return self._after_death(task, verdict, now)

    def _after_death(self, task: Task, verdict: Verdict, now: float) -> list[Ending]:
        """Callbacks that the dead horse could not run are run by the next one, before the end is written."""
        stopped = verdict.outcome == "stopped"
        name = task.job.stopped_callback_name if stopped else task.job.failure_callback_name
        if not name:
            wall = self.clock()
            return [ending.died(task.job, task.attempt(wall), verdict, wall, task.func)]
        task.callback = Mode.STOPPED_CALLBACK if stopped else Mode.FAILURE_CALLBACK
        task.verdict = verdict
        task.killed_for = None
        self.start(task, now)
        return []

    def kill(self, task: Task, why: KilledFor | None) -> None:
        """Kill the running job's process group; its end is judged when it is seen."""
        task.killed_for = task.killed_for or why
        if task.horse is not None:
            kill_group(task.horse.pid)
        elif (
            task.ending is None and why == "stop"
        ):  # it has no horse yet: the request is remembered, nothing needs killing
            ends = self._died(task, None, clocks.monotonic())
            task.ending = ends[0] if ends else None
        elif task.ending is None and why is not None:
            task.ending = ending.returned(task.attempt(self.clock()), self.clock(), task.func, "it had not begun")

    def _enforce(self, task: Task, now: float) -> None:
        if task.hard_limit_at is not None and now >= task.hard_limit_at and task.horse is not None:
            task.hard_limit_at = None
            log.warning(
                "%s: job %s is past its time limit by %.0f s and is killed",
                task.queue,
                task.id,
                self.options.kill_after_s,
            )
            self.kill(task, "timeout")

    def _restart(self, task: Task | None, now: float) -> list[Ending]:
        """The zygote is gone, and with it all horses: judge the job, then fork another one."""
        endings: list[Ending] = []
        if self.stable.zygote is not None:
            status = self.stable.stop()
            self._restarts += 1
            wait = 0.0 if self._restarts == 1 else min(2.0 ** (self._restarts - 2), _LONGEST_RESTART_WAIT_S)
            self._restart_at = now + wait
            log.error(
                "the zygote died (wait status %s); a new one starts in %.0f s", status, wait, extra={"action": "zygote"}
            )
            if task is not None and task.horse is not None and task.ending is None:
                endings = self._died(task, None, now)
        if self.stable.zygote is None and now >= self._restart_at:
            with self.report.without_threads():
                self.stable.start([*self.open_now(), *self.report.sockets()])
            self.report.zygote_restarted()
        return endings

    def reap(self) -> None:
        """Wait for children that ended: the zygote, and as process 1 whatever orphans there are."""
        pid = -1 if os.getpid() == 1 else self.stable.zygote.pid if self.stable.zygote is not None else 0
        if pid == 0:
            return
        with suppress(ChildProcessError):
            while (found := os.waitpid(pid, os.WNOHANG)[0]) != 0:
                self.stable.note_exit(found)
                if pid != -1:
                    return

    def stop(self) -> None:
        """End zygote and horses."""
        self.stable.stop()
