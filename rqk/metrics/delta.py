"""Inside a forked job: which of the user's own prometheus_client metrics did the job change?

`Baseline.take()` notes what the metrics of prometheus_client's global registry say; `delta()` tells what has changed
since, as bytes for the supervisor, where merge.py adds them up. Values that a fork inherits (from preloaded modules)
are part of the baseline and so never counted twice: take it in the parent once, or in each child.

- Counters, histograms and summaries: the increase.
- Gauges, infos and enums: the value last set, and only if the job set it, even to the value it had. To see that, a
  baseline swaps the stored number for an equal one of its own and later looks whether that very object is still there.
- Not shipped: gauges with a callback (they describe a process that ends), exemplars, custom collectors, registries of
  the user's own, and everything in prometheus_client's multi-process mode, whose files have readers of their own.

Nothing here imports prometheus_client: if the job did not, there is nothing to tell. It reads that library's private
fields, because its public ``collect()`` takes a hundred times as long, on the way of every job; tests/metrics pins the
fields for each version we are tested with, and a field that is not there loses metrics, never the job.

Wire: JSON, ``{"v": 1, "f": [family, …], "x": series left out, "note": "multiprocess"}``; a family is ``{"t": type,
"n": name, "d": help, "u": unit, "l": label names, "b": bounds or states, "s": [[label values, value], …]}``. A value is
a number (counter, gauge), ``[count, sum]`` (summary), ``[[increase per bucket…], sum]`` (histogram), the index of the
state (enum) or an object of strings (info).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

VERSION = 1
MAX_BYTES = 1 << 20
"""A delta is never longer; what does not fit is left out and counted."""

NOTHING = b""


@dataclass
class Baseline:
    """What the process' metrics said when it was taken, or when `delta` was last called."""

    _seen: dict[Any, dict[tuple[str, ...], tuple[Any, Any]]] = field(default_factory=dict)
    """Per metric, per label values: the child (a removed and recreated one starts anew) and what it said."""

    @classmethod
    def take(cls) -> Baseline:
        """Note the metrics as they are now. Costs next to nothing if prometheus_client was never imported."""
        baseline = cls()
        client = _client()
        if client is not None:
            for metric in _metrics(client):
                baseline._note(metric)
        return baseline

    def delta(self) -> bytes:
        """What has changed since, for `WorkerMetrics.user_delta`; b"" if nothing has. Also moves this baseline to now,
        so that a process that runs several jobs calls it once after each. Never raises because of a metric."""
        client = _client()
        if client is None:
            return NOTHING
        if getattr(client.values.ValueClass, "_multiprocess", False):
            return b'{"v":1,"f":[],"note":"multiprocess"}'
        families: list[bytes] = []
        size = left_out = 0
        for metric in _metrics(client):
            try:
                family = self._family(client, metric)
                if family is None:
                    continue
                text = json.dumps(family, separators=(",", ":")).encode("ascii")
            except (AttributeError, TypeError, ValueError, IndexError):
                # A version of prometheus_client, or a subclass of the user's, that keeps its values elsewhere.
                left_out += 1
                continue
            if size + len(text) > MAX_BYTES - 64:  # the frame around the families
                left_out += len(family["s"])
                continue
            size += len(text) + 1
            families.append(text)
        if not families and not left_out:
            return NOTHING
        return b'{"v":%d,"f":[%s],"x":%d}' % (VERSION, b",".join(families), left_out)

    def _note(self, metric: Any) -> None:
        """Remember what `metric` says now."""
        try:
            self._seen[metric] = {labels: (child, _mark(child)) for labels, child in _children(metric)}
        except (AttributeError, TypeError):
            self._seen.pop(metric, None)

    def _family(self, client: ModuleType, metric: Any) -> dict[str, Any] | None:
        """The changed part of `metric`, or None; its baseline is then what it says now."""
        seen = self._seen.setdefault(metric, {})
        samples: list[list[Any]] = []
        for labels, child in _children(metric):
            old_child, old = seen.get(labels, (None, None))
            if old_child is not child:
                old = None
            if old is not None and not _touched(child, old):
                continue
            value = _change(client, child, old)
            seen[labels] = (child, _mark(child))
            if value is not None:
                samples.append([labels, value])
        if not samples:
            return None
        family = {"t": metric._type, "n": metric._name, "d": metric._documentation, "s": samples}
        if metric._unit:
            family["u"] = metric._unit
        if metric._labelnames:
            family["l"] = metric._labelnames
        if metric._type == "histogram":
            family["b"] = metric._upper_bounds[:-1]  # the last one is infinite
        elif metric._type == "stateset":
            family["b"] = list(metric._states)
        return family


