"""Which pods leave when a pool shrinks, and when it is safe to say so. Pure; property-tested against a ReplicaSet model.

Kubernetes is told a number, not a pod, so a pod leaves in four steps, each taken only when the one before is visible:

1. its worker is asked in Redis, and agrees only if it holds no job: from then on it takes none and reports NotReady;
   one that has not come yet, or comes again after a crash, is asked ahead, by the name that it will have;
2. its pod gets the lowest deletion cost;
3. our own watch shows both, and did so a round ago: the ReplicaSet controller, which watches too, then knows as well;
4. the number is lowered, by no more than the pods which that controller would choose before any other one.

A pool that grows meanwhile takes the retirement back. Each round starts from what is there, so it may stop anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rqk.autoscale.observe import duty
from rqk.autoscale.retire import Duty, Member, choose_victims
from rqk.store.snapshot import WorkerSnapshot
from rqk_operator.views import PodView

LOWEST_COST = -1_000_000
# A container that runs but whose worker is not in Redis may be about to claim a job, or have one while Redis lost its
# memory. After so long, and not ready, it is taken for broken.
HOPELESS_S = 180.0
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}

Rank = tuple[bool, int, bool, int]
_FIRST: Rank = (False, 0, False, LOWEST_COST)
_SPEAKERS = (Duty.STARTING, Duty.IDLE, Duty.RETIRING, Duty.BUSY)  # of several workers in a pod, the last one counts


@dataclass(frozen=True, slots=True)
class Mate:
    """A pod that counts, with its worker if that is known in Redis."""

    pod: PodView
    worker: WorkerSnapshot | None
    duty: Duty

    @property
    def free(self) -> bool:
        """It may go without being asked: no worker runs in it that could hold a job."""
        return self.worker is None and self.duty in (Duty.BROKEN, Duty.STARTING)

    @property
    def away(self) -> bool:
        """No process is there that would hear the question; a record may be, of one that has died."""
        return self.worker is None or not self.pod.running


_NOBODY: frozenset[str] = frozenset()  # one for all, as there are thousands of pools without pods


@dataclass(frozen=True, slots=True)
class Memory:
    """What a round saw, for the next one: the controller knows at least as much by then."""

    may_go: frozenset[str] = frozenset()  # uids of pods on which all was visible
    ranks: Mapping[str, Rank] = field(default_factory=dict)  # of every pod that counted, by uid
    ahead: frozenset[str] = frozenset()  # uids of pods whose workers were asked before they came
    asking: frozenset[str] = frozenset()  # of those that this round asks so

    def asked_ahead(self, pods: Sequence[PodView]) -> Memory:
        """With those of them that were asked just now and have not come."""
        asked = self.asking.intersection(pod.uid for pod in pods)
        return replace(self, ahead=self.ahead | asked) if asked else self


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now; all of it may be empty."""

    unretire: tuple[Mate, ...] = ()
    retire: tuple[Mate, ...] = ()  # to be asked; only those that agree are marked
    mark: tuple[PodView, ...] = ()  # give it the lowest deletion cost; those that agree get it too
    unmark: tuple[PodView, ...] = ()
    replicas: int | None = None  # write this number; None leaves it
    unborn: tuple[PodView, ...] = ()  # lower it only while these pods are as they were
    memory: Memory = field(default_factory=Memory)

    @property
    def empty(self) -> bool:
        """Nothing to do."""
        return not (self.unretire or self.retire or self.mark or self.unmark) and self.replicas is None


def still_holds(steps: Plan, pods: Mapping[str, PodView]) -> bool:
    """Whether a number may still be lowered, some requests after it was planned: nobody has come to life meanwhile."""
    return not any(_moved(pod, pods) for pod in steps.unborn)


def still_to_mark(steps: Plan, pods: Mapping[str, PodView]) -> tuple[PodView, ...]:
    """Those of the pods to mark that have not come to life since it was planned, and perhaps to a job."""
    return tuple(pod for pod in steps.mark if not _moved(pod, pods))


def _moved(then: PodView, pods: Mapping[str, PodView]) -> bool:
    now = pods.get(then.uid, then)
    return (now.running, now.ready) != (then.running, then.ready)


