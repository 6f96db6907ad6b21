"""A worker as a user's own script starts it, named in a pool's ``worker.command``."""

from __future__ import annotations

import os
import sys

from rqk import Worker, use_connection

if __name__ == "__main__":
    use_connection(os.environ["RQ_REDIS_URL"])
    Worker(sys.argv[1:], metrics=False).work()
