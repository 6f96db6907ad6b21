"""A real Prometheus on a real cluster: the chart's PodMonitors, a pool's own, the documented configuration, every rule."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from charts.monitoring.alert import Alert
from charts.monitoring.alerts import ALERTS
from charts.monitoring.board import Board, Panel, Query
from charts.monitoring.boards import BOARDS
from charts.monitoring.scenario import Scenario
from tests.cluster.release import DEVELOPMENT, POOL, Release, ensure_crd, merged, scoped
from tests.cluster.scraping import POD_MONITORS, Discovery, documented, from_file, of_pod_monitor
from tests.kube.access import Access
from tests.kube.client import wait_for
from tests.kube.settings import PROJECT
from tests.monitoring.asking import ask, numbers
from tests.monitoring.prometheus import Prometheus

RULES = PROJECT / "charts" / "rqk" / "rules" / "rqk.rules.yaml"
EVERY_SECOND = {"enabled": True, "interval": "1s", "scrapeTimeout": "1s"}
OWN: dict[str, Any] = {"spec": {"queues": ["own"], "scaling": {"minReplicas": 1}, "podMonitor": {"interval": "1s"}}}
VALUES: dict[str, Any] = {
    **DEVELOPMENT,
    "exporter": {"enabled": True},
    "metrics": {"podMonitor": EVERY_SECOND},
    "pools": {
        "shop": merged(POOL, {"spec": {"scaling": {"targetWaitSeconds": 60}}}),
        "own": merged(POOL, OWN),
    },
}
JOBS = 24
SCALING = [
    pytest.param(panel, id=f"{board.uid}: {panel.title}")
    for board in BOARDS
    for panel in board.panels
    if panel.scenario is Scenario.SCALING
]

# The story is told while the first test is set up, and may have to wait for the images.
pytestmark = pytest.mark.timeout(120, func_only=True)


@dataclass(frozen=True)
class Watched:
    """A release that Prometheus looked at while a pool grew, worked and shrank."""

    prometheus: Prometheus
    namespace: str
    calm_at: float
    end: float


@pytest.fixture(scope="module")
def pod_monitors(cluster: Access) -> Iterator[None]:
    """The kind that the Prometheus operator would bring."""
    if cluster.find("crd", POD_MONITORS["metadata"]["name"]):
        yield
        return
    cluster.apply(POD_MONITORS)
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{POD_MONITORS['metadata']['name']}")
    yield
    cluster.delete(POD_MONITORS)


@pytest.fixture(scope="module")
def watched(
    cluster: Access, images: None, pod_monitors: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    """One story that all tests here ask about."""
    if cluster.own is None:
        pytest.skip("Prometheus runs beside the cluster: it reaches the pods of the fixture's own only")
    ensure_crd(cluster)
    with cluster.new_namespace("watched") as client:
        release = Release(cluster, client)
        try:
            release.install(scoped(release, VALUES))
            release.wait_replicas("own", 1)
            wait_for(lambda: client.find("podmonitor", "own"), 20, "the pool's own PodMonitor")
            monitors = client.items("podmonitors.monitoring.coreos.com")
            scrapes = [scrape for it in monitors for scrape in of_pod_monitor(it)] + documented(client.namespace)
            pods = tmp_path_factory.mktemp("discovery") / "pods.json"
            with (
                Discovery(client, pods),
                Prometheus([from_file(scrape, pods) for scrape in scrapes], [RULES]) as prometheus,
            ):
                yield _play(release, prometheus)
        except Exception:
            print(release.told())
            raise
        finally:
            client.kubectl("delete", "rqworkerpools", "--all", "--wait=false")
            release.uninstall()


def _play(release: Release, prometheus: Prometheus) -> Watched:
    def least(expr: str, number: float) -> None:
        wait_for(lambda: (prometheus.value(f"sum({expr})") or 0) >= number, 60, f"{expr} to be {number:g}")

    least("rqk_operator_pools", 2)
    least("rqk_operator_leader", 1)
    least("rqk_exporter_redis_up", 1)
    least('count_over_time(up{pool="own"}[1m])', 5)
    calm_at = time.time()
    release.enqueue("default", JOBS, 2)
    release.enqueue("default", 2, -1, name="wrong")
    wait_for(lambda: release.all_finished(JOBS), 90, "all jobs")
    release.wait_replicas("shop", 0)
    least('count_over_time((rqk_operator_pool_replicas{pool="shop", kind="actual"} == 0)[10s:1s])', 2)
    return Watched(prometheus, release.client.namespace, calm_at, time.time())


def test_all_that_runs_is_found_and_answers(watched: Watched) -> None:
    found = watched.prometheus.query("up", watched.calm_at)
    assert {series.values[0][1] for series in found} == {1.0}
    jobs = [series.labels["job"].removeprefix(f"podMonitor/{watched.namespace}/") for series in found]
    assert sorted(jobs) == sorted(
        ["own/0", "rqk-exporter/0", "rqk-operator", "rqk-operator", "rqk-operator/0", "rqk-operator/0", "rqk-workers"]
    )  # the documented jobs bear no number; the pool at zero has no pod


@pytest.mark.parametrize(
    ("job", "pool"),
    [
        pytest.param("podMonitor/.*/rqk-workers/0", "shop", id="the chart's PodMonitor"),
        pytest.param("podMonitor/.*/own/0", "own", id="a pool's own PodMonitor"),
        pytest.param("rqk-workers", "shop", id="the documented configuration"),
        pytest.param("rqk-workers", "own", id="the documented configuration for a pool with its own PodMonitor"),
    ],
)
def test_workers_are_known_by_namespace_pool_and_pod(watched: Watched, job: str, pool: str) -> None:
    """The dashboards choose by these."""
    expr = f'last_over_time(rqk_build_info{{job=~"{job}", pool="{pool}"}}[5m])'
    found = watched.prometheus.query(expr, watched.end)
    assert found
    assert {series.labels["namespace"] for series in found} == {watched.namespace}
    assert all(series.labels["pod"].startswith(f"{pool}-") for series in found)


def test_what_the_operator_says_of_pools_keeps_their_names(watched: Watched) -> None:
    found = watched.prometheus.query("rqk_operator_pool_limits", watched.end)
    assert {(it.labels["namespace"], it.labels["pool"]) for it in found} == {
        (watched.namespace, "shop"),
        (watched.namespace, "own"),
    }
    assert not any("exported_namespace" in it.labels for it in found)


@pytest.mark.parametrize("panel", SCALING)
def test_a_panel_of_scaling_has_data(watched: Watched, panel: Panel) -> None:
    found = [value for query in panel.queries for value in _asked(watched, panel, query) or _required(query)]
    if panel.moves:
        assert any(found), "nothing but zeros"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_query_of_a_dashboard_is_understood(watched: Watched, board: Board) -> None:
    for panel in board.panels:
        for query in panel.queries:
            _asked(watched, panel, query)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_is_quiet_while_all_is_well(watched: Watched, alert: Alert) -> None:
    assert watched.prometheus.query(alert.expr, watched.calm_at) == []


def test_every_rule_is_evaluated_without_an_error(watched: Watched) -> None:
    rules = watched.prometheus.rules()
    assert rules
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}


def _asked(watched: Watched, panel: Panel, query: Query) -> list[float]:
    return numbers(ask(watched.prometheus, panel, query, watched.calm_at, watched.end))


def _required(query: Query) -> list[float]:
    assert query.unlit, f"{query.name}: no data"
    return []
