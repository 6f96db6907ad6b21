"""Runs inside a virtual environment that holds the real ``rq``: executes what it reads on stdin, line by line.

A line in is JSON ``{"code": text, "values": object}``. The code sees the values, ``connection``, and RQ's public names;
what it leaves in ``result`` comes back as a JSON line ``{"result": …}``, an exception as ``{"error": …, "trace": …}``.
This file is the only place that imports rq, always in that other interpreter, and only through its public interface.
"""

import importlib
import json
import sys
import traceback
from typing import Any

PUBLIC = {
    "rq": (
        "Queue",
        "Retry",
        "Repeat",
        "Callback",
        "Worker",
        "SimpleWorker",
        "RateLimit",
        "Webhook",
        "cancel_job",
        "requeue_job",
    ),
    "rq.job": ("Job", "JobStatus", "Dependency"),
    "rq.group": ("Group",),
    "rq.command": (
        "send_shutdown_command",
        "send_kill_horse_command",
        "send_stop_job_command",
        "send_stop_execution_command",
    ),
    "rq.suspension": ("suspend", "resume", "is_suspended"),
    "rq.registry": (
        "StartedJobRegistry",
        "FinishedJobRegistry",
        "FailedJobRegistry",
        "DeferredJobRegistry",
        "ScheduledJobRegistry",
        "CanceledJobRegistry",
        "clean_registries",
    ),
    "rq.results": ("Result",),
    "rq.executions": ("Execution", "ExecutionRegistry"),
    "rq.scheduler": ("RQScheduler",),
    "rq.serializers": ("JSONSerializer", "DefaultSerializer"),
    "datetime": ("datetime", "timedelta", "timezone"),
}


def names(url: str) -> dict[str, Any]:
    """What the code may use. A name that this version of rq does not have is left out."""
    found: dict[str, Any] = {"connection": importlib.import_module("redis").Redis.from_url(url)}
    for module_name, wanted in PUBLIC.items():
        module = importlib.import_module(module_name)
        found.update({name: getattr(module, name) for name in wanted if hasattr(module, name)})
    return found


def plain(value: Any) -> Any:
    """What JSON cannot carry, as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def main() -> None:
    """Answer until stdin ends."""
    public = names(sys.argv[1])
    # Code that prints must not disturb the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        scope = {**public, **request["values"], "result": None}
        try:
            exec(compile(request["code"], "<test>", "exec"), scope)
            answer = {"result": scope["result"]}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        answers.write(json.dumps(answer, default=plain) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
