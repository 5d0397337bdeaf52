"""Lays the spans of a job out on one line of time: where each begins, how long it is, and below which it hangs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleet.model.result import LedgerEntry
from fleet.model.span import Span
from fleet.telemetry.story import spans_of

MAX_DEPTH = 5
"""The depth from which on spans are no longer moved to the right."""

MIN_WIDTH = 0.002
"""Share of the line that a span takes at least, so that it can be seen."""


def of(entries: Sequence[LedgerEntry]) -> dict[str, Any]:
    """Return the values that the page of a job prints of its spans."""
    spans = spans_of(entries)
    if not spans:
        return {"spans": [], "spans_took": None, "trace_id": None}
    begun, ended = min(span.started_at for span in spans), max(span.ended_at for span in spans)
    return {
        "spans": [_row(span, depth, begun, ended - begun) for span, depth in _ordered(spans)],
        "spans_took": ended - begun,
        "trace_id": f"{spans[0].trace_id:032x}",
    }


def _ordered(spans: Sequence[Span]) -> Iterator[tuple[Span, int]]:
    """Yield the spans in the order of a tree, each with its depth; one whose parent is elsewhere begins a tree."""
    known = {span.span_id for span in spans}
    below: Mapping[int | None, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: (span.started_at, -span.ended_at)):
        below[span.parent_id if span.parent_id in known else None].append(span)
    waiting = [(span, 0) for span in reversed(below[None])]
    while waiting:
        span, depth = waiting.pop()
        yield span, min(depth, MAX_DEPTH)
        waiting += [(child, depth + 1) for child in reversed(below[span.span_id])]


def _row(span: Span, depth: int, begun: float, seconds: float) -> dict[str, Any]:
    took = max(0.0, span.ended_at - span.started_at)
    width = min(1.0, max(MIN_WIDTH, took / seconds if seconds else 1.0))
    start = (span.started_at - begun) / seconds if seconds else 0.0
    return {
        "name": span.name,
        "depth": depth,
        "start": max(0.0, min(start, 1.0 - width)),
        "width": width,
        "seconds": took,
        "tone": "bad" if span.error else "",
    }
