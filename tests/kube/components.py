"""The daemons of a cluster and their command lines. Pure: places and addresses in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.kube import configs
from tests.kube.build import Programs
from tests.kube.credentials import ADMIN, CONTROLLER_MANAGER, NODE, NODE_USER, SCHEDULER, Credentials
from tests.kube.network import Addresses
from tests.kube.processes import Daemon
from tests.kube.settings import Places

LOOPBACK = "127.0.0.1"

# The order of starting; they are ended the other way round.
ORDER = (
    "etcd", "kube-apiserver", "containerd", "kube-controller-manager", "kube-scheduler",
    "coredns", "kube-proxy", "kubelet",
)  # fmt: skip


@dataclass(frozen=True)
class Site:
    """All that a command line needs to know."""

    places: Places
    programs: Programs
    addresses: Addresses

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.places.pki)

    def daemon(self, name: str) -> Daemon:
        argv = _ARGUMENTS[name](self)
        # Nothing else of the developer's environment: a proxy setting there would catch the cluster's traffic.
        return Daemon(name, argv, {"PATH": self.programs.path, "HOME": str(self.places.state)})

    def files(self) -> Mapping[Path, str]:
        """The configuration files, by where they go."""
        places, addresses, credentials = self.places, self.addresses, self.credentials
        return {
            places.config("containerd.toml"): configs.containerd(places, self.programs),
            places.config("cni") / "10-rqk.conflist": configs.cni(places, addresses),
            places.config("resolv.conf"): configs.resolv_conf(addresses),
            places.config("kubelet.yaml"): configs.kubelet(places, addresses, credentials),
            places.config("kube-proxy.yaml"): configs.kube_proxy(addresses, credentials),
            places.config("Corefile"): configs.corefile(addresses, credentials),
        }


def etcd(site: Site) -> tuple[str, ...]:
    """Never synced to disk: a test cluster need not survive a power cut, and is faster so."""
    client, peer = site.addresses.etcd, f"http://{LOOPBACK}:{site.addresses.etcd_peer_port}"
    return (
        str(site.programs["etcd"]),
        f"--name={NODE}",
        f"--data-dir={site.places.state / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={NODE}={peer}",
        "--unsafe-no-fsync",
        "--quota-backend-bytes=4294967296",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=5m",
        "--logger=zap",
        "--log-level=warn",
    )


def kube_apiserver(site: Site) -> tuple[str, ...]:
    here, keys = site.addresses, site.credentials
    return (
        str(site.programs["kube-apiserver"]),
        f"--etcd-servers={here.etcd}",
        # Another API server on this etcd would write its own address into the Service `kubernetes`: not into ours.
        f"--etcd-prefix=/{here.bridge}",
        f"--cert-dir={keys.folder}",
        f"--bind-address={here.gateway}",
        f"--advertise-address={here.gateway}",
        f"--secure-port={here.api_port}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={keys.service_account_key}",
        f"--service-account-signing-key-file={keys.service_account_key}",
        f"--service-cluster-ip-range={here.services}",
        f"--token-auth-file={keys.tokens}",
        f"--kubelet-client-certificate={keys.client_certificate}",
        f"--kubelet-client-key={keys.client_key}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
    )


def kube_controller_manager(site: Site) -> tuple[str, ...]:
    keys = site.credentials
    return (
        str(site.programs["kube-controller-manager"]),
        f"--kubeconfig={keys.kubeconfig(CONTROLLER_MANAGER)}",
        f"--bind-address={LOOPBACK}",
        f"--service-account-private-key-file={keys.service_account_key}",
        f"--root-ca-file={keys.authority}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--node-monitor-period=1s",
        "--node-monitor-grace-period=12s",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    )


def kube_scheduler(site: Site) -> tuple[str, ...]:
    return (
        str(site.programs["kube-scheduler"]),
        f"--kubeconfig={site.credentials.kubeconfig(SCHEDULER)}",
        f"--bind-address={LOOPBACK}",
        "--leader-elect=false",
    )


def containerd(site: Site) -> tuple[str, ...]:
    return (str(site.programs["containerd"]), "--config", str(site.places.config("containerd.toml")))


def kubelet(site: Site) -> tuple[str, ...]:
    root = site.places.state / "kubelet"
    return (
        str(site.programs["kubelet"]),
        f"--config={site.places.config('kubelet.yaml')}",
        f"--kubeconfig={site.credentials.kubeconfig(NODE_USER)}",
        f"--hostname-override={NODE}",
        f"--node-ip={site.addresses.gateway}",
        f"--root-dir={root}",
        f"--cert-dir={root / 'pki'}",
    )


def kube_proxy(site: Site) -> tuple[str, ...]:
    return (str(site.programs["kube-proxy"]), f"--config={site.places.config('kube-proxy.yaml')}")


def coredns(site: Site) -> tuple[str, ...]:
    return (str(site.programs["coredns"]), "-conf", str(site.places.config("Corefile")))


def kubectl(site: Site) -> tuple[str, ...]:
    """The start of every kubectl command line."""
    return (str(site.programs["kubectl"]), f"--kubeconfig={site.credentials.kubeconfig(ADMIN)}")


_ARGUMENTS = {
    "etcd": etcd,
    "kube-apiserver": kube_apiserver,
    "kube-controller-manager": kube_controller_manager,
    "kube-scheduler": kube_scheduler,
    "containerd": containerd,
    "kubelet": kubelet,
    "kube-proxy": kube_proxy,
    "coredns": coredns,
}
