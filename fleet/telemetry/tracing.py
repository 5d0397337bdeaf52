"""Sends finished spans to an OpenTelemetry collector.

A span arrives here whole, with its times, so it needs none of the machinery that follows a running one: the SDK's
sampler decides, its processor batches and its exporter sends, and all they get is a plain `ReadableSpan`.
That costs about a third of `start_span` and `end`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fleet.model.errors import ConfigError
from fleet.model.span import Span, SpanName
from fleet.telemetry.names import translated
from fleet.telemetry.resource import service

KIND: Mapping[SpanName, SpanKind] = {
    SpanName.INTAKE: SpanKind.CONSUMER,
    SpanName.QUEUE_WAIT: SpanKind.INTERNAL,
    SpanName.BATCH: SpanKind.INTERNAL,
    SpanName.MODEL_CALL: SpanKind.CLIENT,
    SpanName.ESCALATE: SpanKind.INTERNAL,
    SpanName.PUBLISH: SpanKind.PRODUCER,
}

DROPPED = "-00"
"""The end of the traceparent of a trace that is not kept."""

W3C = TraceContextTextMapPropagator()
NO_CONTEXT = Context()
UNSET = Status(StatusCode.UNSET)
SCOPE = InstrumentationScope("fleet")


class NullTracer:
    """Tracing switched off: children keep the parent they would have had."""

    def keeps(self, parent: str | None) -> bool:
        return False

    def record(self, span: Span) -> str | None:
        return span.parent

    def close(self) -> None:
        """Do nothing: no span is held back."""


class OtelTracer:
    """Hands the spans that `sampler` accepts to `processor`."""

    def __init__(self, sampler: Sampler, resource: Resource, ids: IdGenerator, processor: SpanProcessor) -> None:
        self._sampler = sampler
        self._resource = resource
        self._ids = ids
        self._processor = processor
        self._follows_parents = isinstance(sampler, ParentBased)

    def keeps(self, parent: str | None) -> bool:
        """See `Tracer.keeps`. All of the SDK's samplers that look at a parent drop what is under a dropped one."""
        return not (self._follows_parents and parent is not None and parent.endswith(DROPPED))

    def record(self, span: Span) -> str:
        """See `Tracer.record`. A parent that is no W3C traceparent makes the span the root of a new trace."""
        around, parent = _parent(span.parent)
        trace_id = parent.trace_id if parent else self._ids.generate_trace_id()
        links = [Link(linked) for text in span.links if (linked := _parent(text)[1])]
        kind = KIND[span.name]
        sampled = self._sampler.should_sample(around, trace_id, span.name, kind, None, links)
        wanted = sampled.decision is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(TraceFlags.SAMPLED if wanted else TraceFlags.DEFAULT)
        context = SpanContext(trace_id, self._ids.generate_span_id(), False, flags, sampled.trace_state)
        if wanted:
            finished = ReadableSpan(
                name=str(span.name),
                context=context,
                parent=parent,
                resource=self._resource,
                attributes=translated(span.attributes),
                links=links,
                kind=kind,
                status=UNSET if span.error is None else Status(StatusCode.ERROR, span.error),
                start_time=_nanoseconds(span.started_at),
                end_time=_nanoseconds(span.ended_at),
                instrumentation_scope=SCOPE,
            )
            self._processor.on_end(finished)
        return f"00-{trace_id:032x}-{context.span_id:016x}-{flags:02x}"

    def close(self) -> None:
        """Send the waiting spans and stop."""
        self._processor.shutdown()


def tracer_from_environment(environ: Mapping[str, str]) -> OtelTracer | NullTracer:
    """Return the tracer that the standard OTEL_* variables ask for, or a `NullTracer` if they ask for none.

    `environ` decides whether and where spans go; endpoint, headers, sampler, batching and resource attributes are
    read by the SDK itself, from the process's environment.

    Raises: ConfigError if the exporter named does not exist.
    """
    exporter = _exporter(environ)
    if exporter is None:
        return NullTracer()
    provider = TracerProvider(resource=service(), shutdown_on_exit=False)
    return OtelTracer(provider.sampler, provider.resource, provider.id_generator, BatchSpanProcessor(exporter))


@lru_cache(maxsize=4096)
def _parent(traceparent: str | None) -> tuple[Context, SpanContext | None]:
    """Read a parent, cached: a job's spans share one or two, and reading one is a quarter of a span's cost."""
    if not traceparent:
        return NO_CONTEXT, None
    context = W3C.extract({"traceparent": traceparent}, NO_CONTEXT)
    return context, None if context is NO_CONTEXT else get_current_span(context).get_span_context()


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
