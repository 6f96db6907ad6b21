"""docs/cli.md knows every option, and no other."""

from __future__ import annotations

import re

import click
import pytest

from rqk.cli.main import COMMANDS, cli
from tests.support.workers import ROOT

TEXT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def options(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def with_its_commands(command: click.Command) -> list[click.Command]:
    return [command, *(command.commands.values() if isinstance(command, click.Group) else ())]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_document(name: str) -> None:
    words = {
        word
        for option in options(command_of(name))
        if not option.hidden
        for word in (*option.opts, *option.secondary_opts)
    }
    assert not [word for word in words if not re.search(rf"`{re.escape(word)}\b", TEXT)]


def test_the_document_knows_no_other() -> None:
    commands = [command for name in COMMANDS for command in with_its_commands(command_of(name))]
    known = {word for each in commands for option in options(each) for word in (*option.opts, *option.secondary_opts)}
    named = set(re.findall(r"`(--[a-z_-]+)", TEXT))
    assert not named - known
