"""Metrics: what a worker tells Prometheus about itself, and what the exporter tells about a whole Redis.

catalogue.py   every metric of ours: name, type, labels, unit, meaning, source (data only)
families.py    the worker's instruments; the supervisor calls one method per event
delta.py       inside a forked job: which of the user's own metrics changed
merge.py       in the supervisor: the jobs' changes, checked and added up
endpoint.py    /metrics, /healthz and /readyz over HTTP; pages.py says what is on them
exporter.py    rq-exporter's names for a whole Redis; settings.py reads its environment
document.py    docs/metrics.md from the catalogue
"""
