"""The endpoint over real sockets: what it says, and that nobody can keep it from saying it."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import Metric

from rqk.metrics import connections
from rqk.metrics.endpoint import Endpoint, EndpointError
from rqk.metrics.pages import Health
from tests.metrics.reading import parse_openmetrics, samples
from tests.support.waiting import wait_until

PROBE_SECONDS = 1.0
"""How long Kubernetes waits for a probe unless told otherwise."""


class Served:
    """An endpoint with one counter, whose health a test may change."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.registry = CollectorRegistry()
        Counter("things", "Things", ["x"], registry=self.registry).labels("y").inc(3)
        self.health = Health(live=True, ready=True)
        self.endpoint = Endpoint(host, 0, self.registry, lambda: self.health, title="a <worker>")
        self.host = host
        self.port = self.endpoint.start()

    def get(
        self, path: str, headers: dict[str, str] | None = None, method: str = "GET", timeout: float = 10
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        with closing(connection):
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()

    def probe(self) -> int:
        return self.get("/healthz", timeout=PROBE_SECONDS)[0]

    def connect(self, text: bytes = b"") -> socket.socket:
        sock = socket.create_connection((self.host, self.port), timeout=10)
        sock.sendall(text)
        return sock


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.endpoint.stop()


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def read_all(sock: socket.socket) -> bytes:
    """Everything until the other side closes."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_metrics_in_the_format_that_is_asked_for(served: Served) -> None:
    status, headers, body = served.get("/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert samples(body.decode())["things_total{x=y}"] == 3
    assert headers["content-length"] == str(len(body))

    _, headers, body = served.get("/metrics", {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert [family.name for family in parse_openmetrics(body.decode())] == ["things"]

    _, headers, body = served.get("/metrics", {"Accept-Encoding": "gzip"})
    assert headers["content-encoding"] == "gzip"
    assert samples(gzip.decompress(body).decode())["things_total{x=y}"] == 3

    assert served.get("/metrics?name[]=nothing")[2] == b""


def test_health_in_words_and_as_json(served: Served) -> None:
    assert served.get("/healthz")[::2] == (200, b"ok\n")
    assert served.get("/readyz")[::2] == (200, b"ok\n")
    served.health = Health(live=True, ready=False, reason="retiring")
    assert served.get("/healthz")[0] == 200
    assert served.get("/readyz")[::2] == (503, b"retiring\n")
    served.health = Health(live=False, ready=True, reason="no tick for 61 s")
    assert served.get("/healthz")[::2] == (503, b"no tick for 61 s\n")
    assert served.get("/readyz")[0] == 503
    for path, headers in (("/healthz?verbose", {}), ("/readyz", {"Accept": "application/json"})):
        status, answered, body = served.get(path, headers)
        assert (status, answered["content-type"]) == (503, "application/json")
        assert json.loads(body) == {"live": False, "ready": True, "reason": "no tick for 61 s"}


def test_the_other_pages(served: Served) -> None:
    status, headers, body = served.get("/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"a &lt;worker&gt;" in body
    assert served.get("/nowhere")[0] == 404
    assert served.get("/metrics/more")[0] == 404
    status, headers, _ = served.get("/metrics", method="POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert served.get("/metrics", method="BREW")[0] == 501


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/", "/nowhere"])
def test_head_has_the_headers_and_no_body(served: Served, path: str) -> None:
    status, headers, body = served.get(path, method="HEAD")
    again, same, whole = served.get(path)
    assert (status, headers["content-length"], body) == (again, same["content-length"], b"")
    assert whole


def test_one_connection_serves_many_requests(served: Served) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)) as connection:
        for path in ("/metrics", "/healthz", "/metrics", "/nowhere", "/readyz"):
            connection.request("GET", path)
            connection.getresponse().read()
            sock = connection.sock
            assert sock is not None
    with served.connect(b"GET /healthz HTTP/1.1\r\n\r\n" * 3000 + b"GET /metrics HTTP/1.0\r\n\r\n") as pipelined:
        answers = read_all(pipelined)
    assert answers.count(b"HTTP/1.1 200 OK") == 3001
    assert b"things_total" in answers


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET / HTTP/9.9\r\n\r\n", b"HTTP/1.1 505 "),
        (b"\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000, b"HTTP/1.1 431 "),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n", b"HTTP/1.1 431 "),
        (b"POST / HTTP/1.1\r\nContent-Length: 26\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n..", b"HTTP/1.1 405 "),
        (b"GET / HTTP/1.1\r\nContent-Length: 26\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n..", b"HTTP/1.1 200 "),
    ],
)
def test_bad_requests_are_answered_and_the_connection_closed(served: Served, request_: bytes, answer: bytes) -> None:
    with served.connect(request_) as sock:
        try:
            got = read_all(sock)
        except ConnectionResetError:  # what we did not read is thrown away by the kernel, with a reset
            got = answer
    assert got.startswith(answer)
    assert got.count(b"HTTP/1.1 ") <= 1
    assert served.probe() == 200


def test_clients_that_say_nothing_delay_nobody(served: Served) -> None:
    with ExitStack() as stack:
        for number in range(200):
            stack.enter_context(served.connect(b"GET /met" if number % 2 else b""))
        for _ in range(5):
            assert served.probe() == 200
        assert served.get("/metrics")[0] == 200
        assert len(served.endpoint.sockets()) <= connections.MOST_CONNECTIONS + 1


def test_clients_that_do_not_read_delay_nobody(served: Served) -> None:
    big = Counter("big", "Big", ["x"], registry=served.registry)
    for number in range(5000):
        big.labels(f"{number:0100}")
    with ExitStack() as stack:
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", served.port))
            sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n" * 10)
        assert served.probe() == 200
        assert len(served.get("/metrics")[2]) > 500_000


def test_who_is_silent_for_too_long_is_let_go(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SILENCE_S", 0.05)
    monkeypatch.setattr(connections, "IDLE_S", 0.05)
    for begin in (b"", b"GET /", b"GET /healthz HTTP/1.1\r\n\r\n"):
        with served.connect(begin) as sock:
            read_all(sock)  # returns, since the other side closes


class Slow:
    """A collector that takes until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        self.begun.set()
        self.go.wait(30)
        return []


def test_a_slow_collection_does_not_delay_a_probe(served: Served) -> None:
    slow = Slow()
    served.registry.register(slow)
    with served.connect(b"GET /metrics HTTP/1.0\r\n\r\n") as scrape:
        assert slow.begun.wait(10)
        assert served.probe() == 200
        slow.go.set()
        assert b"things_total" in read_all(scrape)


def test_a_collector_that_fails_is_a_500_and_the_end_of_nothing(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Slow):
        def collect(self) -> Iterable[Metric]:
            raise LookupError("this one is broken")

    served.registry.register(Broken())
    assert served.get("/metrics")[0] == 500
    assert "this one is broken" in caplog.text
    assert served.probe() == 200


def test_while_paused_no_thread_of_ours_lives_and_who_comes_waits(served: Served) -> None:
    before = threads()
    with ExitStack() as stack:
        open_before = stack.enter_context(served.connect(b"GET /healthz HTTP/1.1\r\n\r\n"))
        assert open_before.recv(65536).startswith(b"HTTP/1.1 200")
        served.endpoint.pause()
        served.endpoint.pause()
        wait_until(lambda: threads() == before - 2, what="both threads to be gone")
        waiting = [stack.enter_context(served.connect(b"GET /metrics HTTP/1.0\r\n\r\n")) for _ in range(20)]
        open_before.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        served.endpoint.resume()
        served.endpoint.resume()
        assert all(b"things_total" in read_all(sock) for sock in waiting)
        assert read_all(open_before).endswith(b"ok\n")


def test_a_collection_under_way_is_finished_before_a_pause(served: Served) -> None:
    slow = Slow()
    served.registry.register(slow)
    with served.connect(b"GET /metrics HTTP/1.0\r\n\r\n") as scrape:
        assert slow.begun.wait(10)
        timer = threading.Timer(0.1, slow.go.set)
        timer.start()
        served.endpoint.pause()
        assert slow.go.is_set()
        served.endpoint.resume()
        assert b"things_total" in read_all(scrape)
        timer.join()


def test_a_child_forked_in_a_pause_can_let_go_of_everything_without_a_word(served: Served) -> None:
    with served.connect(b"GET /healthz HTTP/1.1\r\n\r\n") as client:
        client.recv(65536)
        served.endpoint.pause()
        pid = os.fork()
        if not pid:
            sockets = {os.readlink(f"/proc/self/fd/{sock.fileno()}") for sock in served.endpoint.sockets()}
            for sock in served.endpoint.sockets():
                sock.close()
            left = {os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.exists()}
            os._exit(len(sockets & left) or (0 if len(sockets) == 2 else 50))
        served.endpoint.resume()
        client.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        assert read_all(client).endswith(b"ok\n")
        assert served.probe() == 200
        assert os.waitpid(pid, 0)[1] == 0


def test_a_taken_port_is_replaced_by_a_free_one(served: Served) -> None:
    other = Endpoint("127.0.0.1", served.port, served.registry, lambda: served.health)
    port = other.start()
    try:
        assert port not in (0, served.port)
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
    finally:
        other.stop()


def test_a_taken_port_is_an_error_where_it_matters(served: Served) -> None:
    other = Endpoint("127.0.0.1", served.port, served.registry, lambda: served.health)
    with pytest.raises(
        EndpointError, match=rf"cannot serve metrics on 127\.0\.0\.1:{served.port}: Address already in use"
    ):
        other.start(any_port=False)


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
def test_a_host_that_is_not_ours_is_an_error(host: str, served: Served) -> None:
    with pytest.raises(EndpointError, match=f"cannot serve metrics on {re.escape(host)}:0: "):
        Endpoint(host, 0, served.registry, lambda: served.health).start()


def test_a_stopped_endpoint_leaves_nothing_and_its_port_can_be_had_at_once(served: Served) -> None:
    before = threads()
    with served.connect(b"GET /healthz HTTP/1.1\r\n\r\n") as client:
        client.recv(65536)
        served.endpoint.stop()
        served.endpoint.stop()
        assert client.recv(65536) == b""
    wait_until(lambda: threads() == before - 2, what="both threads to be gone")
    with pytest.raises(ConnectionRefusedError):
        served.connect()
    again = Endpoint("127.0.0.1", served.port, served.registry, lambda: served.health)
    try:
        assert again.start(any_port=False) == served.port
    finally:
        again.stop()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_ipv6_hosts() -> None:
    def on(host: str, ask: Callable[[Served], object]) -> None:
        served = Served(host)
        try:
            ask(served)
        finally:
            served.endpoint.stop()

    on("::1", lambda served: served.get("/healthz"))

    def both(served: Served) -> None:
        for served.host in ("::1", "127.0.0.1"):
            assert served.probe() == 200

    on("::", both)
