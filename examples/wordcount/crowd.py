"""The producer: enqueues pages in bursts, and reads every result."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from examples.wordcount.jobs import count_words_at_url
from rqk import Job, JobStatus, Queue
from rqk.errors import RqkError
from rqk.store.connect import connect

BURSTS = ((1.5, 0.12), (3.5, 0.58), (7.0, 0.30))  # seconds after the burst before, share of all pages
LOOK_S = 0.25
_ENDED = (JobStatus.FINISHED, JobStatus.FAILED)


@dataclass(slots=True)
class Outcome:
    """What came of the jobs. ``counts`` by URL; ``waits`` in seconds from enqueue to start."""

    counts: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)


class Crowd(threading.Thread):
    """Enqueues a job for each URL, and waits for all of them. When ``done`` is set, look at ``error``, then at ``outcome``."""

    def __init__(self, redis_url: str, urls: Sequence[str]) -> None:
        super().__init__(name="crowd", daemon=True)
        self.done = threading.Event()
        self.outcome = Outcome()
        self.enqueued = 0
        self.error: Exception | None = None
        self._left = threading.Event()
        self._urls = urls
        self._queue = Queue(connection=connect(redis_url))
        self._jobs: dict[str, str] = {}  # id -> URL, of those that have not ended

    def leave(self) -> None:
        """Stop in the middle of it."""
        self._left.set()
        self.join()

    def run(self) -> None:
        """All of it; for the thread."""
        try:
            self._enqueue_all()
            while self._jobs and not self._left.wait(LOOK_S):
                self._collect()
        except RqkError as error:
            self.error = error
        finally:
            self.done.set()

    def _enqueue_all(self) -> None:
        for number, (pause, share) in enumerate(BURSTS, 1):
            if self._left.wait(pause):
                return
            size = round(share * len(self._urls))
            end = len(self._urls) if number == len(BURSTS) else self.enqueued + size
            burst = self._urls[self.enqueued : end]
            calls = [Queue.prepare_data(count_words_at_url, (url,), description=f"count {url}") for url in burst]
            for url, job in zip(burst, self._queue.enqueue_many(calls), strict=True):
                self._jobs[job.id] = url
            self.enqueued = end
            self._collect()

    def _collect(self) -> None:
        ids = list(self._jobs)
        for job_id, job in zip(ids, Job.fetch_many(ids, self._queue.connection), strict=True):
            if job is None:
                self.outcome.failures[self._jobs.pop(job_id)] = "the job is gone"
            elif job.get_status(refresh=False) in _ENDED:
                self._note(job, self._jobs.pop(job_id))

    def _note(self, job: Job, url: str) -> None:
        if job.get_status(refresh=False) is JobStatus.FINISHED:
            self.outcome.counts[url] = job.return_value()
        else:
            self.outcome.failures[url] = (job.exc_info or "it does not say why").strip().splitlines()[-1]
        if job.enqueued_at is not None and job.started_at is not None:
            self.outcome.waits.append((job.started_at - job.enqueued_at).total_seconds())
