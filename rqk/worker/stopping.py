"""Being told to stop: what the first request does, what the second, and when a grace period is nearly over."""

from __future__ import annotations

import logging

from rqk.worker.options import WorkerOptions
from rqk.worker.running import Runner
from rqk.worker.signals import StopRequests
from rqk.worker.task import Task

log = logging.getLogger("rqk.worker")

_NEVER = float("inf")


class Stopping:
    """Heeds requests to stop, of signals or of commands, as far as the running job is concerned."""

    def __init__(self, stop: StopRequests, runner: Runner, options: WorkerOptions) -> None:
        self._stop, self._runner, self._grace_s = stop, runner, options.grace_s
        self._seen = 0
        self.due_at = _NEVER  # monotonic seconds at which the running job is put back

    def heed(self, task: Task | None, now: float, *, signalled: bool) -> None:
        """Act on what is new; ``signalled``: a signal has come, perhaps a child's end."""
        if signalled:
            self._stop.drain()
            self._runner.reap()
        runs = task is not None and task.ending is None
        if self._seen >= self._stop.asked:
            if now >= self.due_at and task is not None and runs:
                self.due_at = _NEVER
                log.warning("the grace period is nearly over: job %s goes back to its queue", task.id)
                self._runner.kill(task, "grace")
            return
        self._seen = self._stop.asked
        if self._seen == 1:
            log.info("Warm shut down requested%s", ", the running job may end" if task is not None else "")
            if self._grace_s is not None:
                # A tenth of the period, two seconds at most, is left for killing and writing.
                self.due_at = now + self._grace_s - min(self._grace_s / 10, 2.0)
        elif task is not None and runs:
            log.warning("Cold shut down: job %s goes back to its queue", task.id)
            self._runner.kill(task, "grace")
