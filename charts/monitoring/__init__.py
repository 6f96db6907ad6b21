"""Dashboards and alerts of rqk, written once as data.

``python -m charts.monitoring --write`` makes the Grafana dashboards and the Prometheus rules that the chart ships, and
the section of docs/metrics.md that tells of them; ``--check`` says whether the files are up to date. board.py and
alert.py say what a panel and an alert are; boards/ and alerts.py hold them; grafana.py, rules.py and document.py write.
"""
