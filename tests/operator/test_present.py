"""What is there is streamed by servers that can, and listed in pages else; a reflector keeps it true."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from rqk_operator import reflector as reflecting
from rqk_operator.errors import KubeError
from rqk_operator.reflector import Object, Reflector

from tests.operator.answers import Answer, Answers, Stream, answering, refusal
from tests.operator.test_comparing import until

PATH = "/api/v1/namespaces/ns/pods"
ENDED = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}


def pod(name: str, version: int = 1) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": name, "uid": name, "resourceVersion": str(version)}}


def event(kind: str, name: str, version: int = 1) -> dict[str, Any]:
    return {"type": kind, "object": pod(name, version)}


def no_list(method: str, path: str, body: Any) -> Answer:
    raise AssertionError(f"{path} is listed")


def two_pages(tokens: list[str]) -> Any:
    pages = [
        {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [pod("a")]},
        {"metadata": {"resourceVersion": "7"}, "items": [pod("b")]},
    ]

    def script(method: str, path: str, body: Any) -> Answer:
        tokens.append(path)
        return 200, pages[len(tokens) - 1]

    return script


async def present(server: Answers) -> list[tuple[str, str]]:
    return [
        (it["type"], it["object"]["metadata"].get("name") or it["object"]["metadata"]["resourceVersion"])
        async for it in server.kube.present(PATH)
    ]


def test_a_server_that_can_streams_what_is_there_up_to_the_bookmark() -> None:
    happened = [event("ADDED", "a"), event("ADDED", "b"), event("DELETED", "a"), ENDED, event("ADDED", "late")]

    async def run() -> None:
        async with answering(no_list, lambda version: happened) as server:
            wanted = [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a"), ("BOOKMARK", "9")]
            assert await present(server) == wanted
            assert await present(server) == wanted
            assert server.asked == [("WATCH", PATH, "")] * 2

    asyncio.run(run())


def test_an_older_server_is_asked_for_pages_and_not_for_a_stream_again() -> None:
    listed: list[str] = []

    async def run() -> None:
        async with answering(two_pages(listed)) as server:
            wanted = [("ADDED", "a"), ("ADDED", "b"), ("BOOKMARK", "7")]
            assert await present(server) == wanted
            listed.clear()
            assert await present(server) == wanted
            assert not server.kube.streams
            assert server.count("WATCH") == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    "happened",
    [
        pytest.param([event("ADDED", "a")], id="it ended before its bookmark"),
        pytest.param([event("ADDED", "a"), ["no event"]], id="nonsense"),
        pytest.param([event("ADDED", "a"), {"items": []}], id="no event"),
        pytest.param(
            [event("ADDED", "a"), {"type": "ERROR", "object": refusal(422, "Invalid", "x")[1]}], id="an error"
        ),
        pytest.param(
            [event("ADDED", "a"), {"type": "ERROR", "object": refusal(500, "", "RequestWatchProgress is disabled")[1]}],
            id="an old etcd",
        ),
    ],
)
def test_after_a_broken_stream_things_are_told_once_more(happened: list[Any]) -> None:
    async def run() -> None:
        async with answering(two_pages([]), lambda version: happened) as server:
            once_more = [("RESTART", ""), ("ADDED", "a"), ("ADDED", "b"), ("BOOKMARK", "7")]
            assert await present(server) == [("ADDED", "a"), *once_more]
            assert server.kube.streams is False, "it may be one that never comes to an end"

    asyncio.run(run())


def test_a_server_that_has_streamed_before_is_asked_to_again_after_a_break() -> None:
    streams: list[list[Any]] = [[ENDED], [], [ENDED]]

    async def run() -> None:
        async with answering(two_pages([]), lambda version: streams.pop(0)) as server:
            assert await present(server) == [("BOOKMARK", "9")]
            assert await present(server) == [("ADDED", "a"), ("ADDED", "b"), ("BOOKMARK", "7")]
            assert await present(server) == [("BOOKMARK", "9")]

    asyncio.run(run())


def test_what_may_not_be_watched_is_not_listed_instead() -> None:
    async def run() -> None:
        error = {"type": "ERROR", "object": refusal(403, "Forbidden", "no")[1]}
        async with answering(no_list, lambda version: [error]) as server:
            with pytest.raises(KubeError) as caught:
                await present(server)
            assert caught.value.status == 403

    asyncio.run(run())


class View:
    """What a reflector has told."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.told: list[str] = []

    def seen(self, item: Object) -> None:
        self.there.add(item["metadata"]["name"])

    def gone(self, item: Object) -> None:
        self.there.discard(item["metadata"]["name"])
        self.told.append(item["metadata"]["name"])


