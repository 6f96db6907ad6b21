"""What can go wrong in the fixture; every message says what to do next."""

from __future__ import annotations


class FixtureError(Exception):
    """The test cluster could not do what was asked."""


class CommandFailed(FixtureError):
    """A program ended with an error; its last words are in the message."""

    def __init__(self, argv: tuple[str, ...], code: int, output: str) -> None:
        self.argv = argv
        self.code = code
        self.output = output
        super().__init__(f"{' '.join(argv)}\nended with code {code}:\n{output.strip()}")


class MissingTool(FixtureError):
    """A program that the fixture needs is not on this machine and could not be installed."""


class NotReady(FixtureError):
    """Something did not become true in the time it was given."""


class InUse(FixtureError):
    """Something of another owner stands where the cluster wants to be."""
