"""Which Redis a command talks to: --url, else the settings module of --config, else the environment."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click

if TYPE_CHECKING:
    from rqk.store.connect import Client

# redis-py's names in a URL's query, by RQ's names of settings.
_TLS = {
    "REDIS_SSL_CA_CERTS": "ssl_ca_certs",
    "REDIS_SSL_CERT_REQS": "ssl_cert_reqs",
    "REDIS_SSL_CA_DATA": "ssl_ca_data",
    "REDIS_SSL_KEYFILE": "ssl_keyfile",
    "REDIS_SSL_CERTFILE": "ssl_certfile",
}
_NAMES = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD", "REDIS_SSL")


@dataclass(frozen=True)
class Target:
    """What --url, --config and --path said."""

    url: str | None
    config: str | None
    path: tuple[str, ...]

    @cached_property
    def directories(self) -> tuple[str, ...]:
        """Where the user's modules are, as absolute paths."""
        return tuple(str(Path(one).absolute()) for one in self.path)

    def import_here(self) -> None:
        """Make the user's modules importable in this very process."""
        sys.path[:0] = [one for one in self.directories if one not in sys.path]

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The upper-case names of the settings module; empty without one. Raises a usage error if it cannot be imported."""
        if not self.config:
            return {}
        if self.config.startswith("."):  # a path; Python would take it for a relative import
            raise click.UsageError(
                f"--config {self.config}: this is not the dotted name of a module, such as app.settings."
            )
        self.import_here()
        try:
            module = import_module(self.config)
        except ImportError as error:
            raise click.UsageError(
                f"--config {self.config}: {error}{_where(error)}. Give the dotted name of a module that can be imported "
                "from here; --path adds a directory."
            ) from error
        except (Exception, SystemExit) as error:  # the module is code of the user's and raises what it likes
            said = error.msg if isinstance(error, SyntaxError) else error
            raise click.UsageError(f"--config {self.config}: {type(error).__name__}: {said}{_where(error)}.") from error
        return {name: value for name, value in vars(module).items() if name.isupper()}

    def queues(self) -> Any:
        """QUEUES of the settings module; None if it has none. Raises a usage error for what is no list of names."""
        found = self.settings.get("QUEUES")
        if found is not None and not isinstance(found, (str, list, tuple, set, frozenset)):
            raise click.UsageError(f"QUEUES in the settings module must be a list of names, not {found!r}.")
        return found

    def name(self) -> str | None:
        """NAME of the settings module; None if it has none. Raises a usage error for what is no text."""
        found = self.settings.get("NAME")
        if found is not None and not isinstance(found, str):
            raise click.UsageError(f"NAME in the settings module must be a text, not {found!r}.")
        return found

    def chosen_url(self) -> str | None:
        """The URL if --url (or its environment variable) or the settings module name one. Raises BadUrl, or a usage error."""
        return self.url or self._configured()

    def redis_url(self) -> str:
        """The URL; without a choice the environment's, else localhost. Raises BadUrl for settings that make none."""
        from rqk.settings import redis_settings

        return redis_settings(url=self.chosen_url()).url

    def client(self) -> Client:
        """A client that has not sent anything yet."""
        from rqk.store.connect import connect

        return connect(self.redis_url())

    def _configured(self) -> str | None:
        from rqk.settings import redis_settings

        if "REDIS_URL" not in self.settings and "SENTINEL" in self.settings:
            try:
                return sentinel_url(self.settings["SENTINEL"])
            except (TypeError, ValueError, AttributeError) as error:  # values of other kinds than RQ's
                raise click.UsageError(f"SENTINEL in the settings module cannot be used: {error}.") from error
        given = {name: str(self.settings[name]) for name in _NAMES if self.settings.get(name) is not None}
        if not given:
            return None
        url = redis_settings(given).url
        tls = {query: self.settings[name] for name, query in _TLS.items() if self.settings.get(name)}
        if "REDIS_URL" in given or not url.startswith("rediss:") or not tls:
            return url
        return f"{url}?{urlencode(tls)}"


def _where(error: BaseException) -> str:
    """The line of the user's module that an error comes from; nothing if no such line had its turn."""
    if isinstance(error, SyntaxError):
        return f" ({Path(error.filename or '?').name} line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    # First come this module and importlib's, whose files have names such as <frozen importlib._bootstrap>.
    own = [one for one in frames if one.filename not in (__file__, importlib.__file__) and one.filename[:1] != "<"]
    return f" ({Path(own[-1].filename).name} line {own[-1].lineno})" if own else ""


def sentinel_url(setting: Mapping[str, Any]) -> str:
    """The URL that means the same as RQ's SENTINEL dictionary. Raises a usage error for what has no place in a URL."""
    instances = setting.get("INSTANCES") or ()
    hosts = ",".join(f"{host}:{port}" for host, port in instances)
    if not hosts:
        raise click.UsageError("SENTINEL in the settings module needs INSTANCES, a list of (host, port).")
    own, theirs = dict(setting.get("CONNECTION_KWARGS") or {}), dict(setting.get("SENTINEL_KWARGS") or {})
    query = {name: own.pop(name) for name in list(own) if name.startswith("ssl_")}
    query |= {f"sentinel_{name}": theirs.pop(name) for name in ("username", "password") if name in theirs}
    # Time-outs are the worker's own business: it must tell a dead server from a quiet one.
    unknown = [name for name in (*own, *theirs) if name not in ("socket_timeout", "socket_connect_timeout", "ssl")]
    if unknown:
        raise click.UsageError(
            f"SENTINEL in the settings module: {', '.join(unknown)} cannot be used; known are ssl_… of CONNECTION_KWARGS, "
            "and username and password of SENTINEL_KWARGS."
        )
    scheme = "rediss+sentinel" if setting.get("SSL") or own.get("ssl") else "redis+sentinel"
    login = ""
    if setting.get("PASSWORD"):
        login = f"{quote(setting.get('USERNAME') or '', safe='')}:{quote(setting['PASSWORD'], safe='')}@"
    master = quote(setting.get("MASTER_NAME") or "mymaster", safe="")
    return f"{scheme}://{login}{hosts}/{master}/{int(setting.get('DB') or 0)}" + (
        f"?{urlencode(query)}" if query else ""
    )
