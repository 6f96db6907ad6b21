"""Key names: RQ's spelling, and the same one in Lua."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqk.core import keys
from rqk.store import scripts

NAMES = st.text(min_size=1).filter(lambda name: "," not in name)
IDS = st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True)
SCRIPTS = sorted(
    path.name.removesuffix(".lua")
    for path in (resources.files("rqk.store") / "scripts").iterdir()
    if path.name.endswith(".lua") and path.name != "lib.lua"
)


@pytest.mark.parametrize(
    ("ours", "rqs"),
    [
        (keys.queue("a b"), "rq:queue:a b"),
        (keys.intermediate("q"), "rq:queue:q:intermediate"),
        (keys.job("1"), "rq:job:1"),
        (keys.dependents("1"), "rq:job:1:dependents"),
        pytest.param(keys.dependencies("1"), "rq:job::1:dependencies", id="two colons, as RQ spells it"),
        (keys.results("1"), "rq:results:1"),
        (keys.executions("1"), "rq:executions:1"),
        (keys.execution("1", "e"), "rq:execution:1:e"),
        (keys.lease("1", "e"), "1:e"),
        (keys.started("q"), "rq:wip:q"),
        (keys.finished("q"), "rq:finished:q"),
        (keys.failed("q"), "rq:failed:q"),
        (keys.deferred("q"), "rq:deferred:q"),
        (keys.scheduled("q"), "rq:scheduled:q"),
        (keys.canceled("q"), "rq:canceled:q"),
        (keys.ready("q"), "rq:ready:q"),
        (keys.group("g"), "rq:group:g"),
        (keys.worker("w"), "rq:worker:w"),
        (keys.worker_executions("w"), "rq:worker:w:executions"),
        (keys.queue_workers("q"), "rq:workers:q"),
        (keys.scheduler_lock("q"), "rq:scheduler-lock:q"),
        (keys.pubsub("w"), "rq:pubsub:w"),
        (keys.first_seen("q", "1"), "rq:queue:q:intermediate:first_seen:1"),
    ],
)
def test_keys_are_rqs(ours: str, rqs: str) -> None:
    assert ours == rqs


@given(NAMES)
def test_names_are_found_again_in_their_keys(name: str) -> None:
    assert keys.queue_name(keys.queue(name)) == name
    assert keys.worker_name(keys.worker(name)) == name


@given(IDS, st.text())
def test_a_lease_is_taken_apart_again(job_id: str, execution_id: str) -> None:
    assert keys.parse_lease(keys.lease(job_id, execution_id)) == (job_id, execution_id)


def test_a_job_id_alone_is_no_lease() -> None:
    assert keys.parse_lease("job") == ("job", "")


@pytest.mark.parametrize(("read", "key"), [(keys.queue_name, "rq:worker:w"), (keys.worker_name, "rq:queue:q")])
def test_another_kind_of_key_is_refused_by_name(read: object, key: str) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match=re.escape(repr(key))):
        read(key)


def test_extensions_are_apart_from_rqs_names() -> None:
    ours = {keys.JANITOR_LOCK, keys.UNSETTLED, keys.RETIRE}
    assert all(key.startswith("rq:rqk:") for key in ours)
    rqs = {key for name, key in keys.lua_names().items() if name not in ("unsettled", "retire")}
    assert not [key for key in rqs if key.startswith(keys.EXTENSION)]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_spell_no_key_of_their_own(name: str) -> None:
    text = scripts.source(name)
    assert not re.search(r"\bK[.\[]", text), "a name that lua_names() does not give"
    plain = (resources.files("rqk.store") / "scripts" / f"{name}.lua").read_text(encoding="utf-8")
    assert "rq:" not in plain


@pytest.mark.parametrize("registry", ["finished", "failed", "deferred", "scheduled", "canceled", "ready"])
def test_registries_that_scripts_name_by_a_variable_have_their_own_name_as_key(registry: str) -> None:
    assert keys.lua_names()[registry] == f"{keys.PREFIX}{registry}:"