@asynccontextmanager
async def reflecting_on(
    stream: Stream, script: Callable[[str, str, Any], Answer] = no_list
) -> AsyncIterator[tuple[Reflector, View, Answers]]:
    async with answering(script, stream) as server:
        view = View()
        found = Reflector(server.kube, PATH, "", seen=view.seen, gone=view.gone)
        task = asyncio.create_task(found.run())
        try:
            async with asyncio.timeout(20):
                yield found, view, server
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_a_reflector_watches_on_from_the_bookmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflecting, "_BREATH_S", 0.01)
    happens = {
        "": [event("ADDED", "a"), event("ADDED", "b"), event("DELETED", "b", 8), ENDED],
        "9": [event("ADDED", "c", 10), event("DELETED", "a", 11)],
    }

    async def run() -> None:
        async with reflecting_on(lambda version: happens.get(version, [])) as (found, view, server):
            await found.synced.wait()
            assert view.told == ["b"]
            await until(lambda: server.count("WATCH") > 2)
            assert [version for _, _, version in server.asked[:3]] == ["", "9", "11"]
            assert view.there == {"c"}
            assert view.told == ["b", "a"]

    asyncio.run(run())


def test_what_vanished_while_nobody_watched_is_gone() -> None:
    too_old = {"type": "ERROR", "object": refusal(410, "Expired", "too old")[1]}
    lists = [[event("ADDED", "a"), event("ADDED", "b"), ENDED], [event("ADDED", "b"), ENDED]]

    def stream(version: str) -> list[Any]:
        if version == "":
            return lists.pop(0)
        return [too_old] if lists else []

    async def run() -> None:
        async with reflecting_on(stream) as (_, view, _server):
            await until(lambda: not lists and view.told == ["a"])
            assert view.there == {"b"}

    asyncio.run(run())


def test_what_vanished_after_a_stream_that_broke_is_gone() -> None:
    def script(method: str, path: str, body: Any) -> Answer:
        return 200, {"metadata": {"resourceVersion": "9"}, "items": [pod("b")]}

    async def run() -> None:
        stream = {"": [event("ADDED", "a"), event("ADDED", "b"), "broken"]}
        async with reflecting_on(lambda version: stream.get(version, []), script) as (found, view, _server):
            await found.synced.wait()
            assert view.there == {"b"}
            assert view.told == ["a"]

    asyncio.run(run())


def test_a_server_whose_lists_are_too_old_at_once_is_not_asked_for_them_without_a_pause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    too_old = {"type": "ERROR", "object": refusal(410, "Expired", "too old")[1]}
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.001)
    caplog.set_level(logging.INFO, "rqk.operator")

    async def run() -> None:
        async with reflecting_on(lambda version: [ENDED] if version == "" else [too_old]) as (_, _view, server):
            await until(lambda: sum(version == "" for _, _, version in server.asked) > 5)

    asyncio.run(run())
    words = [record.getMessage() for record in caplog.records]
    assert "listing anew" in words[0], "the first time at once"
    waits = [text.rpartition(" again in ")[2] for text in words[1:5]]
    assert waits == ["0.5 s", "1.0 s", "2.0 s", "4.0 s"]


def test_a_watch_that_has_told_something_is_begun_again_without_a_long_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else each break would make the next one's wait longer, although the watch works in between."""
    broken = {"type": "ERROR", "object": refusal(500, "InternalError", "x")[1]}
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.001)
    caplog.set_level(logging.INFO, "rqk.operator")

    def stream(version: str) -> list[Any]:
        return [ENDED] if version == "" else [event("MODIFIED", "a", int(version) + 1), broken]

    async def run() -> None:
        async with reflecting_on(stream) as (_, view, server):
            await until(lambda: server.count("WATCH") > 6)
            assert view.there == {"a"}

    asyncio.run(run())
    waits = [record.getMessage().rpartition(" again in ")[2] for record in caplog.records]
    assert len([wait for wait in waits if wait == f"{reflecting._FIRST_WAIT_S} s"]) >= 5
    assert not any(wait.startswith(("1.0", "2.0")) for wait in waits)
