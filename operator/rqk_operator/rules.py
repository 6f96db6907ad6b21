"""From what was seen of a pool to what is to be done and said about it. Pure but for the pool's own state."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from rqk.autoscale.decide import Decision, Reason, decide
from rqk.autoscale.model import Pool
from rqk.autoscale.observe import observe
from rqk.store.snapshot import Snapshot
from rqk_operator.pools import PoolState
from rqk_operator.retire import Directory, Mate, Plan, crew, plan, size
from rqk_operator.status import Facts, Status, Trouble, compose, invalid
from rqk_operator.views import DeploymentView, Ended, PodView

REDIS_PATIENCE_S = 3.0  # a Redis that hiccups for less than this is not reported
FAILING_S = 30.0  # a pod that starts again and again is trouble in between, too
GLANCE_S = 10.0  # between glances at the queues of a pool at rest, from which news would come
REST_S = 60.0  # between decisions for a pool at rest
_HELD = frozenset({Reason.PAUSED, Reason.SUSPENDED, Reason.UNREADABLE})
# Containers wait for these reasons while all is well.
_PASSING = frozenset({"", "ContainerCreating", "PodInitializing"})
_SAME = {"ErrImagePull": "ImagePullBackOff", "CreateContainerError": "CreateContainerConfigError"}


def consider(
    state: PoolState, pool: Pool, snapshot: Snapshot | None, directory: Directory, now: float, epoch: float
) -> tuple[Decision, Plan, list[Mate]]:
    """Decide. ``snapshot`` is None if the pool's Redis did not answer; ``now`` is monotonic, ``epoch`` the wall clock."""
    current, live = state.size_now, state.own
    mates = crew(state.pods.values(), directory, epoch)
    mine = {mate.worker.name for mate in mates if mate.worker is not None}
    seen = observe(
        pool.spec,
        snapshot,
        replicas=size(current, mates),
        mine=lambda worker: worker.name in mine,
        crowd=directory.around(pool.spec.queues),
    )
    decision, state.history = decide(pool.spec, seen, state.history, now, paused=pool.paused)
    state.observed, state.decision = seen, decision
    if decision.change:
        state.shrinking = decision if decision.change < 0 else None
    # Blind, nothing is done: who is busy is not known either.
    if snapshot is None or live is None:
        return decision, Plan(memory=state.memory), mates
    probed, failing = pool.spec.worker.command is None, bool(live.failure)
    # A size that is held is held with those who were about to leave: their retirement is taken back.
    looks_on = pool.spec.scaling.dry_run
    wanted = current if looks_on or decision.reason in _HELD else decision.replicas
    steps = plan(current, wanted, mates, state.memory, probed=probed, failing=failing)
    if looks_on:
        steps = Plan(unretire=steps.unretire, unmark=steps.unmark, memory=steps.memory)
    return decision, steps, mates


def rest(state: PoolState, snapshot: Snapshot | None, now: float) -> None:
    """Set when to look at the pool again: in the next round, or, at zero with nothing to do or to tell, much later.

    Whatever else changes it, its watches report: they set ``look_at`` to 0.
    """
    seen, live = state.observed, state.own
    quiet = (
        snapshot is not None
        and seen is not None
        and seen.readable
        and not (seen.waiting or seen.due or seen.abandoned)
        and live is not None
        and live.replicas == 0
        and all(pod.dead for pod in state.pods.values())  # evicted ones stay there until somebody clears them away
        and state.decision is not None
        and state.decision.replicas == 0
        and not (state.refused or state.failing or state.errors_in_a_row or state.stumbling or state.children_trouble)
    )
    if not quiet or snapshot is None or seen is None:
        state.look_at = state.glance_at = 0.0
        return
    dues = [snapshot.queues[queue.name].next_due for queue in seen.queues]
    state.look_at = now + REST_S * _spread(state)
    _glance_later(state, snapshot.at, [due for due in dues if due is not None], now)


def still_rests(state: PoolState, snapshot: Snapshot, now: float) -> bool:
    """Whether a pool at rest stays there, so that nothing has to be decided; then sets when to glance at it again."""
    seen, glance = state.observed, snapshot.glance
    if seen is None or state.pool is None or seen.suspended != snapshot.suspended:
        return False
    queues = state.pool.spec.queues
    if not glance.stirred.isdisjoint(queues):
        return False
    dues = [glance.next_due[name] for name in queues if name in glance.next_due] if glance.next_due else []
    _glance_later(state, snapshot.at, dues, now)
    return True


