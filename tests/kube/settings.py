"""Where things lie. The only module of the fixture that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent


@dataclass(frozen=True)
class Places:
    """The cache outlives a cluster, the state does not."""

    cache: Path
    state: Path

    @property
    def builds(self) -> Path:
        """One folder for each built Go module, named by its cache key."""
        return self.cache / "kube"

    @property
    def images(self) -> Path:
        """Image archives, named by what went into them."""
        return self.cache / "images"

    @property
    def storage(self) -> Path:
        """buildah's own layer store, apart from the one of the user."""
        return self.cache / "buildah"

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def etc(self) -> Path:
        return self.state / "etc"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    def config(self, name: str) -> Path:
        return self.etc / name


@dataclass(frozen=True)
class Handed:
    """A cluster of the developer's own: nothing is built for it and nothing is torn down."""

    kubeconfig: Path
    load_command: str  # how an image archive gets into it, with {archive} and {tag}; empty: the images are there


def places(environ: Mapping[str, str] = os.environ) -> Places:
    """``KUBE_FIXTURE_STATE`` moves the state, ``XDG_CACHE_HOME`` the cache."""
    base = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rqk"
    state = environ.get("KUBE_FIXTURE_STATE")
    return Places(cache=base, state=Path(state).resolve() if state else base / "kube" / "state")


def handed_over(own: Places, environ: Mapping[str, str] = os.environ) -> Handed | None:
    """The cluster that ``KUBECONFIG`` names, unless that is the fixture's own."""
    named = environ.get("KUBECONFIG", "")
    if not named or Path(named).resolve() == own.kubeconfig.resolve():
        return None
    return Handed(Path(named), environ.get("KUBE_FIXTURE_LOAD", ""))


def may_build(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether tests may install packages and build a cluster: only where ``KUBE_FIXTURE=up`` says so."""
    return environ.get("KUBE_FIXTURE") == "up"


def inherited(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for tools that the developer set up (proxies, mirrors, package indexes)."""
    return dict(environ)
