"""The exporter's environment: rq-exporter's variables, so that only the image has to change; then our own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rqk.errors import RqkError
from rqk.settings import DEFAULT_EXPORTER_PORT, redis_settings

DEFAULT_HOST = "0.0.0.0"
_IGNORED = ("RQ_WORKER_CLASS", "RQ_QUEUE_CLASS")


class BadSetting(RqkError, ValueError):
    """A setting that cannot be understood."""


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """Where the exporter listens, what it looks at and how it logs."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_EXPORTER_PORT
    redis_url: str = ""
    origin: str = ""  # where the URL is from, for messages
    django_names: bool = False  # also the names of django-rq's own collector
    log_level: str = "INFO"
    log_format: str | None = None  # None: ours
    log_date_format: str | None = None
    ignored: tuple[str, ...] = ()  # variables of rq-exporter that are set and mean nothing to us


def exporter_settings(environ: Mapping[str, str] | None = None, url: str | None = None) -> ExporterSettings:
    """The exporter's settings from the environment (None: this process'); ``url`` wins over it.

    Read are ``RQ_EXPORTER_HOST``, ``RQ_EXPORTER_PORT``, ``RQ_EXPORTER_LOG_LEVEL``, ``RQ_EXPORTER_LOG_FORMAT``,
    ``RQ_EXPORTER_LOG_DATEFMT``, ``RQ_REDIS_URL``, else ``RQ_SENTINEL_HOST`` (several, by commas), ``RQ_SENTINEL_PORT``,
    ``RQ_SENTINEL_MASTER``, else ``RQ_REDIS_HOST``, ``RQ_REDIS_PORT``; with the last two kinds ``RQ_REDIS_DB``,
    ``RQ_REDIS_PASS`` and ``RQ_REDIS_PASS_FILE``. If none of these names a Redis, `rqk.settings.redis_settings` does.
    ``RQK_EXPORTER_DJANGO_NAMES=1`` asks for django-rq's names too. rq-exporter's classes for workers and queues are
    ignored: nothing of a user's is imported here. Raises BadSetting, or BadUrl.
    """
    env = os.environ if environ is None else environ
    redis_url, origin = _redis(env, url)
    return ExporterSettings(
        host=env.get("RQ_EXPORTER_HOST") or DEFAULT_HOST,
        port=_number(env, "RQ_EXPORTER_PORT", DEFAULT_EXPORTER_PORT, most=65535),
        redis_url=redis_url,
        origin=origin,
        django_names=env.get("RQK_EXPORTER_DJANGO_NAMES", "").strip().lower() in {"1", "true", "yes", "y", "t"},
        log_level=(env.get("RQ_EXPORTER_LOG_LEVEL") or "INFO").upper(),
        log_format=env.get("RQ_EXPORTER_LOG_FORMAT") or None,
        log_date_format=env.get("RQ_EXPORTER_LOG_DATEFMT") or None,
        ignored=tuple(name for name in _IGNORED if env.get(name)),
    )


def _redis(env: Mapping[str, str], url: str | None) -> tuple[str, str]:
    sentinel = env.get("RQ_SENTINEL_HOST")
    parts = ("RQ_REDIS_HOST", "RQ_REDIS_PORT", "RQ_REDIS_DB", "RQ_REDIS_PASS", "RQ_REDIS_PASS_FILE")
    if url is None and not env.get("RQ_REDIS_URL") and (sentinel or any(env.get(name) for name in parts)):
        login = f":{quote(password, safe='')}@" if (password := _password(env)) else ""
        database = _number(env, "RQ_REDIS_DB", 0)
        if sentinel:
            port = _number(env, "RQ_SENTINEL_PORT", 26379, most=65535)
            hosts = ",".join(f"{host.strip()}:{port}" for host in sentinel.split(",") if host.strip())
            master = quote(env.get("RQ_SENTINEL_MASTER") or "master", safe="")
            return f"redis+sentinel://{login}{hosts}/{master}/{database}", "RQ_SENTINEL_HOST"
        port = _number(env, "RQ_REDIS_PORT", 6379, most=65535)
        return f"redis://{login}{env.get('RQ_REDIS_HOST') or 'localhost'}:{port}/{database}", "RQ_REDIS_HOST"
    found = redis_settings(env, url)
    return found.url, found.origin


def _password(env: Mapping[str, str]) -> str:
    file = env.get("RQ_REDIS_PASS_FILE")
    if not file:
        return env.get("RQ_REDIS_PASS", "")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"RQ_REDIS_PASS_FILE: {error}") from error


def _number(env: Mapping[str, str], name: str, default: int, most: int = 2**31) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    # Kubernetes sets <SERVICE>_PORT=tcp://10.0.0.7:9726 for a Service of that name; only its number is wanted.
    digits = text.rsplit(":", 1)[-1]
    if not (digits.isascii() and digits.isdigit()) or int(digits) > most:
        raise BadSetting(f"{name} must be a number from 0 to {most}, not {text!r}")
    return int(digits)
