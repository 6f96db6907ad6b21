"""``rqk``: finds the command, and puts every error that a user can mend into one sentence and an exit code.

Exit codes: 0 done; 1 it could not be done (Redis does not answer, a job failed); 2 bad input; 3 ``enqueue --wait`` has
waited in vain; 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from rqk.errors import (
    BadPool,
    BadUrl,
    DuplicateWorkerError,
    RqkError,
    SerializationError,
    StoreFull,
    StoreRefused,
    StoreTooOld,
    StoreUnavailable,
)
from rqk.version import __version__

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130

COMMANDS = (
    "worker",
    "info",
    "up",
    "pool",
    "exporter",
    "enqueue",
    "suspend",
    "resume",
    "empty",
    "requeue",
    "completion",
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what writing to a full disk says

# What users of `rq` may look for, and where it is.
ELSEWHERE = {
    "worker-pool": "run several workers with `rqk up -f pool.yaml`, or start `rqk worker` several times",
    "dashboard": "look with `rqk info --interval 1`, rq-dashboard, or Prometheus and Grafana",
    "cron": "schedule with enqueue_at, enqueue_in or Repeat; there is no cron process",
}
_ADVICE = {
    StoreFull: "",  # it says itself what helps
    StoreUnavailable: "Is it running, and are address and scheme right (rediss:// if it speaks TLS)? --url, RQ_REDIS_URL or REDIS_URL name another one",
    StoreRefused: "Give user and password in the URL: redis://user:password@host:6379/0",
}

# Of servers that are there, by words of their answer.
_ANSWERS = {
    **dict.fromkeys(
        ("non local key in a cluster node", "Hash slot not served", "hash to the same slot"),
        "This is a node of a Redis Cluster. A cluster of several nodes cannot be used; give a Redis or Valkey that serves all slots",
    ),
    "CERTIFICATE_VERIFY_FAILED": "Name the file of the authority that signed its certificate: ssl_ca_certs=/path/ca.crt in the URL, or RQK_REDIS_CA_FILE",
    "loading the dataset": "It reads its data from disk and answers in a while",
    "read only replica": "This is a replica: give the address of the primary, or of Sentinels (redis+sentinel://host:26379/name)",
    "MISCONF": "It cannot save its data and takes nothing new until it can; its own log says why",
    "max number of clients": "Clients must leave, or its maxclients be raised",
}


class Commands(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command; None if there is no such."""
        if cmd_name in COMMANDS:
            command: click.Command = import_module(f"rqk.cli.{cmd_name}").command
            return command
        if cmd_name in ELSEWHERE:
            raise click.UsageError(f"rqk has no command {cmd_name!r}: {ELSEWHERE[cmd_name]}.", ctx)
        return None


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Every option that configures something can be given as an environment variable: --max-jobs is RQK_MAX_JOBS. "
    "Redis is found by --url, else RQK_URL, RQ_REDIS_URL, REDIS_URL, REDIS_HOST and its companions, else localhost:6379.",
)
@click.version_option(__version__, prog_name="rqk")
def cli() -> None:
    """Run Python functions in the background, by way of Redis or Valkey."""


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code. ``words`` are those after the program's name (None: sys.argv)."""
    sys.exit(run(words))


def run(words: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; errors that a user can mend are told on stderr."""
    try:
        code = cli.main(args=words, prog_name="rqk", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has had enough, as `head` does. What is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        if error.errno not in _FULL:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"Error: the output cannot be written: {error.strerror}.", err=True)
        return FAILED
    except (BadUrl, BadPool, DuplicateWorkerError, SerializationError, StoreTooOld) as error:
        return _told(error, BAD_INPUT)
    except RqkError as error:
        return _told(error, BAD_INPUT if isinstance(error, ValueError) else FAILED)


def _told(error: RqkError, code: int) -> int:
    told = next((text for words, text in _ANSWERS.items() if words in str(error)), None)
    advice = told or next((text for kind, text in _ADVICE.items() if isinstance(error, kind)), None)
    click.echo(f"Error: {str(error).rstrip('.')}" + (f".\n{advice}." if advice else ""), err=True)
    return code
