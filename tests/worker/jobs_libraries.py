"""Jobs that use libraries with connections, for the tests of forking; imported only where those are installed."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

opened_in = os.getpid()
engine: Any = None


def open_sqlalchemy(path: str) -> None:
    """Make an engine and leave a connection in its pool, as an import-time query does."""
    global engine
    sqlalchemy = import_module("sqlalchemy")

    engine = sqlalchemy.create_engine(f"sqlite:///{path}", poolclass=import_module("sqlalchemy.pool").QueuePool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("select 1"))


def pooled() -> int:
    """Return how many connections the engine's pool holds in this process."""
    return int(engine.pool.checkedin())
