"""Metrics: what they are (`catalogue`), how they are counted, and how Prometheus and OTLP receivers get them."""
