"""A reading of metrics: plain values, from which both formats are made, so that both say the same."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fleet.model.span import Step, span_id_of, trace_id_of
from fleet.telemetry.metrics.catalogue import Metric


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A job in a bucket: its trace and its own span there, its value, and when it was counted, in unix seconds."""

    trace_id: str
    span_id: str
    value: float
    at: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram's state. `counts` has one number for each bucket, the last for what is above all bounds."""

    counts: tuple[int, ...]
    sum: float
    exemplars: Mapping[int, Exemplar]
    """The latest exemplar by the number of its bucket."""

    @property
    def count(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Point:
    """The value of one series. `labels` are the values of the metric's labels, in its order."""

    labels: tuple[str, ...]
    value: float | Distribution


@dataclass(frozen=True, slots=True)
class Family:
    """A metric and its series at the moment of a reading."""

    metric: Metric
    points: Sequence[Point]


Labels = TypeVar("Labels", bound=tuple[str, ...])


def family(metric: Metric, values: Mapping[Labels, float | Distribution]) -> Family:
    """Return the family of these series, each under the values of its labels."""
    return Family(metric, [Point(labels, value) for labels, value in values.items()])


Read = Callable[[], Iterable[Family]]
"""Reads all metrics of a process; called on its event loop."""


TraceOf = tuple[str | None, str, str]
"""What the trace of a job is known by: its publisher's traceparent, if any, its tenant and its id."""


class Histogram:
    """Counts values by bucket: two list items and an addition for each."""

    __slots__ = ("_bounds", "_counts", "_latest", "_sum")

    def __init__(self, metric: Metric) -> None:
        self._bounds = metric.bounds
        self._counts = [0] * (len(metric.bounds) + 1)
        self._latest: list[tuple[TraceOf, float, float] | None] = [None] * len(self._counts)
        self._sum = 0.0

    def observe(self, value: float, trace: TraceOf | None = None, at: float = 0.0) -> None:
        """Count a value at `at`, unix seconds; `trace` is that of its job, if somebody keeps it.

        A negative time, as a clock makes that was set, counts as 0: to Prometheus a sum that falls is a restart.
        """
        value = max(0.0, value)
        bucket = bisect_left(self._bounds, value)
        self._counts[bucket] += 1
        self._sum += value
        if trace is not None:
            self._latest[bucket] = trace, value, at

    def read(self) -> Distribution:
        """Return the counts so far."""
        latest = {bucket: _exemplar(*each) for bucket, each in enumerate(self._latest) if each is not None}
        return Distribution(tuple(self._counts), self._sum, latest)


def _exemplar(trace: TraceOf, value: float, at: float) -> Exemplar:
    _, tenant, job_id = trace
    return Exemplar(f"{trace_id_of(*trace):032x}", f"{span_id_of(tenant, job_id, Step.JOB):016x}", value, at)
