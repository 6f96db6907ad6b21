"""Clients from URLs, the errors of a Redis that is not as it should be, and lines."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis as redis_py
from redis.sentinel import SentinelConnectionPool

from rqk import Queue
from rqk.connections import resolve_connection
from rqk.errors import BadUrl, StoreRefused, StoreTooOld, StoreUnavailable
from rqk.store import aio
from rqk.store.connect import bytes_client, check_server, connect, describe, masked, server_info
from rqk.store.line import Line
from tests.conftest import MakeServer
from tests.support.jobs import add
from tests.support.server import Server, free_port

Client = redis_py.Redis


def options(client: Any) -> dict[str, Any]:
    return dict(client.connection_pool.connection_kwargs)


@pytest.mark.parametrize(
    ("url", "wanted", "where"),
    [
        ("redis://h:1/2", {"host": "h", "port": 1, "db": 2}, "Redis at h:1"),
        ("redis://h", {"host": "h"}, "Redis at h:6379"),
        ("redis://me:p%40ss@h/0", {"username": "me", "password": "p@ss"}, "Redis at h:6379"),
        ("redis://h?db=3", {"db": 3}, "Redis at h:6379"),
        ("rediss://h/1?ssl_ca_certs=/dev/null", {"host": "h", "ssl_ca_certs": "/dev/null"}, "Redis at h:6379 (TLS)"),
        ("unix:///run/s.sock?db=1", {"path": "/run/s.sock", "db": 1}, "Redis at /run/s.sock"),
    ],
)
def test_urls(url: str, wanted: dict[str, Any], where: str) -> None:
    client = connect(url)
    assert wanted.items() <= options(client).items()
    assert describe(client) == where
    assert options(client)["socket_timeout"] > 0, "a silent server must not be waited for without end"


def test_tls_is_used_when_asked_for() -> None:
    assert connect("rediss://h").connection_pool.connection_class is redis_py.SSLConnection


@pytest.mark.parametrize(
    ("url", "sentinels", "wanted", "service"),
    [
        ("redis+sentinel://a:1,b:2/mymaster", [("a", 1), ("b", 2)], {"db": 0, "password": None}, "mymaster"),
        ("redis+sentinel://a/m/3", [("a", 26379)], {"db": 3}, "m"),
        (
            "redis+sentinel://me:p%40ss@a:1/m",
            [("a", 1)],
            {"username": "me", "password": "p@ss"},
            "m",
        ),
        ("redis+sentinel://:secret@[::1]:7/m", [("::1", 7)], {"password": "secret", "username": None}, "m"),
        ("redis+sentinel://a:1/my%20master", [("a", 1)], {}, "my master"),
    ],
)
def test_sentinel_urls(url: str, sentinels: list[tuple[str, int]], wanted: dict[str, Any], service: str) -> None:
    client = connect(url)
    pool: Any = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    asked = [
        (one.connection_pool.connection_kwargs["host"], one.connection_pool.connection_kwargs["port"])
        for one in pool.sentinel_manager.sentinels
    ]
    assert asked == sentinels
    assert pool.service_name == service
    assert wanted.items() <= options(client).items()
    assert describe(client) == f"Redis master {service!r} (by Sentinel)"


def test_sentinels_have_logins_of_their_own_and_tls() -> None:
    url = "rediss+sentinel://:data@a:1/m?sentinel_password=guard&sentinel_username=g&ssl_ca_certs=/dev/null"
    pool: Any = connect(url).connection_pool
    asked = pool.sentinel_manager.sentinels[0].connection_pool
    assert asked.connection_kwargs["password"] == "guard"
    assert asked.connection_kwargs["username"] == "g"
    assert asked.connection_class is redis_py.SSLConnection
    assert "SSL" in pool.connection_class.__name__
    assert pool.connection_kwargs["password"] == "data"
    assert aio.remote(url).where == "Redis master 'm' (by Sentinel)"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "a Redis URL starts with redis://, rediss://, unix:// or redis\\+sentinel://"),
        ("localhost:6379", "starts with redis://"),
        ("http://h", "starts with redis://"),
        ("redis://h:port", "redis://h:port: "),
        ("redis://h:99999999", "redis://h:99999999: "),
        ("redis+sentinel://a:1", "give redis\\+sentinel://host:port"),
        ("redis+sentinel:///m", "give redis\\+sentinel://host:port"),
        ("redis+sentinel://a:x/m", "'a:x' is not host:port"),
        ("redis+sentinel://a:1/m/db", "the database must be a number, not 'db'"),
        ("redis://h/0?colour=red", "redis:// knows no parameter colour$"),
        ("redis://h/0?ssl_ca_certs=/ca.crt", "knows no parameter ssl_ca_certs; TLS needs rediss://"),
        ("unix:///r.sock?ssl_ca_certs=/ca.crt", "unix:// knows no parameter ssl_ca_certs$"),
        ("rediss://h/0?ssl_cert_reqs=bogus", "ssl_cert_reqs=bogus: Invalid SSL Certificate Requirements"),
        ("rediss://h/0?ssl_ca_certs=/no/ca.crt", "ssl_ca_certs: cannot read /no/ca.crt: No such file or directory$"),
        ("rediss://h/0?ssl_certfile=/no/c&ssl_keyfile=/k", "ssl_certfile: cannot read /no/c: No such file"),
        ("rediss+sentinel://h/m?ssl_keyfile=/no/key", "ssl_keyfile: cannot read /no/key: No such file or directory$"),
        ("redis://h/0?protocol=9", "protocol=9: protocol must be either 2 or 3"),
        ("redis://h/0?encoding=bogus", "encoding=bogus: unknown encoding: bogus"),
        ("redis://h/0?maint_notifications_config=1", "maint_notifications_config=1: 'str' object has no attribute"),
        ("redis://h/0?parser_class=x", "parser_class=x: 'str' object is not callable$"),
        ("redis://[::1", r"redis://\[::1: Invalid IPv6 URL$"),
        ("redis+sentinel://[::1", "Invalid IPv6 URL$"),
    ],
)
@pytest.mark.parametrize("make", [connect, aio.remote])
def test_bad_urls_say_what_is_wrong(url: str, words: str, make: Any) -> None:
    with pytest.raises(BadUrl, match=words):
        make(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hunter2@h",
        "redis://:hunter2@h:port",
        "redis+sentinel://:hunter2@a:x/m",
        "redis://h/0?password=hunter2&protocol=9",
        "redis+sentinel://a:x/m?sentinel_password=hunter2",
    ],
)
def test_errors_tell_no_password(url: str) -> None:
    assert "hunter2" not in masked(url)
    with pytest.raises(BadUrl) as caught:
        connect(url)
    assert "hunter2" not in str(caught.value)


def test_nobody_there() -> None:
    client = connect(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable, match=r"no usable answer from Redis at 127\.0\.0\.1:\d+: .*refused") as caught:
        Queue(connection=client).enqueue(add, 1)
    assert isinstance(caught.value, redis_py.exceptions.ConnectionError), (
        "whoever catches redis-py's error does so still"
    )


@pytest.mark.parametrize("login", ["", ":wrong@"])
def test_a_wrong_password(make_server: MakeServer, login: str) -> None:
    server = make_server(requirepass="right")
    client = connect(f"redis://{login}127.0.0.1:{server.port}")
    with pytest.raises(StoreRefused, match="refused the connection") as caught:
        Queue(connection=client).enqueue(add, 1)
    assert isinstance(caught.value, redis_py.exceptions.AuthenticationError)
    with pytest.raises(StoreRefused):
        Line(client).execute_command("PING")
    assert connect(server.url).ping()


def test_over_a_unix_socket(make_server: MakeServer) -> None:
    server = make_server()
    assert Queue(connection=connect(server.unix_url)).enqueue(add, 1).get_status() == "queued"


@pytest.mark.parametrize("decode", [False, True])
def test_clients_that_decode_their_answers_will_do(valkey: Server, redis: Client, decode: bool) -> None:
    with valkey.client(decode_responses=decode) as client:
        assert (bytes_client(client) is client) is not decode
        queue = Queue(connection=client)
        job = queue.enqueue(add, 1, 2, meta={"a": b"\xff"})
        assert queue.job_ids == [job.id]
        assert queue.fetch_job(job.id) == job
        assert job.get_meta() == {"a": b"\xff"}
        if decode:
            assert client.get("x") is None
            client.set("x", "text")
            assert client.get("x") == "text", "the caller's own client stays as it was"


def test_a_client_of_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must be a redis\.Redis client, not 'redis://h'"):
        resolve_connection("redis://h")  # type: ignore[arg-type]


# Old servers, played by a stub that answers everything with its INFO.
@contextmanager
def stub(info: bytes) -> Iterator[int]:
    """A server that knows one answer."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                while data := client.recv(1 << 16):
                    # One answer a command: HELLO and the like are refused, as an old server does.
                    for word in data.split(b"*")[1:]:
                        reply = (
                            b"$%d\r\n%s\r\n" % (len(info), info)
                            if b"INFO" in word.upper() and b"server" in word
                            else b"+OK\r\n"
                        )
                        client.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@pytest.mark.parametrize(
    ("info", "fine"),
    [
        (b"# Server\r\nredis_version:6.0.16\r\n", False),
        (b"# Server\r\nredis_version:5.0.9\r\n", False),
        (b"# Server\r\nredis_version:6.2.0\r\n", True),
        (b"# Server\r\nredis_version:10.1\r\n", True),
        pytest.param(b"# Server\r\nredis_version:6.0.0\r\nvalkey_version:8.0.0\r\n", True, id="any Valkey"),
        pytest.param(b"", True, id="a server that does not say is trusted"),
    ],
)
def test_old_servers(info: bytes, fine: bool) -> None:
    with stub(info) as port:
        line = Line(connect(f"redis://127.0.0.1:{port}?protocol=2"))
        try:
            if fine:
                check_server(line, "it")
            else:
                with pytest.raises(
                    StoreTooOld, match=r"it is Redis [56]\.0\.\d+; rqk needs Redis 6\.2 or newer, or any Valkey"
                ):
                    check_server(line, "it")
        finally:
            line.close()


def test_what_the_real_server_says(redis: Client) -> None:
    line = Line(redis)
    try:
        assert server_info(redis)["valkey_version"] == server_info(line)["valkey_version"]
        check_server(line, "it")
        check_server(redis, "it")
    finally:
        line.close()


def test_a_user_who_may_not_ask_is_trusted(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-info")
        line = Line(connect(f"redis://limited:pw@127.0.0.1:{server.port}"))
        try:
            assert server_info(line) == {}
            check_server(line, "it")
        finally:
            line.close()
