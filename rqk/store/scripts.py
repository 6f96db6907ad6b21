"""The Lua scripts: read once, run by hash, loaded again when the server has forgotten them.

A script is a ``.lua`` file beside this module; its head says what its arguments and return codes mean. No script declares KEYS:
which jobs it touches is known only once an id was popped, so a Redis Cluster of several slots is not supported.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from importlib import resources
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from redis import exceptions as wire

from rqk.core import keys
from rqk.errors import StoreRefused, WrongKeyType
from rqk.store import wrong_keys
from rqk.store.connect import Client, Executor, ask, ask_each, talk

if TYPE_CHECKING:
    from rqk.store.line import Line


@cache
def source(name: str) -> str:
    """The whole text sent to the server: what the script needs of the library, then the script, with the names of keys."""
    folder = resources.files("rqk.store") / "scripts"
    library = (folder / "lib.lua").read_text(encoding="utf-8")
    return _NAME.sub(_key, _linked(library, (folder / f"{name}.lua").read_text(encoding="utf-8")))


def _linked(library: str, script: str) -> str:
    """The script behind those definitions of the library that it uses, directly or not.

    A server makes each function anew at each call, in a fifth of a microsecond or more. Lua only knows what stands above, so
    one pass from the last definition to the first is enough.
    """
    text = script
    for match in reversed(list(_DEFINITION.finditer(library))):
        if re.search(rf"\b{match[1]}\b", _COMMENT.sub("", text)):
            text = match[0] + text
    return text


_DEFINITION = re.compile(r"^local (?:function )?(\w+).*\n(?:[ ].*\n)*(?:end\n)?", re.MULTILINE)
_COMMENT = re.compile(r"--.*")
_NAME = re.compile(r"\bK\.(\w+)|\bK\[(\w+)\]")


def _key(match: re.Match[str]) -> str:
    names = keys.lua_names()
    # K[registry]: a registry's key is its own name behind the prefix, so a variable can name it.
    return f"'{names[match[1]]}'" if match[1] else f"('{keys.PREFIX}' .. {match[2]} .. ':')"


@cache
def digest(name: str) -> str:
    """The hash the server knows the script by."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


def run(executor: Executor, name: str, *args: Any) -> Any:
    """Run a script. Raises StoreError and its kin."""
    try:
        if isinstance(executor, Client):
            with talk(executor):
                return _run(partial(ask, executor), name, args)
        return _run(executor.execute_command, name, args)  # a line raises our errors itself
    except WrongKeyType as error:
        raise wrong_keys.named(error, executor, args) from error.__cause__


def _run(send: Callable[..., Any], name: str, args: tuple[Any, ...]) -> Any:
    try:
        return send("EVALSHA", digest(name), 0, *args)
    except wire.NoScriptError:
        pass
    # Sent whole after a restart or SCRIPT FLUSH; nothing of it ran before, so this repeats no work.
    return send("EVAL", source(name), 0, *args)


def run_each(executor: Executor, name: str, calls: Iterable[Sequence[Any]]) -> list[Any]:
    """Run a script once for each list of arguments, in this order, and return the answers. Through a client without waiting
    between them: the next call is made and packed while the server works on the last one. Raises what run raises; calls
    behind the one that failed may have run.
    """
    rest = iter(calls)
    # The first by itself: it loads the script, so that the others find it.
    answers = [run(executor, name, *args) for args in islice(rest, 1)]
    if not isinstance(executor, Client):
        return answers + [run(executor, name, *args) for args in rest]
    sent: list[Sequence[Any]] = []  # to be sent again if the server forgets the script in the midst of it

    def commands() -> Iterator[tuple[Any, ...]]:
        for args in rest:
            sent.append(args)
            yield ("EVALSHA", digest(name), 0, *args)

    with talk(executor):
        found = ask_each(executor, commands())
    for args, answer in zip(sent, found, strict=True):
        answers.append(run(executor, name, *args) if isinstance(answer, wire.NoScriptError) else answer)
    return answers


def load(line: Line, *names: str) -> None:
    """Make the server know scripts that will be posted. Who may not do that goes on without: running one loads it too."""
    with suppress(StoreRefused):
        for name in names:
            line.execute_command("SCRIPT", "LOAD", source(name))


def post(line: Line, name: str, *args: Any, then: Callable[[Any], None]) -> None:
    """Run a script without waiting for its answer, which ``then`` gets (Line.post). The server must know the script (load)."""
    line.post("EVALSHA", digest(name), 0, *args, then=then)


def counted(values: list[Any] | tuple[Any, ...]) -> list[Any]:
    """A list as scripts read it: its length, then its members."""
    return [len(values), *values]


def flat(fields: Mapping[str, Any]) -> list[Any]:
    """Field/value pairs as scripts read them: twice their number, then names and values in turn."""
    return [2 * len(fields), *chain.from_iterable(fields.items())]
