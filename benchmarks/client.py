"""The producer, the same code for both sides: run by an interpreter that has ``rq`` or ``rqk``, named on the command line.

``client.py MODULE URL QUEUE one|many|latency COUNT`` prints JSON: seconds for all, or a list of seconds a job.
"""

import importlib
import json
import sys
import time
from typing import Any

import redis

from benchmarks.jobs import nothing

BATCH = 1000
ANSWER_MS = 30_000


def enqueue_one_by_one(queue: Any, count: int) -> float:
    """Seconds for ``count`` calls of ``enqueue``."""
    began = time.perf_counter()
    for _ in range(count):
        queue.enqueue(nothing)
    return time.perf_counter() - began


def enqueue_many(queue: Any, count: int) -> float:
    """Seconds for ``enqueue_many`` in batches, preparing the calls included."""
    began = time.perf_counter()
    for first in range(0, count, BATCH):
        queue.enqueue_many([queue.prepare_data(nothing) for _ in range(min(BATCH, count - first))])
    return time.perf_counter() - began


def latencies(queue: Any, connection: Any, count: int) -> list[float]:
    """Seconds from the call of ``enqueue`` to the result's arrival, one job after the other on an idle worker."""
    waits = []
    for _ in range(count):
        began = time.perf_counter()
        job = queue.enqueue(nothing)
        # Both sides write the result entry in the transaction that ends the job; a blocking read costs no polling.
        answer = connection.xread({f"rq:results:{job.id}": "0-0"}, block=ANSWER_MS)
        waits.append(time.perf_counter() - began)
        assert answer, "no result within 30 s"
    return waits


def main() -> None:
    """Measure one thing and print it."""
    module, url, name, what, count = sys.argv[1:]
    connection = redis.Redis.from_url(url)
    queue = importlib.import_module(module).Queue(name, connection=connection)
    queue.enqueue(nothing)  # the first call loads scripts and modules
    if what != "latency":
        connection.delete(f"rq:queue:{name}")
    match what:
        case "one":
            print(json.dumps(enqueue_one_by_one(queue, int(count))))
        case "many":
            print(json.dumps(enqueue_many(queue, int(count))))
        case "latency":
            latencies(queue, connection, 5)
            print(json.dumps(latencies(queue, connection, int(count))))


if __name__ == "__main__":
    main()
