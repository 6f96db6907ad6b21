"""One worker's command channel: subscribed, waited on with a selector, tolerant of whatever is published."""

from __future__ import annotations

from typing import Any

from rqk.core import keys
from rqk.core.commands import Command, decode
from rqk.errors import StoreUnavailable
from rqk.store.connect import Client
from rqk.store.line import Line


class Channel:
    """A subscription. After an error call :meth:`open` again."""

    def __init__(self, client: Client, worker: str) -> None:
        self.line = Line(client)
        self._name = keys.pubsub(worker)

    def open(self) -> None:
        """Subscribe; raises StoreUnavailable."""
        self.close()
        self.line.execute_command("SUBSCRIBE", self._name)

    @property
    def is_open(self) -> bool:
        """Whether there is a subscription, as far as known."""
        return self.line.fileno() >= 0

    def fileno(self) -> int:
        """For selectors; -1 when closed."""
        return self.line.fileno()

    def read(self) -> list[Command]:
        """Commands that have arrived, without waiting: of one that is large the rest may come later.

        Raises StoreUnavailable when the connection is gone.
        """
        try:
            commands = map(_command, self.line.arrived())
        except StoreUnavailable:
            self.close()
            raise
        return [command for command in commands if command is not None]

    def close(self) -> None:
        """Unsubscribe by closing the connection."""
        self.line.close()


def _command(message: Any) -> Command | None:
    if not isinstance(message, list) or len(message) < 3 or message[0] != b"message":
        return None
    return decode(message[2]) if isinstance(message[2], bytes) else None
