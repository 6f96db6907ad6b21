"""The pictures of docs/scaling.md, from what the simulator says: ``python -m charts.scaling --write`` or ``--check``.

How matplotlib draws differs between its versions, so what is checked is the data: each picture carries a digest of its
curves. Needs matplotlib.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rqk.autoscale.compare import spec
from rqk.autoscale.history import History
from rqk.autoscale.keda import KedaHpa
from rqk.autoscale.model import Scaling
from rqk.autoscale.retire import Duty
from rqk.autoscale.seen import Observation, QueueSeen, WorkersSeen
from rqk.autoscale.simulate import Policy, Rqk, World, simulate
from rqk.autoscale.traces import Trace, burst, poisson
from rqk.autoscale.wanted import wanted

mpl.use("Agg")

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("docs/images")

_INK, _FAINT = "#24292e", "#d0d5dc"
_WAITING, _PODS, _BUSY, _KILLED = "#e0752d", "#3274d9", "#56a64b", "#c4162a"
_OTHERS = (_PODS, _BUSY, _WAITING, "#8f3bb8")
_OF = {"waiting": _WAITING, "pods": _PODS, "running": _BUSY, "killed so far": _KILLED}

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves by name over one axis: its name, and what its numbers are divided by."""

    title: str
    curves: Mapping[str, Curve]
    across: str
    unit: float = 1.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """Panels side by side, on the same scale."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    upright: str = "jobs, pods"

    @property
    def digest(self) -> str:
        """Of all that is drawn."""
        said = [
            (
                panel.title,
                panel.note,
                [(name, [_rounded(pair) for pair in curve]) for name, curve in panel.curves.items()],
            )
            for panel in self.panels
        ]
        return hashlib.sha256(json.dumps([self.title, said]).encode()).hexdigest()


def _rounded(pair: tuple[float, float]) -> list[float]:
    return [round(pair[0], 3), round(pair[1], 3)]


@dataclass
class Watched:
    """A policy, and beside it someone who writes down what there is every ``every`` seconds."""

    policy: Policy
    every: float
    curves: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: {name: [] for name in ("waiting", "pods", "running", "killed so far")}
    )

    def timers(self, chance: random.Random) -> list[tuple[float, float, Callable[[World], None]]]:
        """The policy's own and the look."""
        return [*self.policy.timers(chance), (0.0, self.every, self._look)]

    def arrived(self, world: World) -> None:
        """Passed on."""
        self.policy.arrived(world)

    def _look(self, world: World) -> None:
        pods = world.pods.values()
        for name, value in (
            ("waiting", len(world.waiting)),
            ("pods", len(pods)),
            ("running", sum(pod.duty is Duty.BUSY for pod in pods)),
            ("killed so far", world.killed),
        ):
            self.curves[name].append((world.now, float(value)))


def run(title: str, trace: Trace, policy: Policy, *, every: float, until: float, minutes: bool = True) -> Panel:
    """One policy on one trace, with a pod's start of 5 s and 30 s of grace, as in the table."""
    watched = Watched(policy, every)
    outcome = simulate(trace, watched, horizon=until)
    curves = {name: curve for name, curve in watched.curves.items() if name != "killed so far" or outcome.killed}
    for name, curve in curves.items():
        # Once the pool is empty the simulation ends; the picture goes on.
        ended = outcome.empty_at if outcome.empty_at is not None else until
        last = curve[-1][1] if outcome.empty_at is None else float(outcome.killed) if name == "killed so far" else 0.0
        curve += [(ended, last), (until, last)]
    hours = outcome.pod_seconds / 3600
    note = f"waits: half under {_time(outcome.wait_p50)}, 95% under {_time(outcome.wait_p95)}; {hours:.3g} pod-hours"
    note += f"\n{outcome.killed} running jobs killed, {outcome.thrown_away / 3600:.2g} h of work lost"
    kept = {name: _changes(curve) for name, curve in curves.items()}
    return Panel(title, kept, *(("minutes", 60.0) if minutes else ("seconds", 1.0)), note=note)


def _changes(curve: Sequence[tuple[float, float]]) -> Curve:
    """Without the points that say what the one before them said, but with the last."""
    kept = [pair for before, pair in zip([(0.0, -1.0), *curve], curve, strict=False) if before[1] != pair[1]]
    return (*kept, curve[-1])


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def asked(jobs: Sequence[int], *, depth: int | None = None, wait: int | None = None, job_seconds: float = 1.0) -> Curve:
    """How many workers the targets of an empty pool ask for, by the number of jobs that wait."""
    scaling = Scaling(max_replicas=1000, target_depth_per_worker=depth, target_wait_seconds=wait)
    history = History.resumed(service_seconds=job_seconds)

    def size(waiting: int) -> int:
        seen = Observation(replicas=0, queues=(QueueSeen("default", waiting),), workers=WorkersSeen())
        return wanted(scaling, seen, history, 0.0).workers

    return tuple((float(waiting), float(size(waiting))) for waiting in jobs)


