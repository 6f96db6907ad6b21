"""All that talks to Redis. Each function is one round trip; job-moving steps are one script each."""
