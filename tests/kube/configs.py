"""The components' configuration files, as text. Pure: places and addresses in, text out."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.kube.build import Programs
from tests.kube.cgroups import NAME as CGROUP
from tests.kube.credentials import DNS, NODE, PROXY, Credentials
from tests.kube.network import Addresses
from tests.kube.settings import Places
from tests.kube.versions import PAUSE_IMAGE

CNI_PROGRAMS = "/usr/lib/cni"


def containerd(places: Places, programs: Programs) -> str:
    """Everything under the state folder, so that the cluster can be taken away without a trace."""
    runtime = 'plugins."io.containerd.cri.v1.runtime"'
    root = places.state / "containerd"
    return f"""\
version = 3
root = "{root / "root"}"
state = "{root / "state"}"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
address = "{places.containerd_socket}"

[plugins."io.containerd.nri.v1.nri"]
disable = true

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[{runtime}]
# Without CAP_SYS_RESOURCE a score below the parent's own is refused, and with it every pod.
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true

[{runtime}.cni]
bin_dirs = ["{CNI_PROGRAMS}"]
conf_dir = "{places.config("cni")}"

[{runtime}.containerd]
default_runtime_name = "runc"

[{runtime}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{runtime}.containerd.runtimes.runc.options]
BinaryName = "{programs["runc"]}"
Root = "{root / "runc"}"
SystemdCgroup = false
"""


def cni(places: Places, addresses: Addresses) -> str:
    """Pods are ports of the bridge; the host reaches them, and they it, without translation."""
    plugins: list[dict[str, Any]] = [
        {
            "type": "bridge",
            "bridge": addresses.bridge,
            "isGateway": True,
            "ipMasq": False,
            "hairpinMode": True,  # a pod that calls its own Service comes back to itself
            "ipam": {
                "type": "host-local",
                "dataDir": str(places.state / "addresses"),
                "ranges": [[{"subnet": addresses.pods, "gateway": addresses.gateway}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
    ]
    return json.dumps({"cniVersion": "1.0.0", "name": "rqk", "plugins": plugins}, indent=2)


def resolv_conf(addresses: Addresses) -> str:
    """Pods see the cluster's names and no name server of this machine's network."""
    return f"nameserver {addresses.gateway}\n"


def kubelet(places: Places, addresses: Addresses, credentials: Credentials) -> str:
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": addresses.gateway,
        "healthzBindAddress": "127.0.0.1",
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(credentials.client_certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{places.containerd_socket}",
        "podLogsDir": str(places.state / "pod-logs"),
        "volumePluginDir": str(places.state / "volume-plugins"),
        "resolvConf": str(places.config("resolv.conf")),
        "clusterDNS": [addresses.gateway],
        "clusterDomain": "cluster.local",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        "maxPods": 200,
        # An image that went in by hand cannot be pulled again: never collect one, and let no pod be
        # evicted for a disk that is full of other people's files.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
            "imagefs.inodesFree": "1%",
        },
        # A lost node is noticed in seconds, so that tests of it need not wait for a minute.
        "nodeStatusUpdateFrequency": "2s",
        "nodeLeaseDurationSeconds": 8,
        "shutdownGracePeriod": "0s",
    }
    return yaml.safe_dump(config, sort_keys=False)


def kube_proxy(addresses: Addresses, credentials: Credentials) -> str:
    config: dict[str, Any] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": NODE,
        "bindAddress": addresses.gateway,
        "clusterCIDR": addresses.pods,
        "clientConnection": {"kubeconfig": str(credentials.kubeconfig(PROXY))},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": [addresses.pods],
        "conntrack": {"maxPerCore": 0, "min": 0},  # the machine's own limits are not ours to change
        "iptables": {"localhostNodePorts": False, "minSyncPeriod": "100ms"},
    }
    return yaml.safe_dump(config, sort_keys=False)


def corefile(addresses: Addresses, credentials: Credentials) -> str:
    """Names of the cluster are answered, all others do not exist: a test must not depend on the outside."""
    return f"""\
cluster.local:53 in-addr.arpa:53 {{
    bind {addresses.gateway}
    errors
    ready 127.0.0.1:{addresses.dns_ready_port}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {credentials.kubeconfig(DNS)}
        pods insecure
    }}
}}
.:53 {{
    bind {addresses.gateway}
    errors
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def dns_permissions() -> list[dict[str, Any]]:
    """What CoreDNS may see. Kubernetes brings roles for its own components; this one is a guest."""
    name = {"name": DNS.name}
    role: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": name,
        "rules": [
            {"apiGroups": [""], "resources": ["services", "namespaces", "pods"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    }
    binding: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": name,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", **name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", **name}],
    }
    return [role, binding]
