"""The cluster of the session, a namespace for each test, and what is kept when one fails."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.images import build_images
from tests.cluster.operating import NAMESPACE, Operator
from tests.cluster.release import CRD, Release, ensure_crd
from tests.cluster.shop import Shop
from tests.kube.access import Access, available, obtain
from tests.kube.client import Client
from tests.kube.commands import say
from tests.kube.diagnose import dump
from tests.kube.settings import may_build, places
from tests.kube.versions import VALKEY_IMAGE

HERE = Path(__file__).parent
FAILED = pytest.StashKey[bool]()
FIGURE = "figure"
Figure = Callable[[str], None]
PATIENCE_S = 300.0
HINT = (
    "no Kubernetes at hand; `make test-cluster` builds and starts one (about 15 minutes the first time, "
    "seconds afterwards), or set KUBECONFIG to one of yours"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pods take seconds, not milliseconds; and the first test must not pay for the build of the cluster."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(PATIENCE_S, func_only=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember for the fixtures whether their test failed."""
    report = yield
    if report.failed:  # type: ignore[attr-defined]
        item.stash[FAILED] = True
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured; and whoever ran everything else is told in the last lines how to run this tier."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == FIGURE:
                terminalreporter.write_line(f"measured: {value}")
    skipped = terminalreporter.stats.get("skipped", [])
    if any(HINT in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(f"cluster tests were skipped: {HINT}")


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Keep a sentence with figures for the last lines of the run."""
    return lambda text: record_property(FIGURE, text)


@pytest.fixture(scope="session")
def cluster() -> Access:
    """A ready cluster: the one that KUBECONFIG names, else the one that is up, else one that is built now.

    It stays up afterwards: the next run starts at once. ``python -m tests.kube down`` ends it.
    Building one installs packages, so that is done only where it was asked for.
    """
    if not may_build() and available() is None:
        pytest.skip(HINT)
    return obtain()


@pytest.fixture
def namespace(cluster: Access, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A namespace under the restricted profile, for one test; of a failed one everything is written down."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_")).strip("-")[:40].strip("-")
    with cluster.new_namespace(name) as client:
        yield client
        if request.node.stash.get(FAILED, False):
            folder = places().logs / "failed-tests" / f"{time.strftime('%Y%m%d-%H%M%S')}-{client.namespace}"
            dump(cluster, folder, keeper=cluster.own.keeper if cluster.own else None, namespaces=[client.namespace])
            say(f"\nwhat the cluster says about it: {folder}")


@pytest.fixture(scope="session")
def images(cluster: Access) -> None:
    """The project's images, built from its own Dockerfiles and loaded, and Valkey's."""
    build_images(cluster)
    cluster.load_image(VALKEY_IMAGE)


@pytest.fixture(scope="package")
def operator(cluster: Access, images: None) -> Iterator[Operator]:
    """The operator, installed from manifests/ and removed after the tests of this folder."""
    installed = Operator(cluster.within(NAMESPACE))
    installed.install()
    yield installed
    installed.uninstall()


@pytest.fixture
def shop(namespace: Client, operator: Operator, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A namespace with a Valkey and an app pod, and two operator pods that are well."""
    operator.wait_ready()
    yield Shop(namespace).open()
    if request.node.stash.get(FAILED, False):
        say(f"\nthe operator says:\n{operator.logs()[-6000:]}")


@pytest.fixture
def crd(cluster: Access) -> None:
    """The custom resource, whoever owns it."""
    ensure_crd(cluster)


@pytest.fixture
def release(cluster: Access, namespace: Client, images: None, request: pytest.FixtureRequest) -> Iterator[Release]:
    """A release in a restricted namespace of its own, not yet installed; uninstalled at the end, its pools first."""
    made = Release(cluster, namespace)
    yield made
    if request.node.stash.get(FAILED, False):
        print(made.told())
    if namespace.find("crd", CRD):
        namespace.kubectl("delete", "rqworkerpools", "--all", "--wait=false")
    made.uninstall()
