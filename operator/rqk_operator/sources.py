"""Where a pool's Redis is, for the operator and for its workers. Pure: what Secrets and ConfigMaps hold is handed in."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from rqk.autoscale.model import Redis, Sentinel
from rqk.errors import RqkError

FOLDER = "/etc/rqk"  # in the workers' containers
_CA, _LOGIN, _SENTINEL, _CLIENT = "redis-ca", "redis-login", "redis-sentinel", "redis-client"


class SourceError(RqkError):
    """A Secret or ConfigMap that a pool names, or a key in it, is not there or may not be read."""


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One key of an object beside the pool."""

    kind: str  # Secret or ConfigMap
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Access:
    """All that it takes to connect. ``files`` are for TLS, by the name of redis-py's URL parameter.

    ``key`` is the same for pools that share a server and a login.
    """

    url: str = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)
    key: str = field(init=False)  # kept, since each round asks for it for each pool

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.url.encode())
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + content + b"\0")
        object.__setattr__(self, "key", digest.hexdigest())

    def fingerprint(self, salt: str) -> str:
        """Shown on pods: changes with the content, tells nothing about it to whoever does not know ``salt``."""
        return hmac.new(salt.encode(), self.key.encode(), hashlib.sha256).hexdigest()[:12]


def refs(redis: Redis) -> tuple[Ref, ...]:
    """What has to be read first."""
    found: list[Ref] = []
    if redis.url_from is not None:
        found.append(Ref("Secret", redis.url_from.secret_key_ref.name, redis.url_from.secret_key_ref.key))
    if redis.sentinel is not None:
        for source in (redis.sentinel.password_from, redis.sentinel.sentinel_password_from):
            if source is not None:
                found.append(Ref("Secret", source.secret_key_ref.name, source.secret_key_ref.key))
    found += _tls_refs(redis).values()
    return tuple(dict.fromkeys(found))


def _tls_refs(redis: Redis) -> dict[str, Ref]:
    """By redis-py's parameter."""
    found: dict[str, Ref] = {}
    if redis.tls is None:
        return found
    ca = redis.tls.ca_from
    if ca is not None and ca.secret_key_ref is not None:
        found["ssl_ca_certs"] = Ref("Secret", ca.secret_key_ref.name, ca.secret_key_ref.key)
    elif ca is not None and ca.config_map_key_ref is not None:
        found["ssl_ca_certs"] = Ref("ConfigMap", ca.config_map_key_ref.name, ca.config_map_key_ref.key)
    if redis.tls.client_certificate_secret is not None:
        found["ssl_certfile"] = Ref("Secret", redis.tls.client_certificate_secret, "tls.crt")
        found["ssl_keyfile"] = Ref("Secret", redis.tls.client_certificate_secret, "tls.key")
    return found


def access(redis: Redis, values: Mapping[Ref, bytes]) -> Access:
    """Put together what was read. Raises SourceError for a text that is none."""
    if redis.sentinel is not None:
        url = _sentinel_url(redis, redis.sentinel, values)
    elif redis.url_from is not None:
        source = redis.url_from.secret_key_ref
        url = _text(Ref("Secret", source.name, source.key), values)
        if redis.tls is not None and not url.startswith("rediss"):
            raise SourceError(
                f"key {source.key} of Secret {source.name} is no rediss:// URL, which spec.redis.tls needs"
            )
    else:
        url = redis.url or ""
    if redis.tls is not None and redis.tls.insecure_skip_verify:
        url = with_query(url, {"ssl_cert_reqs": "none"})
    return Access(url, {name: values[ref] for name, ref in _tls_refs(redis).items()})


def with_query(url: str, parameters: Mapping[str, str]) -> str:
    """A URL with further query parameters."""
    if not parameters:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(parameters)}"


def _sentinel_url(redis: Redis, sentinel: Sentinel, values: Mapping[Ref, bytes]) -> str:
    password = None
    if sentinel.password_from is not None:
        source = sentinel.password_from.secret_key_ref
        password = _text(Ref("Secret", source.name, source.key), values)
    query: dict[str, str] = {}
    if sentinel.sentinel_password_from is not None:
        source = sentinel.sentinel_password_from.secret_key_ref
        query["sentinel_password"] = _text(Ref("Secret", source.name, source.key), values)
    return _compose(redis, sentinel, password, query)


