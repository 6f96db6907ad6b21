"""One worker's command channel: subscribed, waited on with a selector, tolerant of whatever is published."""

from __future__ import annotations

import contextlib
from typing import Any

from rqk.core import keys
from rqk.core.commands import Command, decode
from rqk.errors import StoreUnavailable
from rqk.store.connect import Client, talk


class Channel:
    """A subscription. After an error call :meth:`open` again."""

    def __init__(self, client: Client, worker: str) -> None:
        self._client = client
        self._name = keys.pubsub(worker)
        self._pubsub: Any = None

    def open(self) -> None:
        """Subscribe; raises StoreUnavailable."""
        self.close()
        with talk(self._client) as asked:
            self._pubsub = asked.pubsub(ignore_subscribe_messages=True)
            self._pubsub.subscribe(self._name)

    @property
    def is_open(self) -> bool:
        """Whether there is a subscription, as far as known."""
        return self._pubsub is not None

    def fileno(self) -> int:
        """For selectors; -1 when closed."""
        sock = self._sock()
        return sock.fileno() if sock is not None else -1

    def _sock(self) -> Any:
        connection = self._pubsub.connection if self._pubsub is not None else None
        return connection._sock if connection is not None else None  # noqa: SLF001 - redis-py has no public way to ask

    def read(self) -> list[Command]:
        """Commands that have arrived, without waiting. Raises StoreUnavailable when the connection is gone."""
        commands: list[Command] = []
        if self._pubsub is None:
            return commands
        try:
            with talk(self._client):
                while self._pubsub.connection is not None and self._pubsub.connection.can_read(timeout=0):
                    message = self._pubsub.parse_response(block=False, timeout=0)
                    command = _command(message)
                    if command is not None:
                        commands.append(command)
        except StoreUnavailable:
            self.close()
            raise
        return commands

    def close(self) -> None:
        """Unsubscribe by closing the connection."""
        if self._pubsub is not None:
            with contextlib.suppress(Exception):  # a connection that cannot even be closed is gone already
                self._pubsub.close()
            self._pubsub = None


def _command(message: Any) -> Command | None:
    if not isinstance(message, list) or len(message) < 3 or message[0] not in (b"message", "message"):
        return None
    return decode(message[2]) if isinstance(message[2], bytes) else None
