"""Commands to workers over pub/sub: JSON, fire and forget. Source: docs/protocol.md 1.11.

``retire`` and ``unretire`` are ours; RQ's workers ignore what they do not know.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One command; ids are empty where the command has none."""

    name: str
    job_id: str = ""
    execution_id: str = ""


SHUTDOWN = "shutdown"
KILL_HORSE = "kill-horse"
STOP_JOB = "stop-job"
STOP_EXECUTION = "stop-execution"
RETIRE = "retire"
UNRETIRE = "unretire"
KNOWN = frozenset({SHUTDOWN, KILL_HORSE, STOP_JOB, STOP_EXECUTION, RETIRE, UNRETIRE})


def encode(command: Command) -> bytes:
    """The payload of a command."""
    payload = {"command": command.name}
    if command.job_id:
        payload["job_id"] = command.job_id
    if command.execution_id:
        payload["execution_id"] = command.execution_id
    return json.dumps(payload).encode()


def decode(payload: bytes) -> Command | None:
    """A command that we know, or None: whatever else arrives is ignored, since anyone may publish."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    name = value.get("command") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in KNOWN:
        return None
    return Command(name, str(value.get("job_id", "")), str(value.get("execution_id", "")))
