"""Writes the tables of the metrics' page: python -m fleet.telemetry.metrics docs/reference/metrics.md."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from fleet.telemetry.metrics.catalogue import GROUPS, LABELS, Metric, MetricKind

MARK = "<!-- What follows is generated: make docs -->\n"


def tables() -> str:
    """Return every metric, label and bucket as Markdown."""
    return "".join((*map(_group, GROUPS), _labels(), _buckets()))


def renewed(page: str) -> str:
    """Return the page with its tables as they are now; what a person wrote above the mark stays."""
    return page.partition(MARK)[0] + MARK + tables()


def _group(name: str) -> str:
    rows = ((_series(each), each.kind.value, _code(each.prometheus_labels), _about(each)) for each in GROUPS[name])
    return _table(f"## {name}", ("series", "kind", "labels", "what it is"), rows)


def _series(metric: Metric) -> str:
    return _code([metric.prometheus_name if metric.kind is MetricKind.HISTOGRAM else metric.series[0]])


def _about(metric: Metric) -> str:
    return f"{metric.help} *Shared.*" if metric.shared else metric.help


def _labels() -> str:
    rows = ((_code([label.replace(".", "_")]), values) for label, values in LABELS.items())
    return _table("## Labels", ("label", "values"), rows)


def _buckets() -> str:
    histograms = (metric for group in GROUPS.values() for metric in group if metric.bounds)
    rows = ((_series(each), ", ".join(f"{bound:g}" for bound in each.bounds)) for each in histograms)
    return _table("## Buckets", ("histogram", "upper bounds, before infinity"), rows)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(heading: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join((f"\n{heading}\n", *_lines((columns, ("---",) * len(columns), *rows)), ""))


def _lines(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in rows:
        yield f"| {' | '.join(row)} |".replace("|  |", "| |")


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(renewed(file.read_text()))
