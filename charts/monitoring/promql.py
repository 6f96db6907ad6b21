"""Pieces of PromQL that several panels and alerts use."""

from __future__ import annotations

POOL = 'namespace=~"$namespace", pool=~"$pool"'
"""The labels of a pool. A worker outside Kubernetes has neither; the variables' *All* matches that too."""
QUEUE = POOL + ', queue=~"$queue"'
RATE = "$__rate_interval"
RANGE = "$__range"


def quantile(share: float, metric: str, matchers: str, by: str = "", window: str = RATE) -> str:
    """A quantile of a histogram, over all series or for each value of the labels ``by``."""
    labels = f"le, {by}" if by else "le"
    selector = f"{{{matchers}}}" if matchers else ""
    return f"histogram_quantile({share:g}, sum by ({labels}) (rate({metric}_bucket{selector}[{window}])))"


def events(selector: str, by: str, window: str) -> str:
    """How often something happened in ``window``, the first time included.

    A series of a rare outcome is born with its first event, already at 1, and rate() and increase() do not see a birth.
    So a series that was not there a window ago counts with its largest value, even if its pod is gone by now. (After
    Prometheus itself was down for longer than the window, events of before count once more.)
    """
    born = f"max_over_time({selector}[{window}]) unless {selector} offset {window}"
    return f"sum by ({by}) (({born}) or increase({selector}[{window}]))"


def of_workers(selector: str) -> str:
    """Only the series that come from a worker of ours: for names such as process_*, which everybody has."""
    return f"({selector} and on (job, instance) rqk_build_info)"


def pod_hours(selector: str, by: str = "") -> str:
    """Hours that pods spent over the dashboard's range.

    From their number at each interval of the dashboard: a minute is looked at closely and a month costs no more.
    (An average over time would leave out the time in which a pool had no series.)
    """
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (sum_over_time({selector}[{RANGE}:$__interval])) * $__interval_ms / 3600000"
