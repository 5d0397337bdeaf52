from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from promql_parser import AggregateExpr, MatrixSelector, VectorSelector, parse

from fleet.telemetry.metrics.catalogue import METRICS, Metric


@dataclass(frozen=True, slots=True)
class Reading:
    """A series that an expression reads: the labels asked of it, and the aggregation right around it."""

    series: str
    metric: Metric | None
    labels: frozenset[str]
    aggregation: str | None


OWNERS = {name: metric for metric in METRICS for name in metric.series}


def readings(node: Any, aggregation: str | None = None, by: frozenset[str] = frozenset()) -> Iterator[Reading]:
    match node:
        case VectorSelector():
            asked = frozenset(matcher.name for matcher in node.matchers.matchers)
            yield Reading(node.name, OWNERS.get(node.name), asked | by, aggregation)
        case MatrixSelector():
            yield from readings(node.vector_selector, aggregation, by)
        case AggregateExpr():
            labels = frozenset(node.modifier.labels) if node.modifier else frozenset()
            yield from readings(node.expr, str(node.op), by | labels)
        case _:
            children = [getattr(node, name, None) for name in ("lhs", "rhs", "expr")]
            for child in (*filter(None, children), *getattr(node, "args", ())):
                yield from readings(child, aggregation, by)


@pytest.fixture(scope="session")
def read_by() -> Callable[[str], list[Reading]]:
    """Parse PromQL, Grafana's variables in it filled in, and find what it reads."""
    return lambda expr: list(readings(parse(expr.replace("$__rate_interval", "1m"))))
