"""The ground that the other tests stand on holds."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conftest import MakeProxy
from tests.support.proxy import Proxy
from tests.support.server import Server
from tests.support.tls import make_certificate
from tests.support.waiting import wait_until
from tests.support.workers import ProcessWithLog

NEVER = Retry(NoBackoff(), 0)


def test_a_killed_server_comes_back_with_its_data(server: Server) -> None:
    with server.client() as client:
        client.set("a", "1")
        server.kill()
        with pytest.raises(redis_py.ConnectionError):
            client.get("a")
        server.start()
        assert client.get("a") == b"1"


def test_a_server_answers_over_its_unix_socket(server: Server) -> None:
    with redis_py.Redis.from_url(server.unix_url) as client:
        assert client.ping()


def test_a_server_can_refuse_writes(server: Server) -> None:
    with server.client() as client:
        server.read_only()
        with pytest.raises(redis_py.exceptions.ReadOnlyError):
            client.set("a", "1")
        server.writable()
        assert client.set("a", "1")


def test_a_frozen_server_answers_nobody(server: Server) -> None:
    with server.client(socket_timeout=0.2, retry=NEVER) as client:
        server.pause()
        with pytest.raises(redis_py.TimeoutError):
            client.ping()
        server.resume()
        assert client.ping()


def test_a_cut_connection_is_seen_as_ended_and_the_next_one_works(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as raw:
        raw.sendall(b"PING\r\n")
        assert raw.recv(100) == b"+PONG\r\n"
        proxy.cut()
        assert raw.recv(100) == b""
    with redis_py.Redis.from_url(proxy.url, retry=NEVER) as client:
        assert client.ping()


def test_a_refusing_proxy_listens_again_on_its_port(proxy: Proxy) -> None:
    with redis_py.Redis.from_url(proxy.url, retry=NEVER) as client:
        assert client.ping()
        port = proxy.port
        proxy.refuse()
        with pytest.raises(redis_py.ConnectionError):
            client.ping()
        proxy.accept()
        assert proxy.port == port
        assert client.ping()


def test_a_silent_proxy_says_later_what_it_held_back(proxy: Proxy) -> None:
    with redis_py.Redis.from_url(proxy.url) as client:
        assert client.ping()
        proxy.silence()
        answers: list[object] = []
        asker = threading.Thread(target=lambda: answers.append(client.ping()))
        asker.start()
        assert not answers
        proxy.speak()
        asker.join(5)
        assert answers == [True]


def test_a_pipeline_is_one_piece(proxy: Proxy) -> None:
    with redis_py.Redis.from_url(proxy.url) as client:
        client.ping()
        seen = proxy.pieces
        with client.pipeline() as pipeline:
            for number in range(5):
                pipeline.set(f"k{number}", number)
            pipeline.execute()
        assert proxy.pieces == seen + 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with the openssl command")
def test_tls_in_front_of_the_server(make_proxy: MakeProxy, server: Server, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with (
        Proxy("127.0.0.1", server.port, tls=context) as proxy,
        redis_py.Redis.from_url(proxy.url, ssl_ca_certs=str(certificate)) as client,
    ):
        assert client.ping()


def test_a_log_that_never_says_it_shows_what_it_said(tmp_path: Path) -> None:
    process = ProcessWithLog([sys.executable, "-c", "print('something else')"], tmp_path / "log")
    with pytest.raises(AssertionError, match="something else"):
        process.wait_for_log("this", timeout=5)
    process.close()


def test_an_orphan_is_noticed(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "from tests.support.processes import adopt_orphans\n"
        "from tests.conftest import no_process_is_left\n"
        "def pytest_configure(config):\n    adopt_orphans()\n"
    )
    pytester.makepyfile(
        "import subprocess\n"
        "def test_leaves_a_grandchild():\n"
        "    subprocess.run(['sh', '-c', 'sleep 60 & exit 0'], stdout=subprocess.DEVNULL)\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=60)
    result.stdout.fnmatch_lines(["*processes left behind by this test*", "*sleep 60*"])
    assert result.ret != 0


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(AssertionError, match=r"waited 0.02 s in vain for the moon; last seen: 0"):
        wait_until(lambda: 0, 0.02, "the moon")


def test_support_imports_nothing_of_ours() -> None:
    code = "import sys, tests.support.jobs; print([m for m in sys.modules if m.split('.')[0] in ('rqk', 'redis')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
