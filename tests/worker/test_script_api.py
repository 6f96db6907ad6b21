"""Worker(...).work() from a user's own script: its modules, its settings, its errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis as redis_py

from rqk import Queue
from tests.support.workers import user_environment

Client = redis_py.Redis
TASKS = """
from rqk import get_current_job

def greet(name, punctuation="!"):
    job = get_current_job()
    return f"Hello, {name}{punctuation} ({job.origin})"

def fail():
    raise LookupError("no such thing")
"""
SCRIPT = """
import sys
from redis import Redis
from rqk import Queue, Worker, use_connection
from tasks import fail, greet

def main():
    use_connection(Redis(port={port}))
    queue = Queue("a queue")
    good, bad = queue.enqueue(greet, "you", punctuation="?"), queue.enqueue(fail)
    worked = Worker([queue], name="mine", {settings}).work({arguments})
    print("worked:", worked)
    print("result:", good.return_value())
    print("status:", bad.get_status(), "LookupError: no such thing" in (bad.exc_info or ""))
    sys.exit(0)

if __name__ == "__main__":
    main()
"""


def run(folder: Path, client: Client, settings: str = "", arguments: str = "burst=True", script: str = SCRIPT) -> str:
    """Run a user's script in its own folder; returns what it said."""
    port = client.connection_pool.connection_kwargs["port"]
    (folder / "tasks.py").write_text(TASKS)
    (folder / "app.py").write_text(script.format(port=port, settings=settings, arguments=arguments))
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=folder,
        env=user_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return f"{done.stdout}{done.stderr}exit code {done.returncode}"


def test_a_name_from_an_enumeration(redis: Client, tmp_path: Path) -> None:
    script = SCRIPT.replace("def main", "class Name(str, Enum):\n    MINE = 'mine'\n\ndef main")
    script = script.replace("import sys", "import sys\nfrom enum import Enum").replace('"mine"', "Name.MINE")
    said = run(tmp_path, redis, "metrics=False", script=script)
    assert "result: Hello, you? (a queue)" in said, said


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        pytest.param("", "burst=True", id="burst"),
        pytest.param("metrics=False, recycle_after=5", "max_jobs=2", id="max_jobs"),
        pytest.param("preload=['tasks'], job_memory_limit='1Gi'", "burst=True, logging_level='WARNING'", id="preload"),
    ],
)
def test_a_script_of_ones_own(redis: Client, tmp_path: Path, settings: str, arguments: str) -> None:
    settings = f"{settings}, metrics_port=0" if "metrics" not in settings else settings
    said = run(tmp_path, redis, settings.removeprefix(", "), arguments)
    assert "worked: True" in said, said
    assert "result: Hello, you? (a queue)" in said
    assert "status: JobStatus.FAILED True" in said or "status: failed True" in said
    assert said.endswith("exit code 0")
    assert ("*** Listening on a queue..." in said) == ("WARNING" not in arguments)
    assert not redis.smembers("rq:workers")


def test_nothing_to_do(redis: Client, tmp_path: Path) -> None:
    script = "from redis import Redis\nfrom rqk import Worker\nprint(Worker('empty', connection=Redis(port={port}), metrics=False).work(burst=True))\n#{settings}{arguments}"
    said = run(tmp_path, redis, script=script)
    assert "\nFalse\n" in said


def test_a_function_of_the_script_itself_is_refused_with_the_way_out(redis: Client, tmp_path: Path) -> None:
    script = (
        "from redis import Redis\nfrom rqk import Queue\ndef task(): pass\n"
        "Queue(connection=Redis(port={port})).enqueue(task)\n#{settings}{arguments}"
    )
    said = run(tmp_path, redis, script=script)
    assert "ValueError: task is defined in __main__, which workers cannot import; move it into a module" in said
    assert Queue(connection=redis).is_empty()


def test_a_redis_that_is_not_there(redis: Client, tmp_path: Path) -> None:
    script = (
        "from redis import Redis\nfrom rqk import Worker\nfrom rqk.errors import StoreUnavailable\n"
        "try:\n    Worker('q', connection=Redis(port=1), metrics=False).work(burst=True)\n"
        "except StoreUnavailable as error:\n    print('told:', error)\n#{port}{settings}{arguments}"
    )
    said = run(tmp_path, redis, script=script)
    assert "told: no usable answer from Redis at localhost:1" in said
    assert said.endswith("exit code 0")


def test_signals_are_given_back_to_the_script(redis: Client, tmp_path: Path) -> None:
    script = (
        "import signal\nfrom redis import Redis\nfrom rqk import Worker\n"
        "def mine(*_): pass\n"
        "signal.signal(signal.SIGTERM, mine)\nbefore = signal.getsignal(signal.SIGINT)\n"
        "Worker('q', connection=Redis(port={port}), metrics=False).work(burst=True)\n"
        "print(signal.getsignal(signal.SIGTERM) is mine, signal.getsignal(signal.SIGINT) is before)\n#{settings}{arguments}"
    )
    assert "True True" in run(tmp_path, redis, script=script)


def test_a_thread_is_told_that_it_is_none_for_a_worker(redis: Client, tmp_path: Path) -> None:
    script = (
        "import os, threading\nfrom redis import Redis\nfrom rqk import Worker\nfrom rqk.errors import WorkerSetupError\n"
        "def work():\n    try:\n        Worker('q', connection=Redis(port={port}), metrics=False).work(burst=True)\n"
        "    except WorkerSetupError as error:\n        print('told:', error)\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\n"
        "try:\n    os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError:\n    print('and no process is left')\n"
        "#{settings}{arguments}"
    )
    said = run(tmp_path, redis, script=script)
    assert "told: a worker must run in the main thread of its process" in said, said
    assert "and no process is left" in said
