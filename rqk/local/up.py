"""``rqk up``: run pools as local worker processes until told to stop. Each tick: look, decide, act, report."""

from __future__ import annotations

import logging
import selectors
import signal
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from rqk import clock
from rqk.autoscale.manifest import check_for_local
from rqk.autoscale.model import Pool
from rqk.errors import StoreError
from rqk.local.embedded import EmbeddedValkey
from rqk.local.pool import LocalPool
from rqk.local.state import Summary, UpState
from rqk.local.view import seconds, summary_lines, view
from rqk.local.waits import WaitSample
from rqk.local.workers import Listener
from rqk.store.connect import Client, connect, masked
from rqk.store.snapshot import Snapshot, snapshot
from rqk.worker.signals import StopRequests

TICK_S = 0.5
RATE_S = 4.0  # the rate of jobs is taken over so long
_NOTES = 200

log = logging.getLogger("rqk.up")


class Up:
    """Pools as processes. Use with ``with``: entering starts what is needed, leaving ends everything that was started.

    ``url`` serves pools that name no Redis that can be read here; without it an embedded Valkey serves those that name
    none, and with ``embedded`` all of them, whatever they name: a cluster's manifest then runs as it is.
    ``worker_lines``: pass on what workers say. ``drawn``: somebody draws the state, so that log lines would tear the
    picture; what happens is in the state's notes only. Raises BadPool for a pool that needs a cluster, StoreError if a named
    Redis does not answer at the start; later a pool whose Redis is away keeps its size until it is back.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        *,
        url: str | None = None,
        embedded: bool = False,
        metrics: bool = True,
        worker_lines: bool = False,
        drawn: bool = False,
    ) -> None:
        for pool in pools:
            check_for_local(pool, has_redis=embedded or url is not None)
        self._manifests = pools
        self._url = url
        self._embedded = embedded
        self._metrics = metrics
        self._worker_lines = worker_lines
        self._drawn = drawn
        self._stack = ExitStack()
        self._clients: dict[str, Client] = {}
        self._trouble: dict[str, str] = {}
        self._listener = Listener(self._said)
        self._notes: deque[str] = deque(maxlen=_NOTES)
        self.waits = WaitSample()
        self._begun = clock.monotonic()
        self._peak = 0
        self._done: deque[tuple[float, int]] = deque()
        self._stopping = False
        self.pools: list[LocalPool] = []

    def __enter__(self) -> Self:
        self._stack.callback(self._listener.close)
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        # Last in, first out: workers must be gone before their Redis goes.
        self._stack.callback(self._end_workers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def urls(self) -> Mapping[str, str]:
        """Where each pool's queues are, by the pool's name."""
        return {local.pool.key: local.url for local in self.pools}

    @property
    def empty(self) -> bool:
        """No worker process is left."""
        return not any(local.workers for local in self.pools)

    def tick(self) -> UpState:
        """One round for all pools; returns what is known after it."""
        now = clock.monotonic()
        looks = {url: self._look(url) for url in self._clients}
        for local in self.pools:
            local.reap(now)
            local.kill_overdue(now)
            if not self._stopping:
                local.tick(looks[local.url], self._trouble.get(local.url), now, self._free_slot)
        self._peak = max(self._peak, sum(len(local.staying) for local in self.pools))
        return self.state()

    def stop(self) -> None:
        """Ask all workers to finish and go; a second time, to put their jobs back and go; a third time kills them."""
        now = clock.monotonic()
        again = self._stopping and any(worker.leaving for local in self.pools for worker in local.workers)
        self._stopping = True
        for local in self.pools:
            local.stop(now)
        if not self.empty:
            self._note("workers were asked again: they put their jobs back" if again else "workers finish their jobs")

    def kill(self) -> None:
        """End all workers at once."""
        for local in self.pools:
            local.kill()

    def wait(self, until: float, wake: StopRequests | None = None) -> None:
        """Let time pass until ``until`` (monotonic), listening to the workers; a signal to stop ends it early."""
        asked = wake.asked if wake is not None else 0
        while (left := until - clock.monotonic()) > 0:
            for key, _ in self._listener.selector.select(left):
                if key.data is None:
                    assert wake is not None
                    wake.drain()
                    if wake.asked != asked:
                        return
                else:
                    self._listener.read(key.data)
            if self._stopping and all(worker.process.poll() is not None for p in self.pools for worker in p.workers):
                return

    def listen_to(self, wake: StopRequests) -> None:
        """Have signals end a wait."""
        self._listener.selector.register(wake.reader, selectors.EVENT_READ, None)

    def state(self) -> UpState:
        """Everything, as plain data."""
        now = clock.monotonic()
        good = sum(local.ended[0] for local in self.pools)
        bad = sum(local.ended[1] for local in self.pools)
        return UpState(
            pools=tuple(local.state() for local in self.pools),
            summary=self._summary(good + bad, bad, now),
            rate=self._rate(good + bad, now),
            notes=tuple(self._notes),
            stopping=self._stopping,
        )

    def _open(self) -> None:
        embedded = None
        for pool in self._manifests:
            named = pool.spec.redis.url if pool.spec.redis is not None else None
            url = named or self._url
            if url is None or self._embedded:
                if embedded is None:
                    embedded = self._stack.enter_context(EmbeddedValkey())
                    self._note(
                        f"an embedded Valkey listens at {embedded.url}; enqueue there: RQ_REDIS_URL={embedded.url}"
                    )
                url = embedded.url
            if url not in self._clients:
                client = self._clients[url] = connect(url)
                self._stack.callback(client.close)
                snapshot(client, pool.spec.queues)  # a server that is not there is an error now, later it is waited for
            self.waits.skip(self._clients[url], pool.spec.queues)
            own = embedded is not None and url == embedded.url
            self.pools.append(
                LocalPool(
                    pool, url, self._clients[url], self._listener, self._note, embedded=own, metrics=self._metrics
                )
            )

    def _look(self, url: str) -> Snapshot | None:
        """One poll for all pools on this Redis."""
        queues = {name for local in self.pools if local.url == url for name in local.pool.spec.queues}
        client = self._clients[url]
        try:
            seen = snapshot(client, queues)
            self.waits.look(client, queues)
        except StoreError as error:
            if url not in self._trouble:
                self._note(f"{error}; sizes stay as they are until it is back")
            self._trouble[url] = str(error)
            return None
        if self._trouble.pop(url, None) is not None:
            self._note(f"{masked(url)} is back")
        return seen

    def _free_slot(self) -> int:
        taken = {worker.slot for local in self.pools for worker in local.workers}
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)

    def _summary(self, jobs: int, failures: int, now: float) -> Summary:
        p50, p95 = self.waits.percentiles()
        crashes = sum(local.crashes for local in self.pools)
        return Summary(jobs, failures, self._peak, crashes, p50, p95, now - self._begun)

    def _rate(self, jobs: int, now: float) -> float:
        self._done.append((now, jobs))
        while len(self._done) > 2 and self._done[1][0] <= now - RATE_S:
            self._done.popleft()
        then, before = self._done[0]
        return max(0, jobs - before) / (now - then) if now > then else 0.0

    def _note(self, text: str) -> None:
        self._notes.append(f"{seconds(clock.monotonic() - self._begun):>7}  {text}")
        if not self._drawn:
            log.info("%s", text)

    def _said(self, worker: str, line: str) -> None:
        if self._worker_lines:
            log.info("%s | %s", worker, line)

    def _end_workers(self) -> None:
        """Whatever happened, nothing of ours stays behind."""
        self.kill()
        for local in self.pools:
            for worker in local.workers:
                worker.process.wait()
            local.reap(clock.monotonic())


def run(
    pools: Sequence[Pool],
    *,
    url: str | None = None,
    embedded: bool = False,
    live: bool | None = None,
    stop_when: Callable[[UpState], bool] | None = None,
    on_ready: Callable[[Mapping[str, str]], None] | None = None,
    tick_s: float = TICK_S,
    metrics: bool = True,
    console: Console | None = None,
) -> Summary:
    """Run pools until SIGINT or SIGTERM, or until ``stop_when`` says so of the state after a tick.

    ``url`` and ``embedded`` are as for :class:`Up`. ``live`` draws the view (default: if the console is a terminal), else lines go to the log ``rqk.up``.
    ``on_ready`` is called once before the first tick with the Redis URL of each pool by its name.
    The first signal lets workers finish their jobs, the second makes them put their jobs back, the third kills them.
    For the main thread; in another one no signals are taken, and worker processes end with the thread.
    """
    console = console or Console()
    shown = console.is_terminal if live is None else live
    with (
        Up(pools, url=url, embedded=embedded, metrics=metrics, worker_lines=not shown, drawn=shown) as up,
        ExitStack() as stack,
    ):
        requests = _signals(up, stack)
        if on_ready is not None:
            on_ready(up.urls)
        screen = stack.enter_context(Live(console=console, auto_refresh=False)) if shown else None
        heard = 0
        while True:
            due = clock.monotonic() + tick_s
            state = up.tick()
            if screen is not None:
                screen.update(view(state), refresh=True)
            if state.stopping and up.empty:
                break
            if requests.asked > heard:
                heard = requests.asked
                (up.stop if heard <= 2 else up.kill)()
            elif not state.stopping and stop_when is not None and stop_when(state):
                up.stop()
            up.wait(due, requests)
    for line in summary_lines(state.summary):
        (console.print if shown else log.info)(line)
    return state.summary


def _signals(up: Up, stack: ExitStack) -> StopRequests:
    requests = StopRequests(clock.monotonic)
    stack.callback(requests.close)
    if threading.current_thread() is threading.main_thread():
        requests.install()
        stack.callback(requests.restore)
        # A closed terminal is a request to stop, too.
        before = signal.signal(signal.SIGHUP, requests)
        stack.callback(signal.signal, signal.SIGHUP, before)
        up.listen_to(requests)
    return requests