class Directory:
    """The workers of one snapshot, found by pod and by queue; made once for all pools of a Redis."""

    def __init__(self, workers: Iterable[WorkerSnapshot]) -> None:
        self._by_name: dict[str, WorkerSnapshot] = {}
        self._by_host: dict[str, list[WorkerSnapshot]] = {}
        self._by_queue: dict[str, list[WorkerSnapshot]] = {}
        for worker in workers:
            self._by_name[worker.name] = worker
            if worker.hostname:
                self._by_host.setdefault(worker.hostname, []).append(worker)
            for queue in worker.queues:
                self._by_queue.setdefault(queue, []).append(worker)

    def of(self, pod: PodView) -> WorkerSnapshot | None:
        """The worker in a pod. Those of another make choose their own names, but a pod's host name is its own name.

        Of several (a pool of processes, records of processes that died) a busy one speaks for all.
        """
        found = self._by_name.get(pod.worker)
        if found is None and (there := self._by_host.get(pod.hostname)):
            found = max(there, key=lambda worker: _SPEAKERS.index(duty(worker)))
        return found

    def around(self, queues: Iterable[str]) -> tuple[WorkerSnapshot, ...]:
        """Whoever serves one of these queues."""
        found = {worker.name: worker for queue in queues for worker in self._by_queue.get(queue, ())}
        return tuple(found.values())


def crew(pods: Iterable[PodView], directory: Directory, now: float) -> list[Mate]:
    """The pods that count, with what each is doing. ``now`` is epoch seconds."""
    mates: list[Mate] = []
    for pod in pods:
        if pod.active:
            found = directory.of(pod)
            mates.append(Mate(pod, found, _duty(pod, found, now)))
    return mates


def _duty(pod: PodView, worker: WorkerSnapshot | None, now: float) -> Duty:
    if worker is not None:
        doing = duty(worker)
        # A record may outlive its process; while it says busy, the job's fate is not settled. One that was asked to
        # retire is on its way out all the same.
        return doing if doing in (Duty.BUSY, Duty.RETIRING) or pod.running else Duty.BROKEN
    if pod.running:
        return Duty.BROKEN if not pod.ready and now - pod.created > HOPELESS_S else Duty.BUSY
    return Duty.BROKEN if pod.waiting not in ("", "ContainerCreating", "PodInitializing") else Duty.STARTING


def size(current: int, mates: Sequence[Mate]) -> int:
    """How many workers the pool has that stay. ``current`` is the Deployment's number."""
    retiring = sum(mate.duty is Duty.RETIRING for mate in mates)
    slated = sum(mate.duty is Duty.RETIRING for mate in _ranked(mates)[: _beyond(current, mates)])
    return max(0, current - (retiring - slated))


def plan(
    current: int,
    wanted: int,
    mates: Sequence[Mate],
    memory: Memory,
    *,
    probed: bool,
    failing: bool = False,
) -> Plan:
    """The next steps towards ``wanted`` workers that stay.

    ``memory`` is what the last round's plan said. ``probed``: the workers report NotReady when they retire, as rqk's
    do; others are known by their deletion cost alone. ``failing``: the controller says that it cannot make all pods.
    """
    slated = _slated(current, mates)
    retiring = _retiring(mates, slated)
    missing = wanted - size(current, mates)
    # In a rollout the number stays unless everybody leaves, and a new worker that retires, not ready, would hold it up.
    held = wanted > 0 and _rolling(mates)
    back = sorted(retiring, key=lambda mate: (mate.away, mate.pod.uid in memory.may_go, mate.pod.created))
    back = back if held else back[: max(0, missing)]
    asked, free = _victims(mates, retiring, slated, 0 if held else max(0, -missing))
    # A pod that does not even run yet would be removed before any worker that retired: better it goes than a warm one.
    unborn = [mate for mate in mates if mate.free and mate not in free and mate.pod.uid not in slated]
    if missing <= 0 and unborn and not held:
        swapped = [mate for mate in retiring if not mate.away][: len(unborn)]
        free += unborn[: len(swapped)]
        back += swapped
    stay = frozenset(mate.pod.uid for mate in back)
    leave = {mate.pod.uid for mate in mates if mate.duty is Duty.RETIRING or (mate.free and mate.pod.uid in slated)}
    going = (leave | {mate.pod.uid for mate in free}) - stay
    # Workers of another make have names that nobody knows ahead.
    again = [mate for mate in retiring if mate.away and mate.pod.uid not in stay]  # it died since it was asked
    untold = [mate for mate in (*free, *again) if probed and mate.pod.uid not in memory.ahead]
    marked = going - {mate.pod.uid for mate in untold}
    welcome = [
        mate
        for mate in mates
        if mate.free and mate.pod.uid in memory.ahead and mate.pod.uid not in going and mate.pod.uid not in slated
    ]
    may_go = _may_go(mates, going, probed=probed, ahead=memory.ahead)
    if missing > len(back):
        number: int | None = current + missing - len(back)
    else:
        # While pods are still being made, nobody knows what will run by the time the controller reads the next number.
        complete = failing or len(mates) >= current
        number = _lowered(current, wanted, mates, may_go, memory) if complete and not back else None
    return Plan(
        unretire=(*back, *welcome),
        retire=(*asked, *untold),
        mark=tuple(mate.pod for mate in mates if mate.pod.uid in marked and mate.pod.cost != LOWEST_COST),
        unmark=tuple(mate.pod for mate in mates if mate.pod.uid not in going and mate.pod.cost == LOWEST_COST),
        replicas=number,
        unborn=tuple(mate.pod for mate in mates if mate.away and mate.pod.uid in may_go),
        memory=Memory(
            may_go,
            {mate.pod.uid: _rank(mate.pod) for mate in mates},
            memory.ahead & {mate.pod.uid for mate in mates if mate.away and mate not in welcome} - stay or _NOBODY,
            frozenset(mate.pod.uid for mate in (*asked, *untold) if mate.away) or _NOBODY,
        ),
    )


