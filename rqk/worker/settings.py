"""The environment of the worker's processes. Small, since every horse holds it."""

from __future__ import annotations

import os
from collections.abc import Mapping


def inherited() -> Mapping[str, str]:
    """What a new interpreter gets: all of ours."""
    return os.environ


def set_job_environment(worker: str, job_id: str, execution_id: str) -> None:
    """What the job's code and its child processes can read about themselves, under RQ's names. For the horse only."""
    os.environ["RQ_WORKER_ID"] = worker
    os.environ["RQ_JOB_ID"] = job_id
    os.environ["RQ_EXECUTION_ID"] = execution_id
