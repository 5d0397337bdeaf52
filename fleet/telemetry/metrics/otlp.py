"""The metrics over OTLP, sent from a thread of its own: a receiver that hangs holds up nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Exemplar as SdkExemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    MetricExporter,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as SdkHistogram
from opentelemetry.sdk.metrics.export import Metric as SdkMetric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from fleet.logs import get_logger
from fleet.model.errors import ConfigError
from fleet.telemetry.metrics.catalogue import MetricKind
from fleet.telemetry.metrics.families import Distribution, Exemplar, Family, Point, Read
from fleet.telemetry.resource import service_instance

log = get_logger(__name__)

SCOPE = InstrumentationScope("fleet")
CUMULATIVE = AggregationTemporality.CUMULATIVE

INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
DEFAULT_INTERVAL_MS = "60000"

CLOSE_SECONDS = 5.0
"""Time that a process which ends gives to its last numbers."""


class OtlpSender:
    """Sends readings to an exporter, every `interval_seconds` and once more at the end."""

    def __init__(self, read: Read, exporter: MetricExporter, resource: Resource, interval_seconds: float) -> None:
        self._read = read
        self._exporter = exporter
        self._resource = resource
        self._interval_seconds = interval_seconds
        self._since_ns = time.time_ns()
        self._due: SimpleQueue[MetricsData | None] = SimpleQueue()
        # A daemon, because an export that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._send, name="fleet-otlp-metrics", daemon=True)
        self._thread.start()

    async def run(self) -> None:
        """Send again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            self.hand_over()

    def hand_over(self) -> None:
        """Let the numbers of this moment be sent, in place of earlier ones that still wait: sums hold all before."""
        reading = metrics_data(self._read(), self._resource, self._since_ns, time.time_ns())
        with suppress(Empty):
            self._due.get_nowait()
        self._due.put(reading)

    async def close(self) -> None:
        """Send the last numbers, or give them up after `CLOSE_SECONDS`."""
        self.hand_over()
        self._due.put(None)
        await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)
        if self._thread.is_alive():
            log.warning("metrics_not_sent", seconds=CLOSE_SECONDS)
        self._exporter.shutdown()

    def _send(self) -> None:
        while (reading := self._due.get()) is not None:
            try:
                self._exporter.export(reading)  # it logs what it could not send
            except Exception:
                log.exception("metrics_export_failed")


def sender_from_environment(read: Read, environ: Mapping[str, str]) -> OtlpSender | None:
    """Return the sender that the standard OTEL_* variables ask for, or None if they ask for none.

    `environ` decides whether and how often metrics go; endpoint, headers, timeout and resource attributes are read by
    the SDK itself, from the process's environment.

    Raises: ConfigError if the exporter named does not exist, or the interval is none.
    """
    if not _is_wanted(environ):
        return None
    interval = environ.get(INTERVAL, "").strip() or DEFAULT_INTERVAL_MS
    if not interval.isdecimal() or int(interval) == 0:
        raise ConfigError(INTERVAL, "must be a whole number of milliseconds")
    return OtlpSender(read, OTLPMetricExporter(), service_instance(), int(interval) / 1000)


def _is_wanted(environ: Mapping[str, str]) -> bool:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    endpoint = environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    match environ.get("OTEL_METRICS_EXPORTER", "").strip().lower() or ("otlp" if endpoint else "none"):
        case "none":
            return False
        case "otlp":
            return True
        case _:
            raise ConfigError("OTEL_METRICS_EXPORTER", "must be otlp or none")


def metrics_data(families: Iterable[Family], resource: Resource, since_ns: int, at_ns: int) -> MetricsData:
    """Return a reading in the SDK's terms; counting began at `since_ns`, unix nanoseconds."""
    metrics = [_metric(family, since_ns, at_ns) for family in families if family.points]
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(SCOPE, metrics, "")], "")])


def _metric(family: Family, since_ns: int, at_ns: int) -> SdkMetric:
    metric = family.metric
    data: Sum | Gauge | SdkHistogram
    match metric.kind:
        case MetricKind.COUNTER:
            data = Sum(_numbers(family, since_ns, at_ns), CUMULATIVE, True)
        case MetricKind.GAUGE:
            data = Gauge(_numbers(family, since_ns, at_ns))
        case MetricKind.HISTOGRAM:
            data = SdkHistogram([_buckets(family, each, since_ns, at_ns) for each in family.points], CUMULATIVE)
    return SdkMetric(metric.name, metric.help, metric.unit, data)


def _numbers(family: Family, since_ns: int, at_ns: int) -> Sequence[NumberDataPoint]:
    points = ((point, point.value) for point in family.points if not isinstance(point.value, Distribution))
    return [NumberDataPoint(_attributes(family, point), since_ns, at_ns, value) for point, value in points]


def _buckets(family: Family, point: Point, since_ns: int, at_ns: int) -> HistogramDataPoint:
    found = point.value
    if not isinstance(found, Distribution):
        raise TypeError(f"{family.metric.name} is a histogram")
    return HistogramDataPoint(
        _attributes(family, point),
        since_ns,
        at_ns,
        found.count,
        found.sum,
        found.counts,
        family.metric.bounds,
        None,  # type: ignore[arg-type]  # the encoder takes it: of a sum since the start no extremes are kept
        None,  # type: ignore[arg-type]
        [_exemplar(each) for each in found.exemplars.values()],
    )


def _attributes(family: Family, point: Point) -> dict[str, str]:
    """Return the labels that say something: Prometheus takes an empty one for one that is not there, and so do we."""
    return {label: str(value) for label, value in zip(family.metric.labels, point.labels, strict=True) if value}


def _exemplar(found: Exemplar) -> SdkExemplar:
    return SdkExemplar({}, found.value, int(found.at * 1e9), int(found.span_id, 16), int(found.trace_id, 16))