def targets() -> Picture:
    """What each target makes of jobs that wait."""
    jobs = range(201)
    return Picture(
        "scaling-targets",
        "What the targets ask for when so many jobs wait and nobody is there yet",
        (
            Panel(
                "targetDepthPerWorker: how long jobs take does not matter",
                {f"targetDepthPerWorker: {depth}": asked(jobs, depth=depth) for depth in (2, 5, 10, 50)},
                "jobs that wait",
            ),
            Panel(
                "targetWaitSeconds: 30, by the time a job takes",
                {
                    name: asked(jobs, wait=30, job_seconds=seconds)
                    for name, seconds in (("10 min (or 30 s)", 600), ("10 s", 10), ("3 s", 3), ("0.1 s", 0.1))
                },
                "jobs that wait",
            ),
        ),
        upright="workers",
    )


def life() -> Picture:
    """A burst through a pool at zero and back."""
    trace = burst(47, 7, at=10)
    policy = Rqk(spec(depth=5, most=10))
    return Picture(
        "scaling-life",
        "A burst: from zero to ten workers and back",
        (
            run(
                "47 jobs of 7 s come at second 10; targetDepthPerWorker: 5, maxReplicas: 10, the default times",
                trace,
                policy,
                every=0.5,
                until=190,
                minutes=False,
            ),
        ),
    )


def beside_keda(name: str, title: str, trace: Trace, *, wait: int, until: float, every: float) -> Picture:
    """KEDA as it comes, KEDA as an expert sets it up, and rqk."""
    compared: Sequence[tuple[str, Policy]] = (
        ("KEDA, list, target 5 (default)", KedaHpa(list_length=5)),
        ("KEDA, list + running, target 1", KedaHpa(list_length=1, count_running=True)),
        (f"rqk, targetWaitSeconds {wait}", Rqk(spec(wait=wait))),
    )
    return Picture(name, title, tuple(run(who, trace, policy, every=every, until=until) for who, policy in compared))


def pictures() -> tuple[Picture, ...]:
    """All of them; a few seconds."""
    hour = 3600.0
    return (
        targets(),
        life(),
        beside_keda("scaling-long", "100 jobs of 10 min at once", burst(100, 600), wait=30, until=hour, every=5),
        beside_keda("scaling-short", "1000 jobs of 10 s at once", burst(1000, 10), wait=30, until=720, every=1),
        beside_keda(
            "scaling-stream",
            "an hour of 0.2 jobs/s, log-normal, mean 60 s",
            poisson(0.2, 60, 1.5, hour, 0),
            wait=30,
            until=1.5 * hour,
            every=10,
        ),
    )


def draw(picture: Picture, file: Path) -> None:
    """Into an SVG file that carries the digest."""
    wide = 11.0 if len(picture.panels) > 1 else 7.5
    style: dict[Any, Any] = {
        "font.size": 8,
        "font.family": "DejaVu Sans",
        "axes.edgecolor": _FAINT,
        "text.color": _INK,
        "svg.hashsalt": picture.name,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(wide, 3.7), facecolor="white", layout="constrained")
        figure.suptitle(picture.title, fontsize=11, weight="bold")
        many: list[Axes] = list(figure.subplots(1, len(picture.panels), sharey=True, squeeze=False)[0])
        for axes, panel in zip(many, picture.panels, strict=True):
            _panel(axes, panel)
        many[0].set_ylim(bottom=0)  # after all of them have said how high they are
        many[0].set_ylabel(picture.upright)
        handles, names = max((axes.get_legend_handles_labels() for axes in many), key=lambda pair: len(pair[1]))
        if picture.name == "scaling-targets":  # its panels have curves of their own
            for axes in many:
                axes.legend(frameon=False, loc="upper left")
        else:
            figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Description": _mark(picture)})


def _panel(axes: Axes, panel: Panel) -> None:
    for (name, curve), other in zip(panel.curves.items(), _OTHERS, strict=False):
        across, up = [at / panel.unit for at, _ in curve], [value for _, value in curve]
        colour = _OF.get(name, other)
        if name == "running":  # as an area: what is white between it and the pods costs and does nothing
            axes.fill_between(across, up, step="post", color=colour, alpha=0.35, linewidth=0, label=name)
        else:
            dashes = "--" if name == "killed so far" else "-"
            axes.step(across, up, where="post", color=colour, linewidth=1.3, linestyle=dashes, label=name)
    axes.set_title(panel.title, fontsize=8.5, weight="bold", loc="left")
    axes.set_xlabel(f"{panel.across}\n{panel.note}" if panel.note else panel.across)
    axes.set_xlim(0, max(curve[-1][0] for curve in panel.curves.values()) / panel.unit)
    axes.grid(visible=True, color=_FAINT, linewidth=0.4)
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _mark(picture: Picture) -> str:
    return f"made by python -m charts.scaling from data {picture.digest}"


def stale(root: Path = ROOT) -> list[str]:
    """Pictures that are missing, or show what the code no longer says."""
    files = [(picture, root / FOLDER / f"{picture.name}.svg") for picture in pictures()]
    return [
        str(file.relative_to(root))
        for picture, file in files
        if not file.exists() or _mark(picture) not in file.read_text()
    ]


def main(words: Sequence[str]) -> int:
    """The command line."""
    if list(words) not in (["--write"], ["--check"]):
        sys.stderr.write("usage: python -m charts.scaling --write | --check\n")
        return 2
    if words[0] == "--check":
        wrong = stale()
        for name in wrong:
            sys.stderr.write(f"{name} is out of date; run: python -m charts.scaling --write\n")
        return 1 if wrong else 0
    for picture in pictures():
        draw(picture, ROOT / FOLDER / f"{picture.name}.svg")
        sys.stdout.write(f"wrote {FOLDER / picture.name}.svg\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
