"""Who may do what: tokens, the service-account key, the API server's own client certificate, kubeconfigs."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.kube.commands import run

NODE = "n1"


@dataclass(frozen=True)
class User:
    """An identity of the control plane, with the name that Kubernetes' own roles are bound to."""

    short: str
    name: str
    groups: tuple[str, ...] = ()


ADMIN = User("admin", "admin", ("system:masters",))
NODE_USER = User("node", f"system:node:{NODE}", ("system:nodes",))
CONTROLLER_MANAGER = User("controller-manager", "system:kube-controller-manager")
SCHEDULER = User("scheduler", "system:kube-scheduler")
PROXY = User("proxy", "system:kube-proxy")
DNS = User("dns", "system:coredns")
USERS = (ADMIN, NODE_USER, CONTROLLER_MANAGER, SCHEDULER, PROXY, DNS)


def token_file(tokens: Mapping[str, str]) -> str:
    """The API server's table: token, user, uid, groups."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    for user in USERS:
        writer.writerow((tokens[user.short], user.name, user.short, ",".join(user.groups)))
    return table.getvalue()


def kubeconfig(server: str, authority: bytes, user: User, token: str) -> dict[str, Any]:
    """Complete in itself: it can be copied anywhere on this machine."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "rqk",
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(authority).decode(),
                },
            }
        ],
        "users": [{"name": user.short, "user": {"token": token}}],
        "contexts": [{"name": "rqk", "context": {"cluster": "rqk", "user": user.short}}],
        "current-context": "rqk",
    }


@dataclass(frozen=True)
class Credentials:
    """The files under ``pki``."""

    folder: Path

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens.csv"

    @property
    def service_account_key(self) -> Path:
        return self.folder / "service-account.key"

    @property
    def client_certificate(self) -> Path:
        return self.folder / "kubelet-client.crt"

    @property
    def client_key(self) -> Path:
        return self.folder / "kubelet-client.key"

    @property
    def authority(self) -> Path:
        """The API server makes its own serving certificate, with the authority behind it, in here."""
        return self.folder / "apiserver.crt"

    def kubeconfig(self, user: User) -> Path:
        return self.folder / f"{user.short}.kubeconfig"

    def token(self, user: User) -> str:
        tokens: dict[str, str] = json.loads((self.folder / "tokens.json").read_text())
        return tokens[user.short]

    def prepare(self) -> None:
        """Make what is missing; what is there stays, since running components hold it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        remembered = self.folder / "tokens.json"
        if not remembered.exists():
            write_private(remembered, json.dumps({user.short: secrets.token_hex(24) for user in USERS}))
        write_private(self.tokens, token_file(json.loads(remembered.read_text())))
        if not self.service_account_key.exists():
            run("openssl", "genrsa", "-out", self.service_account_key, "2048")
        if not self.client_certificate.exists():
            run(
                "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650",
                "-subj", "/O=system:masters/CN=kube-apiserver-kubelet-client",
                "-addext", "extendedKeyUsage=clientAuth",
                "-keyout", self.client_key, "-out", self.client_certificate,
            )  # fmt: skip

    def write_kubeconfigs(self, server: str, admins: Path) -> None:
        """Once the API server has made its certificate."""
        authority = self.authority.read_bytes()
        for user in USERS:
            text = yaml.safe_dump(kubeconfig(server, authority, user, self.token(user)))
            write_private(self.kubeconfig(user), text)
            if user is ADMIN:
                write_private(admins, text)


def write_private(path: Path, text: str) -> None:
    """In place at once or not at all, and readable by nobody else from the first byte on."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    partial.rename(path)
