"""Settings modules of rq as URLs of ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import pytest

from rqk.cli.target import Target, sentinel_url
from rqk.store.connect import connect, describe


def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, url: str | None = None) -> Target:
    name = f"settings_{abs(hash((tmp_path, text)))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Target(url, name, (str(tmp_path),))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("REDIS_URL = 'redis://a:1/2'", "redis://a:1/2"),
        ("REDIS_HOST = 'a'\nREDIS_DB = 3\nREDIS_PASSWORD = 'p@ss'", "redis://:p%40ss@a:6379/3"),
        ("REDIS_HOST = 'a'\nREDIS_SSL = True", "rediss://a:6379/0"),
        ("REDIS_HOST = 'a'\nREDIS_SSL = True\nREDIS_SSL_CA_CERTS = '/ca'", "rediss://a:6379/0?ssl_ca_certs=%2Fca"),
        ("SENTINEL = {'INSTANCES': [('s', 1), ('t', 2)], 'DB': 3}", "redis+sentinel://s:1,t:2/mymaster/3"),
        ("OTHER = 1\nlower = 'redis://no'", None),
    ],
)
def test_what_a_settings_module_says(
    text: str, url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert target(tmp_path, monkeypatch, text).chosen_url() == url


def test_the_word_beats_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = target(tmp_path, monkeypatch, "REDIS_URL = 'redis://a:1/2'", url="redis://word")
    assert found.redis_url() == "redis://word"


def test_the_module_beats_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://environment")
    assert target(tmp_path, monkeypatch, "REDIS_URL = 'redis://module'").redis_url() == "redis://module"
    assert Target(None, None, ()).redis_url() == "redis://environment"


def test_a_sentinel_with_everything() -> None:
    setting: dict[str, Any] = {
        "INSTANCES": [("s", 26379)],
        "MASTER_NAME": "main one",
        "USERNAME": "me",
        "PASSWORD": "a/b",
        "SSL": True,
        "SOCKET_TIMEOUT": 1,
        "CONNECTION_KWARGS": {"ssl_ca_certs": "/dev/null", "socket_timeout": 3},
        "SENTINEL_KWARGS": {"password": "theirs", "username": "them"},
    }
    url = sentinel_url(setting)
    head, _, query = url.partition("?")
    assert head == "rediss+sentinel://me:a%2Fb@s:26379/main%20one/0"
    assert set(query.split("&")) == {"ssl_ca_certs=%2Fdev%2Fnull", "sentinel_username=them", "sentinel_password=theirs"}
    assert "main one" in describe(connect(url))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("raise RuntimeError('oops')", r"RuntimeError: oops \(settings_\d+\.py line 1\)", id="raises"),
        pytest.param("\nx = = 3", r"SyntaxError: invalid syntax \(settings_\d+\.py line 2\)", id="is no Python"),
        pytest.param(
            "def f(): return len(5)\nX = f()", r"TypeError: .* \(settings_\d+\.py line 1\)", id="further down"
        ),
        pytest.param("import nosuch", r"No module named 'nosuch' \(settings_\d+\.py line 1\)", id="imports in vain"),
        pytest.param("raise SystemExit(3)", "SystemExit: 3", id="wants to leave"),
        pytest.param("SENTINEL = 5", "SENTINEL in the settings module cannot be used: 'int'", id="no dictionary"),
        pytest.param("SENTINEL = {'INSTANCES': ['a']}", "SENTINEL in the settings module cannot", id="no pairs"),
    ],
)
def test_a_settings_module_that_cannot_be_used(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(click.UsageError, match=told):
        target(tmp_path, monkeypatch, text).redis_url()


def test_a_path_is_no_name_of_a_module() -> None:
    with pytest.raises(click.UsageError, match=r"--config \./settings: this is not the dotted name of a module"):
        Target(None, "./settings", ()).redis_url()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({}, "needs INSTANCES"),
        ({"INSTANCES": [("s", 1)], "CONNECTION_KWARGS": {"retry": 3}}, "retry cannot be used"),
    ],
)
def test_a_sentinel_that_makes_no_url(setting: dict[str, Any], told: str) -> None:
    with pytest.raises(click.UsageError, match=told):
        sentinel_url(setting)
