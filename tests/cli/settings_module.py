"""What -c/--config reads, as users of rq write it."""

QUEUES = ["from the module", "low"]
NAME = "named-by-module"
REDIS_URL = "redis://127.0.0.1:1/0"
