"""``rqk completion``: what a shell needs to complete our words."""

from __future__ import annotations

import click


@click.command(name="completion", short_help="Print a script that completes words in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash: echo 'eval "$(rqk completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(rqk completion zsh)"' >> ~/.zshrc
    fish: rqk completion fish > ~/.config/fish/completions/rqk.fish
    """  # noqa: D301 - click reads the control character
    from click.shell_completion import get_completion_class

    from rqk.cli.main import cli

    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"there is no completion for {shell}.")
    click.echo(made(cli, {}, "rqk", "_RQK_COMPLETE").source())
