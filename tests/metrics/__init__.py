"""Metrics, over real HTTP, across real forks, beside the real rq-exporter."""
