"""The files that a TLS connection is made with, looked at before the first connection: its error would not name the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")  # redis-py's names


def check(options: Mapping[str, Any]) -> None:
    """Raise ValueError naming the option and the file if one of a connection's files cannot be read."""
    for name in _FILES:
        file = options.get(name)
        if not file:
            continue
        try:
            Path(file).open("rb").close()
        except OSError as error:
            raise ValueError(f"{name}: cannot read {file}: {error.strerror}") from error
