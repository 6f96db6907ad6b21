"""``rqk enqueue``'s arguments, beside those of the real rq."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqk.cli.arguments import BadArgument, check_function, parse_arguments
from tests.cli.conftest import Command
from tests.support.realrq import RealRq


@pytest.mark.parametrize(
    ("word", "args", "kwargs"),
    [
        ("text", ["text"], {}),
        ("", [""], {}),
        ("=x", ["=x"], {}),
        (":[1, 2]", [[1, 2]], {}),
        (':"text"', ["text"], {}),
        ("%(1, 2)", [(1, 2)], {}),
        ("% {1: None}", [{1: None}], {}),
        ("a=b", [], {"a": "b"}),
        ("a=b=c", [], {"a": "b=c"}),
        ("a=", [], {"a": ""}),
        ("ä=1", [], {"ä": "1"}),
        ("a:={}", [], {"a": {}}),
        ("a%=1", [], {"a": 1}),
        ("a=line\nbreak", [], {"a": "line\nbreak"}),
        ("https://example.com/?q=1", ["https://example.com/?q=1"], {}),
        ("two words=1", ["two words=1"], {}),
        ("2=3", ["2=3"], {}),
    ],
)
def test_words(word: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    assert parse_arguments([word]) == (args, kwargs)


def test_a_value_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "value.json"
    file.write_text('{"key": [1]}')
    assert parse_arguments([f"@{file}", f":@{file}", f"a=@{file}", f"b:=@{file}", f"c%=@{file}"]) == (
        ['{"key": [1]}', {"key": [1]}],
        {"a": '{"key": [1]}', "b": {"key": [1]}, "c": {"key": [1]}},
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([":nope"], "argument 1 is not JSON: 'nope'"),
        (["text", "%nope("], "argument 2 is not a Python literal: 'nope('"),
        (["%open('x')"], "argument 1 is not a Python literal"),
        (["a:=nope"], "argument a is not JSON"),
        (["a=1", "a=2"], "'a' is given twice"),
        (["@/no/such/file"], "argument 1: cannot read '/no/such/file': No such file"),
        (["%" + "(" * 500], "argument 1 is not a Python literal"),
    ],
)
def test_words_that_are_none(words: list[str], told: str) -> None:
    with pytest.raises(BadArgument) as caught:
        parse_arguments(words)
    assert told in str(caught.value)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "picture"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadArgument, match="is not UTF-8 text"):
        parse_arguments([f"@{file}"])


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_any_json_comes_through(value: Any) -> None:
    assert parse_arguments([":" + json.dumps(value), "k:=" + json.dumps(value)]) == ([value], {"k": value})


@pytest.mark.parametrize("name", ["f", "package.module.f", "päckage.f_1"])
def test_names_of_functions(name: str) -> None:
    assert check_function(name) == name


@pytest.mark.parametrize("name", ["", ".f", "f.", "a..b", "f()", "a b.c", "a:b", "1.f"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(BadArgument, match="is not the dotted name of a function"):
        check_function(name)


@pytest.mark.timeout(300)  # the first run builds the environment
def test_the_real_rq_reads_them_alike(rqk: Command, redis_url: str) -> None:
    words = ["text", ":[1, 2]", "%(1, 2)", "a=b=c", "b:={}", "c%={1}", "=x"]
    with RealRq("3.0.0", redis_url) as rq:
        assert rq.cli("enqueue", "--queue", "theirs", "mod.f", *words).returncode == 0
        assert rqk("enqueue", "--queue", "ours", "mod.f", *words).code == 0
        read = (
            "result = [repr((job.func_name, job.args, job.kwargs)) for job in Queue(name, connection=connection).jobs]"
        )
        assert rq.run(read, name="ours") == rq.run(read, name="theirs")
