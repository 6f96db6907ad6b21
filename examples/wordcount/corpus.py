"""Text to count: the documentation that came with this Python, cut into pages. The same on every run of one interpreter."""

from __future__ import annotations

import ast
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

PAGE_LINES = 80
_BEFORE_IT = (tokenize.ENCODING, tokenize.COMMENT, tokenize.NL)


def pages() -> dict[str, str]:
    """The text of each page by its path, such as ``/topics/lambda/1``."""
    found: dict[str, str] = {}
    for name, text in _texts():
        lines = text.splitlines(keepends=True)
        for number, start in enumerate(range(0, len(lines), PAGE_LINES), 1):
            found[f"/{name}/{number}"] = "".join(lines[start : start + PAGE_LINES])
    return found


def _texts() -> Iterator[tuple[str, str]]:
    """What the modules of the standard library say of themselves, and the language reference where it is installed."""
    library = Path(ast.__file__).parent
    for name in sorted(sys.stdlib_module_names):
        module = library / f"{name}.py"
        if module.is_file() and (text := _docstring(module)):
            yield f"modules/{name}", text
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return
    for name, text in sorted(topics.items()):
        yield f"topics/{name}", text


def _docstring(module: Path) -> str:
    """A module's docstring, from its first words alone: parsing all of the library would take seconds. Empty if it has none."""
    with module.open("rb") as source:
        first = next(token for token in tokenize.tokenize(source.readline) if token.type not in _BEFORE_IT)
    return str(ast.literal_eval(first.string)) if first.type == tokenize.STRING else ""
