"""A client from a URL, one-connection lines for the worker, and the translation of redis-py's errors into ours."""

from __future__ import annotations

import re
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis
import redis
from redis import exceptions as wire
from redis.connection import ConnectionPool, SSLConnection
from redis.sentinel import MasterNotFoundError, Sentinel

from rqk.errors import BadUrl, StoreError, StoreFull, StoreRefused, StoreTooOld, StoreUnavailable, WrongKeyType
from rqk.store import certificates, wrong_keys

Client = redis.Redis

CONNECT_TIMEOUT_S = 5.0
SOCKET_TIMEOUT_S = 10.0  # a server that is silent for longer is taken for dead; blocking pops add their own time
_OLDEST = (6, 2)
_LARGE = 1_000_000  # bytes of one command; the least proto-max-bulk-len that a server can be given
_LATER = (
    *(
        "LOADING",
        "READONLY",
        "MASTERDOWN",
        "TRYAGAIN",
        "CLUSTERDOWN",
        "BUSY ",
        "MISCONF",
        "NOREPLICAS",
        "UNBLOCKED",
    ),
    "max number of clients",
)
_SCRIPT = re.compile(r" script: .*")  # which line of which script it was, at the end of an error's text
_LOGIN = (wire.AuthenticationError, wire.AuthorizationError, wire.NoPermissionError)
# redis-py strips the code word of errors it has a class for.
_AWAY = (
    *(wire.ConnectionError, wire.TimeoutError, wire.ReadOnlyError, OSError),
    *(wire.MasterDownError, wire.TryAgainError, wire.ClusterDownError),
)


class Executor(Protocol):
    """Whatever sends one command and returns its answer: a client, or a line."""

    def execute_command(self, *args: Any) -> Any:
        """Send and wait."""


def _raised(ours: type[StoreError], *theirs: type[wire.RedisError]) -> type[StoreError]:
    """A class that callers may catch as our error or as redis-py's; in tracebacks it has the name under which ours is known."""

    def reduced(self: StoreError) -> tuple[Any, ...]:
        return again, (ours, self.args)  # by that name pickle would find the public class, which is another one

    return type(
        ours.__name__,
        (ours, *theirs),
        {"__module__": ours.__module__, "__doc__": ours.__doc__, "__reduce__": reduced},
    )


_RAISED: dict[type[StoreError], type[StoreError]] = {
    StoreUnavailable: _raised(StoreUnavailable, wire.ConnectionError),
    StoreFull: _raised(StoreFull, wire.ConnectionError, wire.OutOfMemoryError),
    StoreRefused: _raised(StoreRefused, wire.AuthenticationError),
    WrongKeyType: _raised(WrongKeyType, wire.ResponseError),
    StoreError: _raised(StoreError, wire.ResponseError),
}


def again(ours: type[StoreError], args: tuple[Any, ...]) -> StoreError:
    """An error out of a pickle."""
    return _RAISED[ours](*args)


def translated(error: Exception, where: str) -> StoreError:
    """Our error for one of redis-py's, or of the system's."""
    text = str(error)
    if isinstance(error, MasterNotFoundError):
        return _RAISED[StoreUnavailable](f"no usable answer for {where}: {_why_no_master(text)}")
    if isinstance(error, _LOGIN) or text.startswith(("WRONGPASS", "NOAUTH", "NOPERM")):
        return _RAISED[StoreRefused](f"{where} refused the connection: {text}")
    if isinstance(error, wire.OutOfMemoryError) or "OOM command" in text:
        return _RAISED[StoreFull](
            f"{where} is full: it uses more memory than its maxmemory and stores nothing new. Let workers work off what "
            "waits, keep results and failed jobs for a shorter time, or raise maxmemory"
        )
    if isinstance(error, _AWAY) or any(word in text for word in _LATER):
        return _RAISED[StoreUnavailable](f"no usable answer from {where}: {text or type(error).__name__}")
    if "WRONGTYPE" in text:
        return _RAISED[WrongKeyType](f"{where}: {_SCRIPT.sub('', text)}")
    if "unknown command" in text.lower() and "SENTINEL" in text:
        return _RAISED[StoreError](
            f"{where}: the server at the sentinel's address is no Sentinel (give the Redis itself as redis://host:port)"
        )
    if "unknown command" in text.lower() and "EVALSHA" not in text:
        return StoreTooOld(f"{where} is too old ({text}); rqk needs Redis 6.2 or newer, or any Valkey")
    return _RAISED[StoreError](f"{where}: {text}")


def _why_no_master(text: str) -> str:
    """The reason in redis-py's message, without the clients it prints."""
    if " - " not in text:
        return "its sentinels do not know a master of this name that is up"
    kind = text.rpartition(":")[2].strip(" .")
    return f"its sentinels do not answer ({kind}); a Sentinel usually listens on port 26379"


@contextmanager
def errors_of(where: str) -> Iterator[None]:
    """Raise redis-py's errors as ours, with the cause kept; NOSCRIPT passes, scripts.run answers it."""
    try:
        yield
    except (StoreError, wire.NoScriptError):
        raise
    except (wire.RedisError, OSError) as error:
        raise translated(error, where) from error