def _client() -> ModuleType | None:
    """prometheus_client, if somebody imported it and the import went through."""
    client = sys.modules.get("prometheus_client")
    return client if client is not None and hasattr(client, "REGISTRY") else None


def _metrics(client: ModuleType) -> list[Any]:
    """The instruments in the global registry; not the collectors that describe the process itself."""
    kinds = (client.Counter, client.Gauge, client.Histogram, client.Summary, client.Info, client.Enum)
    return [metric for metric in list(client.REGISTRY._collector_to_names) if isinstance(metric, kinds)]


def _children(metric: Any) -> list[tuple[tuple[str, ...], Any]]:
    """The observable children with their label values; a metric without labels is its own child."""
    if metric._labelnames:
        return list(metric._metrics.copy().items())  # copied: a thread the job left behind may still add some
    return [((), metric)]


def _mark(child: Any) -> Any:
    """What `_touched` and `_change` need later. Gauges, infos and enums get a value of our own put in, equal to theirs."""
    kind = child._type
    if kind == "counter":
        return child._value._value
    if kind == "histogram":
        return ([bucket._value for bucket in child._buckets], child._sum._value)
    if kind == "summary":
        return (child._count._value, child._sum._value)
    if kind == "gauge":
        mine = child._value._value + 0.0  # arithmetic makes a new object, which nobody else holds
        child._value._value = mine
        return mine
    if kind == "info":
        return child._value  # info() stores a copy of its argument, so identity tells
    child._value = mine = float(child._value)  # state() stores an int; comparing 1 with 1.0 still holds
    return mine


def _touched(child: Any, old: Any) -> bool:
    """Whether the job did anything to `child` since `old` was marked."""
    kind = child._type
    if kind == "gauge":
        return child._value._value is not old
    if kind in ("info", "stateset"):
        return child._value is not old
    if kind == "counter":
        return bool(child._value._value != old)
    if kind == "summary":
        return bool(child._count._value != old[0])
    return bool([bucket._value for bucket in child._buckets] != old[0])


def _change(client: ModuleType, child: Any, old: Any) -> Any:
    """The value to ship for a child that was touched or is new (`old` None); None if there is none."""
    kind = child._type
    if kind == "counter":
        value = child._value._value
        return _increase(value, old or 0.0) or None
    if kind == "summary":
        count, total = child._count._value, child._sum._value
        if old is None or count < old[0]:
            old = (0.0, 0.0)
        return [count - old[0], total - old[1]] if count != old[0] else None
    if kind == "histogram":
        counts, total = [bucket._value for bucket in child._buckets], child._sum._value
        if old is None or sum(counts) < sum(old[0]):
            old = ([0.0] * len(counts), 0.0)
        if counts == old[0]:
            return None
        return [[_increase(now, was) for now, was in zip(counts, old[0], strict=True)], total - old[1]]
    if kind == "gauge":
        if "_child_samples" in vars(child):  # set_function()
            return None
        return child._value._value if old is not None or _was_set(client, child) else None
    if kind == "info":
        pairs = {str(name): str(value) for name, value in child._value.items()}
        return pairs if old is not None or pairs else None
    # The first state is also an enum's state from birth: only of an enum from before the job can it be told that it
    # was set on purpose.
    return int(child._value) if old is not None or child._value else None


def _was_set(client: ModuleType, gauge: Any) -> bool:
    """Whether a gauge made during the job was ever set: until then it holds its class' own zero, the same object for
    all. Shipping a mere definition would overwrite what another job had set."""
    untouched = client.values.MutexValue("gauge", "", "", (), (), "")._value
    return gauge._value._value is not untouched


def _increase(now: float, was: float) -> float:
    """The increase; a counter that was reset in between starts at zero."""
    return now - was if now >= was else now