def _glance_later(state: PoolState, at: float, dues: Sequence[float], now: float) -> None:
    """``at`` is the time of Redis, in which ``dues`` are too. An enqueue is told of, a job that becomes due is not."""
    soonest = min((due - at for due in dues), default=GLANCE_S)
    state.glance_at = now + max(0.0, min(soonest, GLANCE_S * _spread(state)))


def _spread(state: PoolState) -> float:
    """Not all pools in the same round."""
    return 0.75 + (hash(state.about.uid) % 64) / 128


def note_redis(state: PoolState, trouble: Trouble | None, now: float) -> None:
    """Remember whether the pool's Redis answers. A short silence is no trouble yet."""
    if trouble is None:
        state.redis, state.redis_since, state.redis_known = None, None, True
        return
    state.redis_since = now if state.redis_since is None else state.redis_since
    if now - state.redis_since >= REDIS_PATIENCE_S or not state.redis_known or trouble.reason == "LoginRefused":
        # The first words stay as long as the trouble is the same: messages that change are status writes.
        if state.redis is None or state.redis.reason != trouble.reason:
            state.redis = trouble
        state.redis_known = True


def note_failing(state: PoolState, mates: Sequence[Mate], now: float) -> None:
    """Remember whether workers cannot be made, or do not start."""
    found = _failing(state.deployment, [mate.pod for mate in mates])
    if found is not None:
        if state.failing is None or state.failing.reason != found.reason:
            state.failing = found
        state.failing_until = now + FAILING_S
    elif now >= state.failing_until:
        state.failing = None


def _failing(live: DeploymentView | None, pods: Iterable[PodView]) -> Trouble | None:
    for pod in pods:
        if pod.waiting not in _PASSING:
            reason = _SAME.get(pod.waiting, pod.waiting)
            return Trouble(
                reason, f"a worker's container does not run: {reason}; see `kubectl describe pod {pod.name}`"
            )
    if live is not None and live.failure:
        return Trouble("PodsRefused", _plain(live.failure))
    if live is not None and live.stuck:
        return Trouble("RolloutStuck", _plain(live.stuck))
    return None


def _plain(message: str) -> str:
    """Without the names of single pods, which differ each time."""
    return re.sub(r'pods "[^"]*" (is forbidden: )?', "", message)


def status_of(
    state: PoolState, mates: Sequence[Mate], snapshot: Snapshot | None, now: datetime, *, push: bool
) -> Status:
    """The status that the pool should show."""
    if state.pool is None:
        trouble = state.invalid or Trouble("InvalidSpec", "the pool cannot be understood")
        return invalid(state.about.name, state.generation, trouble, state.status, now)
    facts = Facts(
        observed=state.observed,
        decision=state.decision,
        mates=mates,
        ready=sum(mate.pod.ready for mate in mates),
        template=state.template,
        template_known=state.template_known,
        template_note=state.template_note,
        redis=state.access_trouble or state.redis,
        redis_known=state.redis_known,
        failing=state.failing or state.stumbling or state.children_trouble,
        conflict=state.conflict,
        push=push,
        last_scale=state.last_scale,
        unreadable=_unreadable(state.pool, snapshot),
    )
    return compose(state.pool, facts, state.status, now)


def _unreadable(pool: Pool, snapshot: Snapshot | None) -> dict[str, str]:
    if snapshot is None:
        return {}
    return {name: snapshot.unreadable[name] for name in pool.spec.queues if name in snapshot.unreadable}


def cause_of_death(before: PodView | None, after: PodView, *, gone: bool) -> tuple[str, float | None] | None:
    """Why a worker's process is known to have died, and which attempts are its own: those begun before that moment
    (None: all of them, since its name will not be seen again). None if nothing shows that it died.

    A pod that vanishes without a word of its container may still run on a node that cannot be reached.
    """
    if after.dead and not (before is not None and before.dead):
        return f"Its worker's pod {after.name} failed: {after.reason or _ended(after.ended)}.", None
    ended = after.ended
    news = ended is not None and (before is None or before.ended != ended)
    if ended is None or ended.exit_code == 0 or not (news or gone):
        return None
    text = f"Its worker in pod {after.name} died: {_ended(ended)}."
    if gone:
        return (text, None) if not after.running else None
    # The container starts again under the same name. Kubernetes' times are whole seconds.
    return text, ended.at + 1.0


def _ended(ended: Ended | None) -> str:
    return f"{ended.reason}, exit code {ended.exit_code}" if ended is not None else "its containers were stopped"