@contextmanager
def talk(client: Client, *about: str) -> Iterator[Any]:
    """The client, untyped (redis-py types answers as unions, ours are bytes), with its errors raised as ours.

    ``about``: of which queues, jobs or keys, so that an error can name the one that is not as it should be.
    """
    try:
        yield client
    except (StoreError, wire.NoScriptError):
        raise
    except (wire.RedisError, OSError) as error:
        raise wrong_keys.named(translated(error, describe(client)), client, about) from error


def ask(client: Client, *args: Any) -> Any:
    """One command through a pooled client, packed by hiredis alone: half the time of redis-py's own way, its retries kept.

    A command that is retried may have run before; the caller's must bear that.
    """
    pool: Any = client.connection_pool
    if client.connection is not None:  # a client that keeps one connection has a lock of its own
        single: Any = client
        return single.execute_command(*args)
    packed = [hiredis.pack_command(args)]
    connection = pool.get_connection()
    try:
        return connection.retry.call_with_retry(
            lambda: (connection.send_packed_command(packed), connection.read_response())[1],
            lambda error: connection.disconnect(),
        )
    except wire.ConnectionError as error:
        size = len(packed[0])
        if size < _LARGE:
            raise
        # The server hangs up on a value that is too long for it, without a word.
        hint = "a value may be no longer than the server's proto-max-bulk-len"
        raise wire.ConnectionError(f"{error} (while sending {size / 1e6:.0f} MB; {hint})") from error
    finally:
        pool.release(connection)


