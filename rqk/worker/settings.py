"""The environment of the worker's processes. Small, since every horse holds it."""

from __future__ import annotations

import os
from collections.abc import Mapping

_OURS = "rqk"  # any text will do for the dynamic linker; by this one we know that it was not set by a user


def inherited() -> Mapping[str, str]:
    """What a new interpreter gets: all of ours, and that the dynamic linker is to find all functions at once: else each horse
    finds for itself those that only horses call, and writes twenty pages of memory for that.
    """
    return {"LD_BIND_NOW": _OURS, **os.environ}


def arrived() -> None:
    """In the new interpreter: what was for its start only is not for jobs and their child processes."""
    if os.environ.get("LD_BIND_NOW") == _OURS:
        del os.environ["LD_BIND_NOW"]


def set_job_environment(worker: str, job_id: str, execution_id: str) -> None:
    """What the job's code and its child processes can read about themselves, under RQ's names. For the horse only."""
    os.environ["RQ_WORKER_ID"] = worker
    os.environ["RQ_JOB_ID"] = job_id
    os.environ["RQ_EXECUTION_ID"] = execution_id
