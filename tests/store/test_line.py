"""Lines: the raw connection of a worker, plain and encrypted; what it says of a server that is cut off, silent or deaf."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from rqk.errors import StoreUnavailable
from rqk.store.connect import connect
from rqk.store.line import Line
from tests.support.proxy import Proxy
from tests.support.server import Server
from tests.support.tls import make_certificate
from tests.support.waiting import wait_until

Client = redis_py.Redis


@pytest.fixture(params=["plain", "encrypted"])
def far(
    request: pytest.FixtureRequest, valkey: Server, redis: Client, tmp_path: Path
) -> Iterator[tuple[Proxy, Client]]:
    """A proxy in front of the shared, empty server, and a client that reaches it."""
    if request.param == "plain":
        with Proxy("127.0.0.1", valkey.port) as proxy:
            yield proxy, connect(proxy.url)
        return
    if shutil.which("openssl") is None:
        pytest.skip("makes a certificate with the openssl command")
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Proxy("127.0.0.1", valkey.port, tls=context) as proxy:
        yield proxy, redis_py.Redis.from_url(proxy.url, ssl_ca_certs=str(certificate))


def test_answers_to_posted_commands_are_read_as_they_come(far: tuple[Proxy, Client]) -> None:
    proxy, client = far
    line = Line(client, timeout_s=10)
    got: list[Any] = []
    try:
        line.execute_command("PING")
        proxy.silence()
        line.post("SET", "text", "x" * 100_000, then=got.append)
        line.post("GET", "text", then=got.append)
        line.collect(wait=False)
        assert got == [], "nothing has come, and nobody waits"
        proxy.speak()
        line.collect()
        assert got == [b"OK", b"x" * 100_000]
        line.post("INCR", "n", then=got.append)

        def has_come() -> bool:
            line.collect(wait=False)
            return not line.is_owed

        wait_until(has_come, what="the answer")
        assert got[2:] == [1]
        assert line.execute_command("GET", "n") == b"1"
    finally:
        line.close()


def test_what_a_subscription_brings_is_read_without_waiting(far: tuple[Proxy, Client], redis: Client) -> None:
    line = Line(far[1])
    heard: list[Any] = []
    try:
        line.execute_command("SUBSCRIBE", "news")
        assert line.arrived() == []
        redis.publish("news", "x" * 300_000)

        def has_come() -> bool:
            heard.extend(line.arrived())
            return bool(heard)

        wait_until(has_come, what="the message")
        assert heard == [[b"message", b"news", b"x" * 300_000]]
    finally:
        line.close()


@pytest.mark.parametrize(
    "size", [pytest.param(1, id="it answers nothing"), pytest.param(50 << 20, id="it takes nothing")]
)
def test_a_silent_server_is_given_up(far: tuple[Proxy, Client], size: int) -> None:
    proxy, client = far
    line = Line(client, timeout_s=0.3)
    try:
        line.execute_command("PING")
        proxy.silence()
        with pytest.raises(StoreUnavailable):
            line.execute_command("SET", "text", bytes(size))
        assert line.fileno() == -1
        proxy.cut()
        proxy.speak()
        assert line.execute_command("PING") == b"PONG"
    finally:
        line.close()


def test_a_line_talks_and_pipelines(redis: Client) -> None:
    line = Line(redis)
    try:
        assert line.fileno() == -1
        assert line.execute_command("SET", "text", "ü") == b"OK"
        line.send("GET", "text")
        line.send("RPUSH", "list", b"\xff", 1, 2.5)
        assert (line.read(), line.read()) == ("ü".encode(), 3)
        assert line.execute_command("LRANGE", "list", 0, -1) == [b"\xff", b"1", b"2.5"]
        assert line.fileno() >= 0
    finally:
        line.close()
    assert line.fileno() == -1


def test_a_line_carries_large_answers(redis: Client) -> None:
    line = Line(redis)
    try:
        line.execute_command("SET", "large", b"x" * (20 << 20))
        assert len(line.execute_command("GET", "large")) == 20 << 20
    finally:
        line.close()


def test_a_cut_line_says_so_and_opens_again(redis: Client, proxy: Proxy) -> None:
    line = Line(connect(proxy.url))
    try:
        line.execute_command("SET", "n", 1)
        proxy.cut()
        with pytest.raises(StoreUnavailable):
            line.execute_command("INCR", "n")
        assert line.fileno() == -1
        assert line.execute_command("GET", "n") in (b"1", b"2"), (
            "the next command connects; the lost one is not repeated"
        )
    finally:
        line.close()


def test_a_lost_command_is_not_repeated(redis: Client, proxy: Proxy) -> None:
    """The server ran it and the answer was lost: doing it again would do it twice."""
    line = Line(connect(proxy.url))
    try:
        line.execute_command("PING")
        proxy.after = lambda piece: proxy.cut()
        with pytest.raises(StoreUnavailable):
            line.execute_command("INCR", "n")
        proxy.after = None
        wait_until(lambda: redis.get("n") == b"1", what="the server to have run it")
        assert line.execute_command("GET", "n") == b"1"
    finally:
        line.close()


def test_a_refused_command_leaves_the_line_usable(redis: Client) -> None:
    line = Line(redis)
    try:
        line.execute_command("SET", "text", "x")
        before = line.fileno()
        with pytest.raises(redis_py.exceptions.ResponseError):
            line.execute_command("LPUSH", "text", "y")
        assert line.fileno() == before
        assert line.execute_command("GET", "text") == b"x"
    finally:
        line.close()
