"""The bridge on which node, API server and pods meet, and the kernel's switches they need.

Everything binds to the bridge's own address: nothing of the cluster listens on another interface.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kube.commands import run, succeeds
from tests.kube.errors import InUse

SYSCTL = Path("/proc/sys")


@dataclass(frozen=True)
class Addresses:
    """Loopback will not do: the API server refuses it as the address it advertises, the kubelet as the node's."""

    bridge: str = "rqk0"
    gateway: str = "10.244.0.1"
    prefix: int = 24
    pods: str = "10.244.0.0/24"
    services: str = "10.0.0.0/24"
    api_port: int = 6443
    etcd_port: int = 23790
    etcd_peer_port: int = 23800
    dns_ready_port: int = 18181

    @property
    def hardware(self) -> str:
        """A bridge without an address of its own takes the lowest of its ports: it changes as pods come and go.

        Every pod would then send to an address that nobody has, until its neighbour table forgets it.
        """
        return "0a:58:" + ":".join(f"{int(part):02x}" for part in self.gateway.split("."))

    @property
    def api(self) -> str:
        return f"https://{self.gateway}:{self.api_port}"

    @property
    def etcd(self) -> str:
        return f"http://127.0.0.1:{self.etcd_port}"


# Forwarding is what takes a packet for a Service to a pod; without the second one, two pods on one
# bridge would answer each other directly and past kube-proxy's translation. The kubelet sets the others.
WANTED = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}
TOUCHED = (*WANTED, "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")


def bridge_owner(addresses: Addresses) -> str | None:
    """The state folder of the cluster that made the bridge; nothing if there is none."""
    if not Path("/sys/class/net", addresses.bridge).exists():
        return None
    return Path("/sys/class/net", addresses.bridge, "ifalias").read_text().strip()


def raise_bridge(addresses: Addresses, state: Path) -> None:
    """Make the bridge if it is not there, signed with the state folder it belongs to."""
    owner = bridge_owner(addresses)
    if owner is None:
        run("ip", "link", "add", addresses.bridge, "address", addresses.hardware, "type", "bridge")
        run("ip", "link", "set", addresses.bridge, "alias", str(state))
    elif owner != str(state):
        raise InUse(
            f"the bridge {addresses.bridge} belongs to the cluster in {owner or 'an unknown place'}; "
            f"end that one first: KUBE_FIXTURE_STATE={owner} python -m tests.kube down"
        )
    run("ip", "addr", "replace", f"{addresses.gateway}/{addresses.prefix}", "dev", addresses.bridge)
    run("ip", "link", "set", addresses.bridge, "up")


def _mark(addresses: Addresses, what: str) -> tuple[str, ...]:
    """A comment by which our rules are found again."""
    return ("-m", "comment", "--comment", f"{addresses.bridge}-{what}")


def allow_forwarding(addresses: Addresses) -> None:
    """Lets pods talk to each other where another program has set the default to drop."""
    rule = ("FORWARD", "-i", addresses.bridge, "-o", addresses.bridge, *_mark(addresses, "pods"), "-j", "ACCEPT")
    if not succeeds("iptables", "-w", "-C", *rule):
        run("iptables", "-w", "-I", *rule)


@contextmanager
def cut(addresses: Addresses, one: str, other: str) -> Iterator[None]:
    """Between two pods (addresses or ranges) nothing arrives any more, open connections included.

    The host still reaches both: probes go on succeeding, as they do when a network splits between nodes.
    """
    ways = [
        ("FORWARD", "-s", a, "-d", b, *_mark(addresses, "cut"), "-j", "DROP") for a, b in ((one, other), (other, one))
    ]
    try:
        for way in ways:
            run("iptables", "-w", "-I", *way)
        yield
    finally:
        for way in ways:
            succeeds("iptables", "-w", "-D", *way)


def drop_rules(addresses: Addresses) -> None:
    """Every rule that bears our mark, those of a test that was killed included."""
    for line in run("iptables", "-w", "-S", "FORWARD").splitlines():
        if f"{addresses.bridge}-" in line:
            succeeds("iptables", "-w", "-D", *shlex.split(line)[1:])


def drop_firewall_chain() -> None:
    """``kube-proxy --cleanup`` takes all of its chains away but this one, which kubelets used to own too."""
    for program in ("iptables", "ip6tables"):
        for chain in ("INPUT", "OUTPUT"):
            while succeeds(program, "-w", "-D", chain, "-j", "KUBE-FIREWALL"):
                pass
        if succeeds(program, "-w", "-F", "KUBE-FIREWALL"):
            succeeds(program, "-w", "-X", "KUBE-FIREWALL")


def drop_bridge(addresses: Addresses, state: Path) -> None:
    """Take our own bridge away, and no other's."""
    if bridge_owner(addresses) == str(state):
        run("ip", "link", "delete", addresses.bridge)


def set_switches(remembered: Path) -> None:
    """Set what pods need; what was there before is kept in a file, for `restore_switches`."""
    if not (SYSCTL / "net/bridge").exists():
        succeeds("modprobe", "br_netfilter")  # built in on some kernels, a module on others
    if not remembered.exists():
        before = {name: (SYSCTL / name).read_text().strip() for name in TOUCHED if (SYSCTL / name).exists()}
        remembered.write_text(json.dumps(before))
    for name, value in WANTED.items():
        if (SYSCTL / name).exists():
            (SYSCTL / name).write_text(value)


def restore_switches(remembered: Path) -> None:
    try:
        before: dict[str, Any] = json.loads(remembered.read_text())
    except (OSError, ValueError):
        return
    for name, value in before.items():
        if (SYSCTL / name).exists():
            (SYSCTL / name).write_text(str(value))
    remembered.unlink()
