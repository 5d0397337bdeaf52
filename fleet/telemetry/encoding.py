"""Turns spans into what OpenTelemetry's exporters take: bytes of OTLP, or the SDK's own spans for printing them.

Nearly all that a span says, spans before it said: the same names, targets, tenants and models. A message of protocol
buffers is the sequence of its fields, so the library makes the bytes of each once, and they are strung together for
every span that says the same. Making an SDK span of each and encoding that costs five times as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags
from opentelemetry.proto.trace.v1.trace_pb2 import Status as OtlpStatus
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link as OtelLink
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from fleet.model.span import AttributeValue, Link, Span, Step
from fleet.telemetry.names import translated

KIND: Mapping[Step, SpanKind] = {
    Step.JOB: SpanKind.CONSUMER,
    Step.CALL: SpanKind.CLIENT,
    Step.RESULT: SpanKind.PRODUCER,
}
"""The kinds of spans that face outwards; all others are internal."""

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
UNSET = Status(StatusCode.UNSET)
SCOPE = InstrumentationScope("fleet")
LOCAL_FLAGS = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
REMOTE_FLAGS = LOCAL_FLAGS | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK

REMEMBERED = 4096
"""The pieces of spans whose bytes are kept: some hundred kilobytes."""

LATEST_US = (2**64 - 1) // 1000
"""The last microsecond that OTLP can tell, in the year 2554."""

TRACE_ID = OtlpSpan(trace_id=bytes(16)).SerializeToString()[:-16]
SPAN_ID = OtlpSpan(span_id=bytes(8)).SerializeToString()[:-8]
PARENT_ID = OtlpSpan(parent_span_id=bytes(8)).SerializeToString()[:-8]
STARTED_AT = OtlpSpan(start_time_unix_nano=1).SerializeToString()[:-8]
ENDED_AT = OtlpSpan(end_time_unix_nano=1).SerializeToString()[:-8]
"""What comes before the values of the fields that every span has and no two have in common."""


class EncodedSpan(bytes):
    """A span in a request. The SDK's batch processor asks a span for its `context` and for nothing else."""

    __slots__ = ()
    context = SpanContext(1, 1, False, SAMPLED)


class Request:
    """Makes requests that send encoded spans of this process."""

    def __init__(self, resource: Resource) -> None:
        [spans] = encode_spans([readable(Span(Step.JOB, "", 1, 1, None, 0.0, 0.0), resource)]).resource_spans
        [scope] = spans.scope_spans
        del scope.spans[:]
        self._scope = scope.SerializeToString()
        del spans.scope_spans[:]
        self._resource = spans.SerializeToString()

    def of(self, spans: Sequence[EncodedSpan]) -> bytes:
        """Return the body of a request, an `ExportTraceServiceRequest`."""
        return _field(1, self._resource + _field(2, self._scope + b"".join(spans)))


def encoded(span: Span) -> EncodedSpan:
    """Return the span as OTLP has it; no text and no number of a server or a publisher makes this fail."""
    said, parent_id = span.attributes, span.parent_id
    body = b"".join(
        (
            TRACE_ID,
            span.trace_id.to_bytes(16, "big"),
            SPAN_ID,
            span.span_id.to_bytes(8, "big"),
            b"" if parent_id is None else PARENT_ID + parent_id.to_bytes(8, "big"),
            STARTED_AT,
            _nanoseconds(span.started_at).to_bytes(8, "little"),
            ENDED_AT,
            _nanoseconds(span.ended_at).to_bytes(8, "little"),
            _common(span.step, span.name, span.error, _has_remote_parent(span)),
            *map(_attribute, said, said.values()),
            _links(span.links) if span.links else b"",
        )
    )
    return EncodedSpan(_field(2, body))


def _field(number: int, body: bytes) -> bytes:
    """Return the body as a field of a message."""
    return _before(number, len(body)) + body


@lru_cache(REMEMBERED)
def _before(number: int, size: int) -> bytes:
    """Return what comes before a field of this many bytes: its number and kind, and the size, seven bits to a byte."""
    head = bytearray((number << 3 | 2,))
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head)


@lru_cache(REMEMBERED)
def _common(step: Step, name: str, error: str | None, has_remote_parent: bool) -> bytes:
    """Return the fields that most spans of a step have in common."""
    span = OtlpSpan(name=_text(name), flags=REMOTE_FLAGS if has_remote_parent else LOCAL_FLAGS)
    span.kind = OtlpSpan.SpanKind.Value(f"SPAN_KIND_{KIND.get(step, SpanKind.INTERNAL).name}")
    span.status.SetInParent()
    if error is not None:
        span.status.code, span.status.message = OtlpStatus.STATUS_CODE_ERROR, _text(error)
    return bytes(span.SerializeToString())


@lru_cache(REMEMBERED, typed=True)  # typed: 1, 1.0 and True are one key to a dict, and three values in OTLP
def _attribute(word: str, value: AttributeValue) -> bytes:
    [(name, said)] = translated({word: value}).items()
    span = OtlpSpan()
    attribute = span.attributes.add(key=name)
    try:
        _say(attribute.value, said)
    except ValueError:  # a number beyond 64 bits
        return b""
    return bytes(span.SerializeToString())


def _say(it: AnyValue, said: AttributeValue | Sequence[str]) -> None:
    match said:
        case str():
            it.string_value = _text(said)
        case bool():
            it.bool_value = said
        case int():
            it.int_value = said
        case float():
            it.double_value = said
        case _:
            for each in said:
                _say(it.array_value.values.add(), each)


def _links(links: Sequence[Link]) -> bytes:
    span = OtlpSpan()
    for link in links:
        trace_id, span_id = link.trace_id.to_bytes(16, "big"), link.span_id.to_bytes(8, "big")
        span.links.add(trace_id=trace_id, span_id=span_id, flags=REMOTE_FLAGS)
    return bytes(span.SerializeToString())


def _text(said: str) -> str:
    """Return the text with half surrogate pairs replaced, which UTF-8 cannot say."""
    return said.encode(errors="replace").decode()


def readable(span: Span, resource: Resource) -> ReadableSpan:
    """Return the span as the SDK has it."""
    parent = None if span.parent_id is None else _context(span.trace_id, span.parent_id, _has_remote_parent(span))
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


def _has_remote_parent(span: Span) -> bool:
    return span.step is Step.JOB and span.parent_id is not None and bool(span.links)


def _context(trace_id: int, span_id: int, is_remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote, SAMPLED)


def _nanoseconds(at: float) -> int:
    """Return nanoseconds rounded to microseconds, all the precision that a float of unix seconds has today."""
    microseconds = round(at * 1e6)
    return (microseconds if 0 <= microseconds <= LATEST_US else LATEST_US if microseconds > 0 else 0) * 1000
