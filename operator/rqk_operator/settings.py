"""What the operator is told on its command line or in its environment; the command line wins."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rqk.version import __version__

PREFIX = "RQK_OPERATOR_"
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_YES = {"1", "true", "yes", "on"}
_NO = {"", "0", "false", "no", "off"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the operator can be told. Times are seconds."""

    namespaces: tuple[str, ...] = ()  # to serve; none means all, and needs a ClusterRole
    metrics_host: str = "0.0.0.0"
    metrics_port: int = 9728
    tick_s: float = 1.0  # between looks at pools that are at work
    leader_election: bool = True
    lease_name: str = "rqk-operator"
    lease_namespace: str = "default"
    identity: str = "rqk-operator"  # unique to the process
    log_level: str = "INFO"
    log_format: str = "json"


def read(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings; ends the program with a message for what cannot be understood."""
    env = os.environ if environ is None else environ
    parser = _parser(env)
    words = parser.parse_args(arguments)
    if words.tick <= 0:
        parser.error(f"--tick must be above 0, not {words.tick:g}")
    namespaces = words.namespace or [name for name in env.get(f"{PREFIX}NAMESPACE", "").split(",") if name.strip()]
    return Settings(
        namespaces=tuple(dict.fromkeys(name.strip() for name in namespaces)),
        metrics_host=words.metrics_host,
        metrics_port=words.metrics_port,
        tick_s=words.tick,
        leader_election=words.leader_election,
        lease_name=words.lease_name,
        lease_namespace=words.lease_namespace or _own_namespace(),
        identity=f"{env.get('RQK_POD_NAME') or socket.gethostname()}_{os.getpid()}",
        log_level=words.log_level.upper(),
        log_format=words.log_format,
    )


def _parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rqk-operator",
        description="Keeps just enough rqk workers running for every RQWorkerPool.",
        epilog=f"Each option can be given as an environment variable too: {PREFIX}TICK=2 is --tick 2.",
    )

    def option(name: str, default: str, text: str, **more: Any) -> None:
        variable = PREFIX + name.upper().replace("-", "_")
        # A default that is text goes through the option's own type, so that a bad variable is refused like a bad option.
        parser.add_argument(
            f"--{name}", default=env.get(variable) or default, help=f"{text} (default: {default or 'none'})", **more
        )

    parser.add_argument("--version", action="version", version=f"rqk {__version__}")
    parser.add_argument(
        "--namespace",
        action="append",
        metavar="NS",
        help="serve this namespace only; may be given again (default: all)",
    )
    option("metrics-host", "0.0.0.0", "address of /metrics, /healthz and /readyz")
    option("metrics-port", "9728", "their port", type=int)
    option("tick", "1.0", "seconds between looks at the queues of pools at work", type=float)
    option("lease-name", "rqk-operator", "name of the Lease by which several replicas agree on one that acts")
    option("lease-namespace", "", "its namespace; the pod's own if left out")
    parser.add_argument(
        "--leader-election",
        action=argparse.BooleanOptionalAction,
        default=_flag(parser, env, "LEADER_ELECTION"),
        help="--no-leader-election for a single replica that never overlaps with another (default: on)",
    )
    option("log-format", "json", "json or text", choices=("json", "text"))
    option(
        "log-level",
        "info",
        "debug, info, warning or error",
        choices=("debug", "info", "warning", "error"),
        type=str.lower,
    )
    return parser


def _flag(parser: argparse.ArgumentParser, env: Mapping[str, str], name: str) -> bool:
    text = env.get(PREFIX + name, "true").strip().lower()
    if text not in _YES | _NO:
        parser.error(f"{PREFIX}{name} must be true or false, not {text!r}")
    return text in _YES


def _own_namespace() -> str:
    """Of the pod we run in; outside a cluster, the one that kubectl uses without being told."""
    try:
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"
