"""The environment, read here and nowhere else in the library and the worker.

Names of RQ are honoured: ``RQ_REDIS_URL``, ``REDIS_URL``, ``REDIS_HOST`` and its companions. Everything of ours is ``RQK_*``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

from rqk.errors import BadUrl

DEFAULT_URL = "redis://localhost:6379/0"
DEFAULT_METRICS_PORT = 9727
DEFAULT_EXPORTER_PORT = 9726
_TLS = (
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_ca_data",
    "ssl_keyfile",
    "ssl_certfile",
)  # of redis-py, under RQ's variable names


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where Redis is, and from where we know it (for error messages)."""

    url: str = DEFAULT_URL
    origin: str = "the default"


def redis_settings(environ: Mapping[str, str] | None = None, url: str | None = None) -> RedisSettings:
    """The Redis to use: a given URL, else RQ_REDIS_URL, REDIS_URL, REDIS_HOST and companions, else localhost:6379.

    ``RQK_REDIS_PASSWORD_FILE`` names a file whose content replaces the URL's password (a mounted Secret, for instance), and
    ``RQK_REDIS_SENTINEL_PASSWORD_FILE`` one with the sentinels' password. ``RQK_REDIS_CA_FILE``, ``RQK_REDIS_CERT_FILE``,
    ``RQK_REDIS_KEY_FILE`` and ``RQK_REDIS_INSECURE=1`` complete a TLS URL that does not say these things itself.
    Raises BadUrl when such a file or a number cannot be read.
    """
    env = os.environ if environ is None else environ
    found = _from_environment(env) if url is None else RedisSettings(url, "--url")
    full = found.url
    if env.get("RQK_REDIS_PASSWORD_FILE"):
        full = _with_password(full, _secret("RQK_REDIS_PASSWORD_FILE", env))
    more = {name: env[variable] for variable, name in _FILES.items() if env.get(variable)}
    if _flag("RQK_REDIS_INSECURE", env):
        more["ssl_cert_reqs"] = "none"
    if not full.startswith("rediss"):
        more = {}
    for variable, name in _FILES.items():
        if name in more:
            _read(variable, env)
    if env.get("RQK_REDIS_SENTINEL_PASSWORD_FILE") and "+sentinel:" in full:
        more["sentinel_password"] = _secret("RQK_REDIS_SENTINEL_PASSWORD_FILE", env)
    return RedisSettings(_with_query(full, more), found.origin)


_FILES = {
    "RQK_REDIS_CA_FILE": "ssl_ca_certs",
    "RQK_REDIS_CERT_FILE": "ssl_certfile",
    "RQK_REDIS_KEY_FILE": "ssl_keyfile",
}


def _secret(variable: str, env: Mapping[str, str]) -> str:
    return _read(variable, env).decode().strip()


def _read(variable: str, env: Mapping[str, str]) -> bytes:
    try:
        return Path(env[variable]).read_bytes()
    except OSError as error:
        raise BadUrl(f"{variable}: {error}") from error


def _with_query(url: str, more: Mapping[str, str]) -> str:
    """The URL with parameters that it does not have yet."""
    base, _, query = url.partition("?")
    present = parse_qsl(query, keep_blank_values=True)
    missing = [item for item in more.items() if item[0] not in dict(present)]
    return f"{base}?{urlencode([*present, *missing])}" if missing else url


def _from_environment(env: Mapping[str, str]) -> RedisSettings:
    for name in ("RQ_REDIS_URL", "REDIS_URL"):
        if env.get(name):
            return RedisSettings(env[name], name)
    if not any(env.get(name) for name in ("REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD", "REDIS_SSL")):
        return RedisSettings()
    scheme = "rediss" if _flag("REDIS_SSL", env) else "redis"
    # Kubernetes sets REDIS_PORT=tcp://10.0.0.7:6379 for a Service named redis; only its number is wanted.
    port = (env.get("REDIS_PORT") or "6379").rsplit(":", 1)[-1]
    database = env.get("REDIS_DB") or "0"
    for name, text in (("REDIS_PORT", port), ("REDIS_DB", database)):
        if not text.isdigit():
            raise BadUrl(f"{name} must be a number, not {env.get(name)!r}")
    password = env.get("REDIS_PASSWORD")
    login = f":{quote(password, safe='')}@" if password else ""
    names = {name: env[f"REDIS_{name.upper()}"] for name in _TLS if env.get(f"REDIS_{name.upper()}")}
    query = f"?{urlencode(names)}" if names and scheme == "rediss" else ""
    host = env.get("REDIS_HOST") or "localhost"
    return RedisSettings(f"{scheme}://{login}{host}:{port}/{database}{query}", "REDIS_HOST")


def _flag(name: str, env: Mapping[str, str]) -> bool:
    text = env.get(name, "").strip().lower()
    if text in {"y", "yes", "t", "true", "1"}:
        return True
    if text in {"", "n", "no", "f", "false", "0"}:
        return False
    raise BadUrl(f"{name} must be yes or no, not {env[name]!r}")


def _with_password(url: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    login, at, host = rest.rpartition("@")
    user = login.partition(":")[0] if at else ""
    return f"{scheme}://{user}:{quote(password, safe='')}@{host}"


@dataclass(frozen=True, slots=True)
class PodSettings:
    """Who we are in a cluster, from the downward API."""

    name: str | None = None
    uid: str | None = None
    namespace: str | None = None


def pod_settings(environ: Mapping[str, str] | None = None) -> PodSettings:
    """``RQK_POD_NAME``, ``RQK_POD_UID`` and ``RQK_POD_NAMESPACE``; all None outside a pod."""
    env = os.environ if environ is None else environ
    return PodSettings(
        env.get("RQK_POD_NAME") or None, env.get("RQK_POD_UID") or None, env.get("RQK_POD_NAMESPACE") or None
    )


def worker_name(pod: PodSettings, pid: int, token: str, hostname: str | None = None) -> str:
    """A name that tells where a worker runs: ``<pod>.<uid>`` in a pod, else ``<host>.<pid>.<token>``."""
    if pod.name and pod.uid:
        return f"{pod.name}.{pod.uid}"
    return f"{hostname or socket.gethostname()}.{pid}.{token}"