def ask_each(client: Client, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Many commands through a pooled client, a few under way at a time; their answers, a NoScriptError being one too.

    Retries are redis-py's: after a broken connection it goes on with the first command that was not answered, which may have
    run before. Raises the first other error, when all that was sent is answered.
    """
    if client.connection is not None:
        return _unless_error([_answer(partial(ask, client, *args)) for args in commands])
    pool: Any = client.connection_pool
    answers: list[Any] = []
    waiting: deque[bytes] = deque()  # packed, and not answered yet
    rest = map(hiredis.pack_command, commands)
    connection = pool.get_connection()

    def go_on() -> None:
        for packed in waiting:
            connection.send_packed_command([packed])
        for packed in rest:
            waiting.append(packed)
            connection.send_packed_command([packed])
            if len(waiting) >= _UNDER_WAY:
                take()
        while waiting:
            take()

    def take() -> None:
        answers.append(_answer(connection.read_response))
        waiting.popleft()

    try:
        connection.retry.call_with_retry(go_on, lambda error: connection.disconnect())
    except BaseException:
        connection.disconnect()  # answers that nobody has read may be on their way
        raise
    finally:
        pool.release(connection)
    return _unless_error(answers)


def _answer(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except wire.ResponseError as error:
        return error


def _unless_error(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, wire.NoScriptError):
            raise answer
    return answers


_UNDER_WAY = 8  # commands; their answers must fit into the socket's buffer while we write


def describe(client: Client) -> str:
    """``host:port`` (or the socket's path) of a client, never with a password."""
    pool: Any = client.connection_pool
    kwargs = pool.connection_kwargs
    service = getattr(pool, "service_name", None)
    if service:
        return f"Redis master {service!r} (by Sentinel)"
    if "path" in kwargs:
        return f"Redis at {kwargs['path']}"
    tls = " (TLS)" if issubclass(pool.connection_class, SSLConnection) else ""
    return f"Redis at {kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}{tls}"


def masked(url: str) -> str:
    """A URL without its password, for messages."""
    shown = re.sub(r"(://[^/@]*?):[^@/]*@", r"\1:***@", url)
    return re.sub(r"([?&](?:sentinel_)?password=)[^&]*", r"\1***", shown)


def _keepalive() -> dict[str, Any]:
    """Notice a silent fail-over in about half a minute instead of hours."""
    options: dict[int, int] = {}
    if sys.platform == "linux":
        options = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
    return {"socket_keepalive": True, "socket_keepalive_options": options}


def connect(url: str) -> Client:
    """A client for ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://[user:password@]host:port[,host:port…]/master[/db]``.

    Nothing is sent yet. ``rediss+sentinel://`` uses TLS to master and sentinels. Query parameters of redis-py (``ssl_ca_certs``,
    ``ssl_certfile`` and so on) are passed on. Raises BadUrl for a URL that cannot be understood.
    """
    scheme = url.partition("://")[0].lower()
    timeouts: dict[str, Any] = {"socket_connect_timeout": CONNECT_TIMEOUT_S, "socket_timeout": SOCKET_TIMEOUT_S}
    with url_errors(url):
        if scheme in {"redis+sentinel", "rediss+sentinel"}:
            return _by_sentinel(url, tls=scheme.startswith("rediss"), timeouts=timeouts)
        if scheme in {"redis", "rediss"}:
            _check_database(url)
            return _checked(redis.Redis.from_url(url, **timeouts, **_keepalive()))
        if scheme == "unix":
            return _checked(redis.Redis.from_url(url, **timeouts))
    raise BadUrl(f"{masked(url)}: a Redis URL starts with redis://, rediss://, unix:// or redis+sentinel://")


@contextmanager
def url_errors(url: str) -> Iterator[None]:
    """Raise whatever goes wrong with a URL as BadUrl: redis-py has no error of its own for that."""
    try:
        yield
    except BadUrl:
        raise
    except TypeError as error:  # of redis-py, which would say so with the first command only
        raise BadUrl(f"{masked(url)}: {_type_error(url, str(error))}") from error
    except Exception as error:
        raise BadUrl(f"{masked(url)}: {error}") from error


def _type_error(url: str, text: str) -> str:
    scheme = url.partition("://")[0].lower()
    _, found, parameter = text.rpartition("argument ")
    if not found:
        return text
    parameter = parameter.strip("'")
    tls = f"; TLS needs {scheme}s://" if parameter.startswith("ssl_") and scheme == "redis" else ""
    return f"{scheme}:// knows no parameter {parameter}{tls}"


def _check_database(url: str) -> None:
    """Raise ValueError for a path that is no number: redis-py would use database 0 and say nothing."""
    path = urlsplit(url).path.strip("/")
    if path and not path.isdigit():
        raise ValueError(f"the database must be a number, not {path!r}")


def _checked(client: Client) -> Client:
    """The same client; raises what making its first connection would, without connecting."""
    pool: Any = client.connection_pool
    made = pool.connection_class(**pool.connection_kwargs)
    made.encoder.encode("")  # an encoding that there is not
    certificates.check(pool.connection_kwargs)
    return client


_sentinel: Any = Sentinel  # redis-py leaves it untyped


def _by_sentinel(url: str, *, tls: bool, timeouts: dict[str, Any]) -> Client:
    parts = urlsplit(url.split("://", 1)[0].replace("+", "") + "://" + url.split("://", 1)[1])
    login, _, hosts = parts.netloc.rpartition("@")
    path = [piece for piece in parts.path.split("/") if piece]
    if not hosts or not path:
        raise BadUrl(f"{masked(url)}: give redis+sentinel://host:port[,host:port]/master[/db]")
    sentinels: list[tuple[str, int]] = []
    for entry in hosts.split(","):
        host, _, port = entry.rpartition(":") if ":" in entry else (entry, "", "26379")
        if not port.isdigit():
            raise BadUrl(f"{masked(url)}: {entry!r} is not host:port")
        sentinels.append((host.strip("[]"), int(port)))
    if len(path) > 1 and not path[1].isdigit():
        raise BadUrl(f"{masked(url)}: the database must be a number, not {path[1]!r}")
    user, _, password = login.partition(":")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    own = {
        "username": unquote(user) or None,
        "password": unquote(password) or None,
        "db": int(path[1]) if len(path) > 1 else 0,
    }
    security: dict[str, Any] = {"ssl": True} if tls else {}
    security |= {name: value for name, value in query.items() if name.startswith("ssl_")}
    certificates.check(security)
    sentinel_kwargs: dict[str, Any] = {**timeouts, **security}
    if "sentinel_password" in query:
        sentinel_kwargs |= {"password": query["sentinel_password"], "username": query.get("sentinel_username")}
    sentinel: Any = _sentinel(sentinels, sentinel_kwargs=sentinel_kwargs, **timeouts, **security, **_keepalive(), **own)
    client: Client = sentinel.master_for(unquote(path[0]))
    return client


def bytes_client(client: Client) -> Client:
    """The client itself, or a twin whose answers are bytes if this one decodes them."""
    pool: Any = client.connection_pool
    if not pool.connection_kwargs.get("decode_responses"):
        return client
    kwargs = {**pool.connection_kwargs, "decode_responses": False}
    if hasattr(pool, "sentinel_manager"):
        twin: Client = pool.sentinel_manager.master_for(pool.service_name, decode_responses=False)
        return twin
    return redis.Redis(connection_pool=ConnectionPool(connection_class=pool.connection_class, **kwargs))


def server_info(client: Executor) -> dict[str, str]:
    """The ``server`` section of INFO; empty if the user may not ask."""
    try:
        raw = client.execute_command("INFO", "server")
    except (wire.NoPermissionError, StoreRefused):
        return {}
    if isinstance(raw, dict):
        return {str(name): str(value) for name, value in raw.items()}
    lines = raw.decode().splitlines() if isinstance(raw, bytes) else str(raw).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def check_server(client: Executor, where: str) -> None:
    """Raise StoreTooOld for a server before Redis 6.2; a server that may not be asked is trusted."""
    info = server_info(client)
    version = info.get("redis_version")
    if version is None or "valkey_version" in info:
        return
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < _OLDEST:
        raise StoreTooOld(f"{where} is Redis {version}; rqk needs Redis 6.2 or newer, or any Valkey")
