"""Libraries around a fork: each is touched only if it is loaded, and then horses inherit nothing of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rqk.worker.children import ChildSettings
from rqk.worker.zygote import Ready
from tests.worker.stable import order, result, stable


def test_nothing_is_imported_for_libraries_that_are_not_used() -> None:
    code = (
        "import sys; from rqk.worker import afterfork; assert afterfork.before_forks() == [];"
        "afterfork.after_fork(); afterfork.around_job();"
        "print([m for m in ('django', 'sqlalchemy', 'numpy', 'prometheus_client') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_numpys_global_generator_differs_from_fork_to_fork(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    (tmp_path / "draws.py").write_text(
        "import numpy\nnumpy.random.seed(1)\ndef draw(): return float(numpy.random.random())\n"
    )
    with stable(ChildSettings(preload=("draws",), path=(str(tmp_path),))) as keeper:
        assert len({result(keeper.run(order("draws.draw"))) for _ in range(3)}) == 3


def test_sqlalchemys_pools_are_empty_in_a_horse(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    (tmp_path / "uses_sqlalchemy.py").write_text(
        f"from tests.worker import jobs_libraries\njobs_libraries.open_sqlalchemy({str(tmp_path / 'db')!r})\n"
        "before = jobs_libraries.pooled()\ndef look(): return before, jobs_libraries.pooled()\n"
    )
    with stable(ChildSettings(preload=("uses_sqlalchemy",), path=(str(tmp_path),))) as keeper:
        assert not keeper.wait(Ready).problems
        assert result(keeper.run(order("uses_sqlalchemy.look"))) == (1, 0)


def test_djangos_connections_are_closed_before_forks_and_checked_around_jobs(tmp_path: Path) -> None:
    pytest.importorskip("django")
    (tmp_path / "uses_django.py").write_text(f"""
from django.conf import settings
database = {{"ENGINE": "django.db.backends.sqlite3", "NAME": {str(tmp_path / "db")!r}, "CONN_MAX_AGE": 0}}
settings.configure(DATABASES={{"default": database}})
import django
django.setup()
from django.db import connection
connection.ensure_connection()
before = connection.connection is not None
def look():
    inherited = connection.connection is not None
    connection.ensure_connection()
    return before, inherited
""")
    with stable(ChildSettings(preload=("uses_django",), path=(str(tmp_path),), recycle_after=2)) as keeper:
        assert not keeper.wait(Ready).problems
        horse = keeper.horse()
        with horse.sock:
            # The second job of the same horse finds the first one's connection closed: its age is above CONN_MAX_AGE.
            assert [
                result(outcome)
                for outcome in (keeper.ask(horse, order("uses_django.look")) for _ in range(2))
                if outcome
            ] == [(True, False), (True, False)]


def test_a_library_that_cannot_be_closed_is_a_problem_but_not_the_end(tmp_path: Path) -> None:
    (tmp_path / "django").mkdir()
    (tmp_path / "django" / "__init__.py").write_text("")
    (tmp_path / "django" / "conf.py").write_text("class settings: configured = True\n")
    (tmp_path / "django" / "db.py").write_text("def reset_queries(): pass\ndef close_old_connections(): pass\n")
    (tmp_path / "half_django.py").write_text(
        "import sys\n"
        "for name in [name for name in sys.modules if name.split('.')[0] == 'django']:\n"
        "    del sys.modules[name]\n"
        "import django.conf, django.db\n"
    )
    with stable(ChildSettings(preload=("half_django",), path=(str(tmp_path),))) as keeper:
        problems = keeper.wait(Ready).problems
        assert [(problem.what, problem.fatal) for problem in problems] == [("connections", False)]
        assert "django.db: its connections could not be closed" in problems[0].error
        assert result(keeper.run(order("add", 1))) == 2
