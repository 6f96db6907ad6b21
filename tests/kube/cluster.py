"""A cluster as a whole: up, down, and what it lacks to be ready."""

from __future__ import annotations

import fcntl
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from tests.kube import cgroups, configs, network, remnants
from tests.kube.build import build_all, programs, unbuilt
from tests.kube.client import Client, condition
from tests.kube.commands import run, say
from tests.kube.components import ORDER, Site
from tests.kube.credentials import ADMIN, NODE
from tests.kube.errors import CommandFailed, FixtureError, NotReady
from tests.kube.images import Images
from tests.kube.loading import ctr, load
from tests.kube.network import Addresses
from tests.kube.node import Node
from tests.kube.processes import Keeper, wait_until
from tests.kube.settings import Places
from tests.kube.toolchain import install_packages, missing_packages
from tests.kube.versions import PAUSE_IMAGE, PYTHON_IMAGE, VALKEY_IMAGE


class Cluster:
    """The fixture's own cluster; there is one for each state folder, and one at a time on a machine."""

    def __init__(self, places: Places, addresses: Addresses | None = None) -> None:
        self.places = places
        self.addresses = addresses or Addresses()
        self.keeper = Keeper(places.run, places.logs)
        self.images = Images(places)

    @property
    def site(self) -> Site:
        return Site(self.places, programs(self.places), self.addresses)

    @property
    def client(self) -> Client:
        return Client(str(self.site.programs["kubectl"]), self.places.kubeconfig)

    @property
    def node(self) -> Node:
        return Node(self.site, self.keeper, self.client)

    def plan(self) -> list[str]:
        """What `up` will have to do first, in words and minutes."""
        steps = []
        if packages := missing_packages():
            steps.append(f"install Debian packages: {' '.join(packages)} (1 min)")
        if modules := unbuilt(self.places):
            minutes = sum(module.minutes for module in modules)
            steps.append(f"build from Go modules: {', '.join(it.name for it in modules)} ({minutes:.0f} min, once)")
        if not list(self.places.images.glob("rqk-python_*.tar")):
            steps.append("make the base image with debootstrap (1.5 min, once)")
        return steps

    def prepare(self) -> None:
        """Everything short of starting: packages, programs, images."""
        for step in self.plan():
            say(f"to do: {step}")
        install_packages(self.places)
        build_all(self.places)
        for make in (self.images.ensure_pause, self.images.ensure_python, self.images.ensure_valkey):
            make()

    def up(self) -> None:
        """Make it run, whatever is there: nothing, the ruins of a killed run, a half, or all of it."""
        with self._alone():
            if self.running():
                say(f"the cluster is up already: KUBECONFIG={self.places.kubeconfig}")
                return
            self.prepare()
            self._raise()
            say(f"the cluster is up: KUBECONFIG={self.places.kubeconfig}")

    def down(self) -> None:
        """Take away all that `up` started; programs, images and the last logs stay."""
        with self._alone():
            self._clear()
            say(f"the cluster is down; logs of its last run: {self.places.logs}")

    def running(self) -> bool:
        """All of it runs and is ready; never raises, builds nothing."""
        return not unbuilt(self.places) and not self.lacking()

    def lacking(self) -> list[str]:
        """What keeps the cluster from being ready; nothing if it is."""
        dead = [f"{name} does not run" for name in ORDER if not self.keeper.alive(name)]
        if dead:
            return dead
        if self._fingerprint() != self._started_as():
            return ["it was started with other versions or settings"]
        checks: dict[str, Callable[[], bool]] = {
            "the API server is not ready": self._api_ready,
            "the node is not Ready": self._node_ready,
            "no service account yet": self._accounts_ready,
            "cluster DNS is not ready": self._dns_ready,
            "kube-proxy is not ready": lambda: _answers("http://127.0.0.1:10256/healthz"),
        }
        return [trouble for trouble, fine in checks.items() if not fine()]

    def load_image(self, archive: Path, tag: str) -> bool:
        """Returns whether the image was new to the cluster."""
        return load(self.site, archive, tag)

    def _raise(self) -> None:
        alive = [name for name in ORDER if self.keeper.alive(name)]
        if not alive or self._fingerprint() != self._started_as():
            self._start_afresh()
            return
        say(f"half of it is up ({', '.join(alive)}): starting the rest")
        try:
            self._start()
        except (NotReady, CommandFailed) as error:
            say(f"that does not heal it: {error}\nstarting afresh")
            self._start_afresh()

    def _start_afresh(self) -> None:
        self._clear()
        for log in self.places.logs.glob("*.log"):
            log.unlink()
        self._start()

    def _start(self) -> None:
        site, places, here = self.site, self.places, self.addresses
        places.etc.mkdir(parents=True, exist_ok=True)
        (places.state / "fingerprint").write_text(self._fingerprint())
        network.set_switches(places.state / "switches.json")
        network.raise_bridge(here, places.state)
        network.allow_forwarding(here)
        cgroups.make()
        site.credentials.prepare()
        for path, text in site.files().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text() != text:  # running components watch some of them
                path.write_text(text)

        self._launch("etcd", "containerd")
        self._await("etcd", lambda: _answers(f"{here.etcd}/health"), 20)
        self._launch("kube-apiserver")
        self._await("kube-apiserver", self._api_ready, 60)
        site.credentials.write_kubeconfigs(here.api, places.kubeconfig)
        self.client.apply(configs.dns_permissions())
        self._launch("kube-controller-manager", "kube-scheduler", "coredns", "kube-proxy")
        self._await("containerd", self._containerd_ready, 20)
        load(site, self.images.ensure_pause(), PAUSE_IMAGE)
        self._launch("kubelet")
        for tag in (PYTHON_IMAGE, VALKEY_IMAGE):
            load(site, self.images.ensure(tag), tag)
        self._await("kubelet", lambda: not self.lacking(), 90)

    def _launch(self, *names: str) -> None:
        for name in names:
            self.keeper.start(self.site.daemon(name))

    def _await(self, name: str, ready: Callable[[], bool], timeout: float) -> None:
        """Wait for a component, but not for one that is dead: its last words are the better message."""

        def settled() -> bool:
            return not self.keeper.alive(name) or ready()

        try:
            wait_until(settled, timeout, f"{name} ready")
        except NotReady as error:
            raise NotReady(f"{error}\n{chr(10).join(self.lacking())}\n{self.keeper.tail(name)}") from error
        if not self.keeper.alive(name):
            raise NotReady(f"{name} ended; its log {self.keeper.log(name)} says:\n{self.keeper.tail(name)}")

    def _clear(self) -> None:
        """Works on a whole cluster, on half of one, and on the ruins of one."""
        places = self.places
        was_here = (places.state / "switches.json").exists()
        for name in reversed(ORDER):
            self.keeper.stop(name, patience=1.0)  # nothing of what they would still write down is wanted
        if was_here:
            cgroups.remove()
        remnants.end_shims(places)
        remnants.unmount_all(places.state)
        if was_here:
            self._clear_rules()
            network.drop_bridge(self.addresses, places.state)
            network.restore_switches(places.state / "switches.json")
        remnants.remove_files(places, keep_logs=True)

    def _clear_rules(self) -> None:
        network.drop_rules(self.addresses)
        with suppress(FixtureError):  # not built: then it made no rules either
            proxy = self.site.programs["kube-proxy"]
            run(proxy, "--cleanup", env={"PATH": self.site.programs.path})
        network.drop_firewall_chain()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time: two that start or end the same cluster would undo each other."""
        self.places.builds.mkdir(parents=True, exist_ok=True)
        with (self.places.builds / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another one is building or starting the cluster: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _fingerprint(self) -> str:
        """Of all command lines and configuration files."""
        site = self.site
        text = repr([site.daemon(name).argv for name in ORDER] + sorted(site.files().items()))
        return sha256(text.encode()).hexdigest()

    def _started_as(self) -> str:
        with suppress(OSError):
            return (self.places.state / "fingerprint").read_text()
        return ""

    def _api_ready(self) -> bool:
        keys = self.site.credentials
        if not keys.authority.exists():
            return False
        context = ssl.create_default_context(cafile=str(keys.authority))
        return _answers(f"{self.addresses.api}/readyz", context, keys.token(ADMIN))

    def _containerd_ready(self) -> bool:
        with suppress(CommandFailed):
            return bool(ctr(self.site, "version", timeout=5))
        return False

    def _node_ready(self) -> bool:
        # The kubelet's own word too: for some seconds after its end the API server still believes in it.
        if not _answers("http://127.0.0.1:10248/healthz"):
            return False
        with suppress(CommandFailed):
            node = self.client.find("node", NODE)
            return node is not None and condition(node, "Ready") == "True"
        return False

    def _accounts_ready(self) -> bool:
        with suppress(CommandFailed):
            return self.client.find("serviceaccount", "default") is not None
        return False

    def _dns_ready(self) -> bool:
        return _answers(f"http://127.0.0.1:{self.addresses.dns_ready_port}/ready")


def _answers(url: str, context: ssl.SSLContext | None = None, token: str = "") -> bool:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    # No proxy: these are addresses of this machine.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )  # fmt: skip
    try:
        with opener.open(request, timeout=3) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
