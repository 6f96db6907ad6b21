"""What the environment says about Redis and about who we are."""

from __future__ import annotations

from pathlib import Path

import pytest

from rqk.errors import BadUrl
from rqk.settings import PodSettings, RedisSettings, pod_settings, redis_settings, worker_name


@pytest.mark.parametrize(
    ("environ", "url", "origin"),
    [
        pytest.param({}, "redis://localhost:6379/0", "the default", id="nothing set"),
        ({"REDIS_URL": "redis://a/1"}, "redis://a/1", "REDIS_URL"),
        ({"RQ_REDIS_URL": "redis://b/2", "REDIS_URL": "redis://a/1"}, "redis://b/2", "RQ_REDIS_URL"),
        pytest.param({"RQ_REDIS_URL": "", "REDIS_URL": "redis://a"}, "redis://a", "REDIS_URL", id="empty is unset"),
        ({"REDIS_HOST": "cache"}, "redis://cache:6379/0", "REDIS_HOST"),
        ({"REDIS_HOST": "cache", "REDIS_PORT": "7000", "REDIS_DB": "3"}, "redis://cache:7000/3", "REDIS_HOST"),
        ({"REDIS_HOST": "c", "REDIS_SSL": "yes"}, "rediss://c:6379/0", "REDIS_HOST"),
        pytest.param(
            {"REDIS_PORT": "tcp://10.0.0.7:6380"},
            "redis://localhost:6380/0",
            "REDIS_HOST",
            id="what Kubernetes sets for a Service named redis",
        ),
        pytest.param(
            {"REDIS_HOST": "c", "REDIS_PASSWORD": "p@ss:w/rd"},
            "redis://:p%40ss%3Aw%2Frd@c:6379/0",
            "REDIS_HOST",
            id="a password is quoted",
        ),
    ],
)
def test_where_redis_is(environ: dict[str, str], url: str, origin: str) -> None:
    assert redis_settings(environ) == RedisSettings(url, origin)


def test_a_given_url_wins() -> None:
    assert redis_settings({"RQ_REDIS_URL": "redis://b"}, "redis://c").url == "redis://c"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"REDIS_HOST": "c", "REDIS_PORT": "many"}, "REDIS_PORT must be a number, not 'many'"),
        ({"REDIS_HOST": "c", "REDIS_DB": "x"}, "REDIS_DB must be a number, not 'x'"),
        ({"REDIS_HOST": "c", "REDIS_SSL": "maybe"}, "REDIS_SSL must be yes or no, not 'maybe'"),
        ({"RQK_REDIS_PASSWORD_FILE": "/nowhere/at/all"}, "RQK_REDIS_PASSWORD_FILE: .*/nowhere/at/all"),
    ],
)
def test_nonsense_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(BadUrl, match=named):
        redis_settings(environ)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://host:1/0", "redis://:s%40cret@host:1/0"),
        ("redis://me:old@host/0", "redis://me:s%40cret@host/0"),
        ("rediss://me@host", "rediss://me:s%40cret@host"),
        ("redis+sentinel://a:1,b:2/m", "redis+sentinel://:s%40cret@a:1,b:2/m"),
    ],
)
def test_a_mounted_secret_is_the_password(url: str, wanted: str, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s@cret\n")
    assert redis_settings({"RQK_REDIS_PASSWORD_FILE": str(secret)}, url).url == wanted


def test_who_we_are_in_a_pod() -> None:
    environ = {"RQK_POD_NAME": "p-1", "RQK_POD_UID": "u", "RQK_POD_NAMESPACE": "n"}
    assert pod_settings(environ) == PodSettings("p-1", "u", "n")
    assert pod_settings({"RQK_POD_NAME": ""}) == PodSettings()


@pytest.mark.parametrize(
    ("pod", "wanted"),
    [
        (PodSettings("p-1", "u"), "p-1.u"),
        pytest.param(PodSettings("p-1", None), "host.7.abc", id="a pod without a uid may be one of several"),
        (PodSettings(), "host.7.abc"),
    ],
)
def test_a_workers_name(pod: PodSettings, wanted: str) -> None:
    assert worker_name(pod, 7, "abc", "host") == wanted
