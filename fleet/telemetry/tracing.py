"""Sends the spans of jobs that have ended to an OpenTelemetry collector.

A span arrives here whole, with its times and ids, so it needs none of the machinery that follows a running one: the
SDK's processor batches and its exporter sends. Spans for a collector are in its form before they wait in the batch, by
the thread that has them in its hands: in another one it would take turns with the first, and cost no less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult

from fleet.model.errors import ConfigError, FleetError
from fleet.model.result import LedgerEntry
from fleet.model.span import Sampling, Span
from fleet.telemetry.encoding import Request, encoded, readable
from fleet.telemetry.resource import service
from fleet.telemetry.story import spans_of

FOLLOWS = "parentbased_"
"""Prefix of the samplers that leave the decision to a publisher that sent one."""

Form = Callable[[Span], Any]
"""Returns a span in the form that an exporter takes: an SDK's span, or an encoded one."""


class OtlpExporter(OTLPSpanExporter):
    """Sends encoded spans. Endpoint, headers, compression and retries are those of the SDK's exporter.

    `refusal` says where the last spans went and why they were not taken; empty if they were.
    """

    def __init__(self, resource: Resource) -> None:
        super().__init__()
        self.request = Request(resource)
        self.refusal = ""

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        sent = self._client.export(self.request.of(spans))
        if sent.success:
            self.refusal = ""
            return SpanExportResult.SUCCESS
        answer = f"HTTP {sent.status_code} {sent.reason or ''}".rstrip()
        reason = answer if sent.status_code is not None else _cause(sent.error)
        self.refusal = f"{_without_login(self._endpoint)}: {reason}"
        return SpanExportResult.FAILURE


def _cause(error: BaseException | None) -> str:
    """Return what an error comes from in the end, in the system's words: libraries wrap it in their own."""
    while error is not None and (within := error.__cause__ or error.__context__) is not None:
        error = within
    return (error.strerror if isinstance(error, OSError) else None) or str(error or "no answer")


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


class OtelTracer:
    """Implements `fleet.ports.Tracer`: hands spans in this form to `processor`."""

    def __init__(self, sampling: Sampling, form: Form, processor: SpanProcessor) -> None:
        self.sampling = sampling
        self._form = form
        self._processor = processor

    def export(self, lines: Sequence[LedgerEntry]) -> None:
        """See `Tracer.export`."""
        for span in spans_of(lines):
            self.export_span(span)

    def export_span(self, span: Span) -> None:
        """See `Tracer.export_span`."""
        self._processor.on_end(self._form(span))

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
    outlet = _outlet(environ)
    if outlet is None:
        return None
    form, exporter = outlet
    return OtelTracer(sampling_of(environ, expensive_usd, notable_per_second), form, BatchSpanProcessor(exporter))


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
    outlet = _outlet(environ)
    if outlet is None:
        raise ConfigError("OTEL_EXPORTER_OTLP_ENDPOINT", "must name the collector to export to")
    form, exporter = outlet
    spans = [form(span) for span in spans_of(lines)]
    try:
        if exporter.export(spans) is not SpanExportResult.SUCCESS:
            refusal = exporter.refusal if isinstance(exporter, OtlpExporter) else "the terminal"
            raise FleetError(f"the collector did not take the spans: {refusal}")
    finally:
        exporter.shutdown()
    return len(spans)


def _outlet(environ: Mapping[str, str]) -> tuple[Form, SpanExporter] | None:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    match environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or ("otlp" if endpoint else "none"):
        case "none":
            return None
        case "otlp":
            return encoded, OtlpExporter(service())
        case "console":
            return partial(readable, resource=service()), ConsoleSpanExporter()
        case _:
            raise ConfigError("OTEL_TRACES_EXPORTER", "must be otlp, console or none")
