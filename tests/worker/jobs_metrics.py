"""A job that counts with prometheus_client."""

from prometheus_client import Counter

DONE = Counter("tests_jobs_metrics_done", "What the job has done.")


def count(number: int) -> None:
    """Count."""
    DONE.inc(number)
