"""The arguments of ``rqk enqueue`` as RQ writes them: ``text``, ``:json``, ``%literal``, ``key=text``, ``key:=json``, ``key%=literal``.

A value that starts with ``@`` is the content of the file named after it. What stands before ``=`` must be a name as
Python has them, else the whole word is text: ``https://example.com/?q=1`` is one argument (RQ makes it a keyword that
no function could take).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rqk.errors import RqkError

_KEYWORD = re.compile(r"([^\W\d]\w*)(:|%)?=(.*)", re.DOTALL)
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class BadArgument(RqkError, ValueError):
    """A word of the command line that is no argument of a job."""


def check_function(name: str) -> str:
    """The name itself. Only its form is looked at, since a producer need not have the module. Raises BadArgument."""
    if not _FUNCTION.fullmatch(name):
        raise BadArgument(f"{name!r} is not the dotted name of a function, such as package.module.function")
    return name


def parse_arguments(words: Iterable[str]) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments. Raises BadArgument for what cannot be read or stands twice."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for number, word in enumerate(words, 1):
        found = _KEYWORD.fullmatch(word)
        if found is None:
            kind, text = (word[0], word[1:]) if word[:1] in (":", "%") else ("", word)
            positional.append(_value(f"argument {number}", kind, text))
            continue
        name, kind, text = found[1], found[2] or "", found[3]
        if name in named:
            raise BadArgument(f"the keyword argument {name!r} is given twice")
        named[name] = _value(f"argument {name}", kind, text)
    return positional, named


def _value(where: str, kind: str, text: str) -> Any:
    if text.startswith("@"):
        text = _content(where, Path(text[1:]))
    readers: dict[str, tuple[str, Callable[[str], Any]]] = {
        ":": ("JSON", json.loads),
        "%": ("a Python literal", lambda source: ast.literal_eval(source.strip())),
    }
    if not kind:
        return text
    what, read = readers[kind]
    try:
        return read(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        # Of names and calls Python shows the parsed piece: <ast.Name object at 0x7f…>.
        reason = "only texts, numbers, lists, dictionaries, True, False, None" if "<ast." in str(error) else error
        raise BadArgument(f"{where} is not {what}: {text[:60]!r} ({reason})") from error


def _content(where: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadArgument(f"{where}: cannot read {str(file)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadArgument(f"{where}: {str(file)!r} is not UTF-8 text") from error