def _compose(redis: Redis, sentinel: Sentinel, password: str | None, query: Mapping[str, str]) -> str:
    scheme = "rediss+sentinel" if redis.tls is not None else "redis+sentinel"
    login = quote(sentinel.username or "", safe="")
    if password is not None:
        login += f":{quote(password, safe='')}"
    if sentinel.sentinel_username is not None:
        query = {**query, "sentinel_username": sentinel.sentinel_username}
    where = f"{','.join(sentinel.addresses)}/{quote(sentinel.master, safe='')}/{sentinel.db}"
    return with_query(f"{scheme}://{login}{'@' if login else ''}{where}", query)


def _text(ref: Ref, values: Mapping[Ref, bytes]) -> str:
    try:
        return values[ref].decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise SourceError(f"key {ref.key} of {ref.kind} {ref.name} is not text") from error


@dataclass(frozen=True, slots=True)
class Mounts:
    """What a worker's pod needs in order to find its Redis."""

    env: tuple[dict[str, Any], ...]
    volumes: tuple[dict[str, Any], ...]
    mounts: tuple[dict[str, Any], ...]


def mounts(redis: Redis) -> Mounts:
    """Secrets stay Secrets: the pod refers to them, nothing of them is copied into the Deployment."""
    env: list[dict[str, Any]] = []
    volumes: list[dict[str, Any]] = []
    if redis.url_from is not None:
        source = redis.url_from.secret_key_ref
        reference = {"secretKeyRef": {"name": source.name, "key": source.key}}
        env.append({"name": "RQ_REDIS_URL", "valueFrom": reference})
    elif redis.sentinel is not None:
        env += _sentinel_env(redis, redis.sentinel, volumes)
    else:
        env.append({"name": "RQ_REDIS_URL", "value": literal(redis.url or "")})
    if redis.tls is not None:
        env += _tls_env(redis, volumes)
    places = tuple(
        {"name": volume["name"], "mountPath": f"{FOLDER}/{volume['name']}", "readOnly": True} for volume in volumes
    )
    return Mounts(tuple(env), tuple(volumes), places)


def literal(word: str) -> str:
    """As a command or a variable has to be written so that it arrives as it is: Kubernetes replaces ``$(NAME)`` in both, and
    makes one ``$`` of two."""
    return word.replace("$", "$$")


def _sentinel_env(redis: Redis, sentinel: Sentinel, volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    env = [{"name": "RQ_REDIS_URL", "value": literal(_compose(redis, sentinel, None, {}))}]
    for source, volume, variable in (
        (sentinel.password_from, _LOGIN, "RQK_REDIS_PASSWORD_FILE"),
        (sentinel.sentinel_password_from, _SENTINEL, "RQK_REDIS_SENTINEL_PASSWORD_FILE"),
    ):
        if source is not None:
            reference = source.secret_key_ref
            volumes.append(_volume(volume, Ref("Secret", reference.name, reference.key), "password"))
            env.append({"name": variable, "value": f"{FOLDER}/{volume}/password"})
    return env


def _tls_env(redis: Redis, volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    env: list[dict[str, Any]] = []
    found = _tls_refs(redis)
    if "ssl_ca_certs" in found:
        volumes.append(_volume(_CA, found["ssl_ca_certs"], "ca.crt"))
        env.append({"name": "RQK_REDIS_CA_FILE", "value": f"{FOLDER}/{_CA}/ca.crt"})
    if "ssl_certfile" in found:
        volumes.append({"name": _CLIENT, "secret": {"secretName": found["ssl_certfile"].name}})
        env.append({"name": "RQK_REDIS_CERT_FILE", "value": f"{FOLDER}/{_CLIENT}/tls.crt"})
        env.append({"name": "RQK_REDIS_KEY_FILE", "value": f"{FOLDER}/{_CLIENT}/tls.key"})
    if redis.tls is not None and redis.tls.insecure_skip_verify:
        env.append({"name": "RQK_REDIS_INSECURE", "value": "1"})
    return env


def _volume(name: str, ref: Ref, path: str) -> dict[str, Any]:
    items = [{"key": ref.key, "path": path}]
    if ref.kind == "ConfigMap":
        return {"name": name, "configMap": {"name": ref.name, "items": items}}
    return {"name": name, "secret": {"secretName": ref.name, "items": items}}
