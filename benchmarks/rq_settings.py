"""What ``rq worker --config`` loads: the job's module, so that RQ's forks inherit it as ours do with ``--preload``."""

import benchmarks.jobs  # noqa: F401
