"""Sends the spans of jobs that have ended to an OpenTelemetry collector.

A span arrives here whole, with its times and ids, so it needs none of the machinery that follows a running one: the
SDK's processor batches and its exporter sends, and all they get is a plain `ReadableSpan`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link as OtelLink
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from fleet.model.errors import ConfigError, FleetError
from fleet.model.result import LedgerEntry
from fleet.model.span import Sampling, Span, Step
from fleet.telemetry.names import translated
from fleet.telemetry.resource import service
from fleet.telemetry.story import spans_of

KIND: Mapping[Step, SpanKind] = {
    Step.JOB: SpanKind.CONSUMER,
    Step.CALL: SpanKind.CLIENT,
    Step.RESULT: SpanKind.PRODUCER,
}
"""The kinds of spans that face outwards; all others are internal."""

FOLLOWS = "parentbased_"
"""Prefix of the samplers that leave the decision to a publisher that sent one."""

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
UNSET = Status(StatusCode.UNSET)
SCOPE = InstrumentationScope("fleet")


class OtelTracer:
    """Implements `fleet.ports.Tracer`: hands spans to `processor`."""

    def __init__(self, sampling: Sampling, resource: Resource, processor: SpanProcessor) -> None:
        self.sampling = sampling
        self._resource = resource
        self._processor = processor

    def export(self, lines: Sequence[LedgerEntry]) -> None:
        """See `Tracer.export`."""
        for span in spans_of(lines):
            self.export_span(span)

    def export_span(self, span: Span) -> None:
        """See `Tracer.export_span`."""
        self._processor.on_end(_readable(span, self._resource))

    def close(self) -> None:
        """Send the waiting spans and stop."""
        self._processor.shutdown()


def tracer_from_environment(
    environ: Mapping[str, str], expensive_usd: float, notable_per_second: float
) -> OtelTracer | None:
    """Return the tracer that the standard OTEL_* variables ask for, or None if they ask for none.

    `environ` decides whether and where spans go, and how many; endpoint, headers, batching and resource attributes are
    read by the SDK itself, from the process's environment.

    Raises: ConfigError if the exporter or the sampler named does not exist.
    """
    exporter = _exporter(environ)
    if exporter is None:
        return None
    sampling = sampling_of(environ, expensive_usd, notable_per_second)
    return OtelTracer(sampling, service(), BatchSpanProcessor(exporter))


def sampling_of(environ: Mapping[str, str], expensive_usd: float, notable_per_second: float) -> Sampling:
    """Return the rule that OTEL_TRACES_SAMPLER and its argument state; by default every trace is kept.

    Raises: ConfigError if there is no such sampler, or the argument is no share.
    """
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or f"{FOLLOWS}always_on"
    follows, kind = name.startswith(FOLLOWS), name.removeprefix(FOLLOWS)
    notable = (expensive_usd, notable_per_second)
    match kind:
        case "always_on":
            return Sampling(1.0, follows, True, *notable)
        case "always_off":
            return Sampling(0.0, follows, False, *notable)
        case "traceidratio":
            return Sampling(_share(environ.get("OTEL_TRACES_SAMPLER_ARG", "")), follows, True, *notable)
        case _:
            kinds = "always_on, always_off or traceidratio"
            raise ConfigError("OTEL_TRACES_SAMPLER", f"must be {kinds}, perhaps after {FOLLOWS}")


def _share(text: str) -> float:
    try:
        share = float(text.strip() or 1.0)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise ConfigError("OTEL_TRACES_SAMPLER_ARG", "must be a share from 0 to 1")
    return share


def send(lines: Sequence[LedgerEntry], environ: Mapping[str, str]) -> int:
    """Send the spans of a job at once, whatever the sampler; return how many once the collector has them.

    Raises: ConfigError if no collector is named; FleetError if it does not take them.
    """
    exporter = _exporter(environ)
    if exporter is None:
        raise ConfigError("OTEL_EXPORTER_OTLP_ENDPOINT", "must name the collector to export to")
    resource = service()
    spans = [_readable(span, resource) for span in spans_of(lines)]
    try:
        if exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise FleetError("the collector did not take the spans")
    finally:
        exporter.shutdown()
    return len(spans)


def _readable(span: Span, resource: Resource) -> ReadableSpan:
    publisher = span.links[0] if span.step is Step.JOB and span.links else None
    parent = None if span.parent_id is None else _context(span.trace_id, span.parent_id, publisher is not None)
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id),
        parent=parent,
        resource=resource,
        attributes=translated(span.attributes),
        links=[OtelLink(_context(link.trace_id, link.span_id, True)) for link in span.links],
        kind=KIND.get(span.step, SpanKind.INTERNAL),
        status=UNSET if span.error is None else Status(StatusCode.ERROR, span.error),
        start_time=_nanoseconds(span.started_at),
        end_time=_nanoseconds(span.ended_at),
        instrumentation_scope=SCOPE,
    )


def _context(trace_id: int, span_id: int, is_remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote, SAMPLED)


def _nanoseconds(at: float) -> int:
    """Return nanoseconds rounded to microseconds, all the precision that a float of unix seconds has today."""
    return round(at * 1e6) * 1000


def _exporter(environ: Mapping[str, str]) -> SpanExporter | None:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    match environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or ("otlp" if endpoint else "none"):
        case "none":
            return None
        case "otlp":
            return OTLPSpanExporter()
        case "console":
            return ConsoleSpanExporter()
        case _:
            raise ConfigError("OTEL_TRACES_EXPORTER", "must be otlp, console or none")
