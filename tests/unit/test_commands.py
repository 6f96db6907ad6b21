"""Commands over pub/sub: anyone may publish anything, and the worker goes on."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rqk.core import commands
from rqk.core.commands import Command, decode, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["command", "job_id"]), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(commands.KNOWN)), st.text(), st.text())
def test_a_command_survives_the_wire(name: str, job_id: str, execution_id: str) -> None:
    command = Command(name, job_id, execution_id)
    assert decode(encode(command)) == command


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (b'{"command": "shutdown"}', Command("shutdown")),
        (b'{"command": "kill-horse", "created_at": "2026-08-01T12:00:00Z"}', Command("kill-horse")),
        (b'{"command": "stop-job", "job_id": "a"}', Command("stop-job", "a")),
        (
            b'{"command": "stop-execution", "execution_id": "e", "job_id": "a"}',
            Command("stop-execution", "a", "e"),
        ),
    ],
)
def test_rqs_payloads(payload: bytes, wanted: Command) -> None:
    assert decode(payload) == wanted


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"not json",
        b"null",
        b"[]",
        b'"shutdown"',
        b"{}",
        b'{"command": "format-disk"}',
        b'{"command": null}',
        pytest.param(b'{"command": ["shutdown"]}', id="a command that cannot be hashed"),
        pytest.param(b'{"command": {"a": 1}}', id="a command that is an object"),
        pytest.param(b"[" * 100_000, id="nested too deeply to be read"),
    ],
)
def test_junk_is_no_command(payload: bytes) -> None:
    assert decode(payload) is None


@given(st.binary())
@example(b'{"command"')
def test_no_bytes_raise(payload: bytes) -> None:
    decode(payload)


@given(JSON)
@example([])
def test_no_json_raises(value: object) -> None:
    decode(json.dumps(value).encode())
    decode(json.dumps({"command": value}).encode())
