"""Watches a fleet from outside: Prometheus alerting rules, and Grafana dashboards generated from Python."""