def _victims(
    mates: Sequence[Mate], retiring: Sequence[Mate], slated: frozenset[str], count: int
) -> tuple[list[Mate], list[Mate]]:
    """Who is to leave: those that must be asked first, and those that need not."""
    there = {mate.pod.uid: mate for mate in mates if mate not in retiring and mate.pod.uid not in slated}
    members = [Member(uid, mate.duty, mate.pod.created) for uid, mate in there.items()]
    chosen = [there[member.name] for member in choose_victims(members, count)]
    return [mate for mate in chosen if not mate.free], [mate for mate in chosen if mate.free]


def _may_go(mates: Sequence[Mate], going: Iterable[str], *, probed: bool, ahead: frozenset[str]) -> frozenset[str]:
    """Those of the leaving ones on which all that has to be visible is visible."""

    def is_sure(mate: Mate) -> bool:
        if mate.away:
            return not probed or mate.pod.uid in ahead
        return not (probed and mate.pod.ready)

    marked = {mate.pod.uid for mate in mates if mate.pod.cost == LOWEST_COST and is_sure(mate)}
    return frozenset(marked.intersection(going)) or _NOBODY


def _lowered(current: int, wanted: int, mates: Sequence[Mate], may_go: frozenset[str], memory: Memory) -> int | None:
    """A smaller number that can only cost pods which may go; None if there is none.

    Both by what is seen now and by what was seen a round ago: the controller's view is somewhere between.
    """
    sure = may_go & memory.may_go
    fence = min(
        (rank for mate in mates if mate.pod.uid not in sure for rank in (_rank(mate.pod), _before(mate, memory))),
        default=None,
    )
    last = {mate.pod.uid: max(_rank(mate.pod), _before(mate, memory)) for mate in mates if mate.pod.uid in sure}
    first = sum(1 for rank in last.values() if fence is None or rank < fence)
    if _rolling(mates) and first < len(mates):
        return None  # in a rollout the number is split over two ReplicaSets, and nobody knows how
    number = max(wanted, len(mates) - first)
    return number if number < current else None


def _rolling(mates: Iterable[Mate]) -> bool:
    return len({mate.pod.template for mate in mates}) > 1


def _before(mate: Mate, memory: Memory) -> Rank:
    """A pod that was not there a round ago may be anything to the controller."""
    return memory.ranks.get(mate.pod.uid, _FIRST)


def _rank(pod: PodView) -> Rank:
    """The order in which a ReplicaSet removes pods, as far as it can be relied on (controller_utils.go, ActivePodsWithRanks)."""
    return (pod.assigned, _PHASES.get(pod.phase, 1), pod.ready, pod.cost)


def _ranked(mates: Iterable[Mate]) -> list[Mate]:
    return sorted(mates, key=lambda mate: _rank(mate.pod))


def _beyond(current: int, mates: Sequence[Mate]) -> int:
    """How many pods there are beyond the number: so many the controller is about to remove."""
    return max(0, len(mates) - current)


def _slated(current: int, mates: Sequence[Mate]) -> frozenset[str]:
    """Every pod that may be among those: which of several that rank the same is the controller's secret."""
    first = _ranked(mates)[: _beyond(current, mates)]
    return frozenset(mate.pod.uid for mate in mates if first and _rank(mate.pod) <= _rank(first[-1].pod))


def _retiring(mates: Iterable[Mate], slated: frozenset[str]) -> list[Mate]:
    return [mate for mate in mates if mate.duty is Duty.RETIRING and mate.pod.uid not in slated]
