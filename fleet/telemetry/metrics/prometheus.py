"""The metrics in the text formats of Prometheus and OpenMetrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

from prometheus_client import Metric as MetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Exemplar as SampleExemplar

from fleet.telemetry.metrics.families import Distribution, Exemplar, Family


class MetricsCollector:
    """A reading as prometheus_client's encoders take it."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[MetricFamily]:
        for family in self._families:
            yield _family(family)


def exposition(families: Iterable[Family], accept: str) -> tuple[bytes, str]:
    """Return the metrics in the format that the header `Accept` asks for, and that format's content type.

    Exemplars are in the OpenMetrics format alone.
    """
    encode, content_type = choose_encoder(accept)
    return encode(MetricsCollector(families)), content_type


def _family(family: Family) -> MetricFamily:
    metric = family.metric
    made = MetricFamily(metric.prometheus_name, metric.help, metric.kind.value)
    for point in family.points:
        labels = dict(zip(metric.prometheus_labels, point.labels, strict=True))
        if isinstance(point.value, Distribution):
            _add_buckets(made, labels, metric.bounds, point.value)
        else:
            made.add_sample(metric.series[0], labels, point.value)
    return made


def _add_buckets(made: MetricFamily, labels: dict[str, str], bounds: tuple[float, ...], found: Distribution) -> None:
    below = 0
    for bucket, (bound, count) in enumerate(zip((*bounds, inf), found.counts, strict=True)):
        below += count
        exemplar = _exemplar(found.exemplars.get(bucket))
        made.add_sample(f"{made.name}_bucket", {**labels, "le": _le(bound)}, below, exemplar=exemplar)
    made.add_sample(f"{made.name}_count", labels, below)
    made.add_sample(f"{made.name}_sum", labels, found.sum)


def _exemplar(found: Exemplar | None) -> SampleExemplar | None:
    return None if found is None else SampleExemplar({"trace_id": found.trace_id}, found.value, found.at)


def _le(bound: float) -> str:
    return "+Inf" if bound == inf else str(float(bound))
