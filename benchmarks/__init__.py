"""Benchmarks: each prints a table, or JSON with `--json`; ratios are against a peer or a ceiling of the same run."""
