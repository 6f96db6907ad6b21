"""A zygote that is a new interpreter: small at first, it grows by what jobs turn out to import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis as redis_py

from rqk import Queue
from rqk.worker.children import ByUrl, ChildSettings
from rqk.worker.horse import worth_inheriting
from rqk.worker.zygote import Ready
from tests.conftest import StartWorker
from tests.support.waiting import wait_until
from tests.worker.stable import Stable, order, result, stable

LOADED = "sorted(__import__('sys').modules)"


@contextmanager
def fresh(**settings: Any) -> Iterator[Stable]:
    """A zygote that is an interpreter of its own."""
    with stable(ChildSettings(fresh=True, **settings)) as keeper:
        yield keeper


def test_a_job_that_needs_nothing_has_nothing_of_ours_in_memory() -> None:
    with fresh() as keeper:
        loaded = set(result(keeper.run(order("builtins.eval", LOADED))))
    assert {"redis", "threading", "logging", "asyncio", "rqk.job", "rqk.store", "json", "click"} & loaded == set()


def test_what_a_job_imports_later_horses_have() -> None:
    with fresh() as keeper:
        first = keeper.run(order("builtins.eval", "__import__('decimal') and None"))
        assert "decimal" in first.imported
        keeper.zygote.request_import(first.imported)
        second = keeper.run(order("builtins.eval", LOADED))
        assert "decimal" in result(second)
        assert second.imported == ()


def test_users_modules_are_not_loaded_unasked(tmp_path: Path) -> None:
    (tmp_path / "calendar.py").write_text("import os\nwho = os.getpid\n")  # hides one of Python's own
    (tmp_path / "theirs.py").write_text("import calendar, fractions\ndef run(): return calendar.who()\n")
    with fresh(path=(str(tmp_path),)) as keeper:
        outcome = keeper.run(order("theirs.run"))
    assert "fractions" in outcome.imported
    assert {"theirs", "calendar"} & set(outcome.imported) == set()


def test_what_is_worth_inheriting() -> None:
    import antigravity  # noqa: F401 - it does nothing where no browser is

    assert worth_inheriting(["json", "json.decoder", "antigravity", "redis.client", "rqk.job", "pytest", "gone"]) == (
        "json",
        "json.decoder",
        "redis.client",
        "rqk.job",
    )


def test_a_module_that_cannot_be_had_does_not_hurt() -> None:
    with fresh() as keeper:
        keeper.zygote.request_import(["no.such.module", "fractions"])
        assert "fractions" in result(keeper.run(order("builtins.eval", LOADED)))


def test_settings_arrive_whole(tmp_path: Path) -> None:
    (tmp_path / "early.py").write_text("import os\nborn = os.getpid()\ndef both(): return born, os.getppid()\n")
    settings = {"preload": ("early",), "path": (str(tmp_path),), "connect": ByUrl("redis://localhost:1/3")}
    with fresh(**settings) as keeper:
        assert keeper.wait(Ready).preloaded == ("early",)
        assert result(keeper.run(order("early.both"))) == (keeper.zygote.pid, keeper.zygote.pid)
        url = "repr(__import__('rqk').get_current_job().connection)"
        assert "port=1,db=3" in result(keeper.run(order("builtins.eval", url)))
    assert "early" not in sys.modules


def test_a_worker_of_the_command_line_learns(redis: redis_py.Redis, start_worker: StartWorker) -> None:
    queue = Queue(connection=redis)
    start_worker("default")
    import_it, look = "__import__('fractions') and None", "'fractions' in __import__('sys').modules"
    assert done(queue, look) is False
    done(queue, import_it)
    wait_until(lambda: done(queue, look), what="a horse that inherits the module")


def done(queue: Queue, code: str) -> object:
    """The value of an expression, evaluated in a job."""
    job = queue.enqueue("builtins.eval", code)
    wait_until(lambda: job.is_finished, what="the job")
    return job.return_value()
