"""A script carries what it uses of the library, and nothing else."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from rqk.store import scripts
from tests.unit.test_keys import SCRIPTS

LIBRARY = (resources.files("rqk.store") / "scripts" / "lib.lua").read_text(encoding="utf-8")
DEFINED = re.findall(r"^local (?:function )?(\w+)", LIBRARY, re.MULTILINE)


def test_every_line_of_the_library_belongs_to_a_definition() -> None:
    rest = scripts._DEFINITION.sub("", LIBRARY)
    assert [line for line in rest.splitlines() if line and not line.startswith("--")] == []
    assert len(DEFINED) == len(set(DEFINED))


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_definition_that_is_used_stands_above_once_and_no_other_does(name: str) -> None:
    text = scripts._COMMENT.sub("", scripts.source(name))
    own = (resources.files("rqk.store") / "scripts" / f"{name}.lua").read_text(encoding="utf-8")
    for word in DEFINED:
        definitions = re.findall(rf"^local (?:function )?{word}\b", text, re.MULTILINE)
        uses = re.findall(rf"\b{word}\b", text)
        if re.search(rf"\blocal [^=\n]*\b{word}\b", own):
            continue  # a local of the script's own has that name
        assert len(definitions) == (1 if uses else 0), word
        assert not definitions or len(uses) > 1, f"{word} is carried and not used"


def test_what_a_used_definition_uses_is_carried_too() -> None:
    library = """local one = 1
local function two() return one end
local function three(x)
  return two() + x
end
local function four() return 4 end
"""
    linked = scripts._linked(library, "return three(1)  -- four")
    assert re.findall(r"^local (?:function )?(\w+)", linked, re.MULTILINE) == ["one", "two", "three"]
