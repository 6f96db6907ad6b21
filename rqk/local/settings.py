"""The environment that workers started by ``rqk up`` get."""

from __future__ import annotations

import os
from collections.abc import Mapping


def worker_environment(url: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Ours, with the pool's Redis under RQ's names (for commands other than ``rqk worker``) and the pool's own variables."""
    return {**os.environ, "RQ_REDIS_URL": url, "REDIS_URL": url, **extra}
