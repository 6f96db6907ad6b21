"""What libraries need around a fork: connections must not be shared by two processes, nor random numbers be the same
in all.

before_forks runs once in the zygote, after the preload: the zygote owns what the preloaded modules opened, so it can
close it properly, and horses have nothing to inherit. (Closing it in a horse would say good-bye to the server in the
name of all.) Each library is touched only if it is loaded already. Python reseeds ``random`` itself after a fork,
redis-py drops inherited connections by process id. Other libraries: ``os.register_at_fork(after_in_child=...)`` in a
preloaded module works as always.
"""

from __future__ import annotations

import gc
import sys
from typing import Any


def before_forks() -> list[str]:
    """Close database connections that preloaded modules opened. Return a sentence for each library where that
    failed.
    """
    problems = []
    for name, close in (("django.db", _close_django), ("sqlalchemy.engine", _close_sqlalchemy)):
        module = sys.modules.get(name)
        if module is not None:
            try:
                close(module)
            except Exception as error:  # a half-configured library must not stop the worker
                problems.append(
                    f"{name}: its connections could not be closed before forking: {type(error).__name__}: {error}"
                )
    return problems


def after_fork() -> None:
    """Make a new horse differ from its brothers: give numpy's global generator a seed of its own."""
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def around_job() -> None:
    """Before and after each job: let Django drop connections that are broken or past CONN_MAX_AGE, as it does around
    requests.

    Raises what Django raises.
    """
    django_db: Any = sys.modules.get("django.db")
    if django_db is not None and _django_ready():
        django_db.reset_queries()
        django_db.close_old_connections()


def _django_ready() -> bool:
    conf: Any = sys.modules.get("django.conf")
    return conf is not None and bool(conf.settings.configured)


def _close_django(django_db: Any) -> None:
    if _django_ready():
        django_db.connections.close_all()


def _close_sqlalchemy(engine_module: Any) -> None:
    thing: Any
    for thing in gc.get_objects():  # there is no list of engines; one pass at start is cheap
        # Not isinstance: for a lazy proxy (Django's settings) that would ask the object, and so set it up.
        if issubclass(type(thing), engine_module.Engine):
            thing.dispose()
