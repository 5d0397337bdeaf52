"""Spans as a collector sees them."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, DEFAULT_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from fleet.model.errors import ConfigError
from fleet.model.span import Span, SpanName
from fleet.telemetry.tracing import KIND, W3C, NullTracer, OtelTracer, tracer_from_environment

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"


def trace_id_of(traceparent: str) -> str | None:
    """The trace id, if the traceparent is one by OpenTelemetry's own reading."""
    context = get_current_span(W3C.extract({"traceparent": traceparent})).get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


BAD_PARENTS = [
    "",
    "nonsense",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"ff-{TRACE}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}",
    f"00-{TRACE}-{PARENT}-01-more",
    f"00-{TRACE[:-1]}-{PARENT}-01",
    f"00-{TRACE[:-1]}x-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-01" + "0" * 10_000,
]


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter):
    return make(exporter)


def make(exporter: InMemorySpanExporter, sampler: Sampler = DEFAULT_ON) -> OtelTracer:
    return OtelTracer(sampler, Resource({}), RandomIdGenerator(), SimpleSpanProcessor(exporter))


def span(parent: str | None = TRACEPARENT, **rest) -> Span:
    return Span(SpanName.MODEL_CALL, parent, 1_790_000_000.25, 1_790_000_002.5, **rest)


def test_a_span_is_the_child_of_its_parent_and_the_parent_of_the_next(tracer, exporter):
    first = tracer.record(span())
    second = tracer.record(span(first))
    child, grandchild = exporter.get_finished_spans()
    assert f"{child.parent.span_id:016x}" == PARENT
    assert f"{child.context.trace_id:032x}" == TRACE
    assert first == f"00-{TRACE}-{child.context.span_id:016x}-01"
    assert grandchild.parent.span_id == child.context.span_id
    assert second == f"00-{TRACE}-{grandchild.context.span_id:016x}-01"


def test_times_name_and_kind_are_those_of_the_span_and_attributes_follow_the_conventions(tracer, exporter):
    tracer.record(span(attributes={"target": "llama-8b", "input_tokens": 11, "finish_reason": "stop", "new_word": 1}))
    [found] = exporter.get_finished_spans()
    assert (found.start_time, found.end_time) == (1_790_000_000_250_000_000, 1_790_000_002_500_000_000)
    assert (found.name, found.kind) == ("fleet.model_call", SpanKind.CLIENT)
    assert dict(found.attributes) == {
        "fleet.target": "llama-8b",
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.response.finish_reasons": ("stop",),
        "fleet.new_word": 1,
    }
    assert found.status.status_code is StatusCode.UNSET


def test_an_error_is_the_status(tracer, exporter):
    tracer.record(span(error="timeout"))
    [found] = exporter.get_finished_spans()
    assert (found.status.status_code, found.status.description) == (StatusCode.ERROR, "timeout")


def test_links_name_other_spans_and_bad_ones_are_left_out(tracer, exporter):
    other = f"00-{'a' * 32}-{'b' * 16}-01"
    tracer.record(span(links=(other, "nonsense", TRACEPARENT)))
    [found] = exporter.get_finished_spans()
    assert [f"{link.context.span_id:016x}" for link in found.links] == ["b" * 16, PARENT]


@pytest.mark.parametrize("parent", [None, *BAD_PARENTS])
def test_a_parent_that_is_none_starts_a_new_trace(tracer, exporter, parent):
    traceparent = tracer.record(span(parent))
    [found] = exporter.get_finished_spans()
    assert found.parent is None
    assert trace_id_of(traceparent) == f"{found.context.trace_id:032x}" != TRACE


@given(st.text())
def test_no_parent_can_break_a_span(text):
    exporter = InMemorySpanExporter()
    assert trace_id_of(make(exporter).record(span(text))) is not None
    assert len(exporter.get_finished_spans()) == 1


def test_a_trace_its_publisher_did_not_sample_is_not_exported_and_stays_unsampled(tracer, exporter):
    traceparent = tracer.record(span(UNSAMPLED))
    assert exporter.get_finished_spans() == ()
    assert traceparent.startswith(f"00-{TRACE}-")
    assert traceparent.endswith("-00")


def test_the_sampler_decides_about_new_traces(exporter):
    traceparent = make(exporter, ParentBased(ALWAYS_OFF)).record(span(None))
    assert exporter.get_finished_spans() == ()
    assert traceparent.endswith("-00")


def test_every_kind_of_span_has_an_otel_kind():
    assert set(KIND) == set(SpanName)


@pytest.mark.parametrize("parent", [None, TRACEPARENT, "nonsense"])
def test_the_null_tracer_hands_the_parent_on(parent):
    assert NullTracer().record(span(parent)) == parent


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SERVICE_NAME": "fleet"},
    ],
)
def test_tracing_is_off_unless_asked_for(environ):
    assert isinstance(tracer_from_environment(environ), NullTracer)


def test_an_exporter_nobody_has_is_a_configuration_error():
    with pytest.raises(ConfigError, match="OTEL_TRACES_EXPORTER"):
        tracer_from_environment({"OTEL_TRACES_EXPORTER": "pigeon"})


@pytest.fixture
def collector():
    """An OTLP endpoint: its URL and what it was sent."""
    bodies: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("named", "service"),
    [({}, "fleet"), ({"OTEL_SERVICE_NAME": "eu"}, "eu"), ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=us"}, "us")],
)
def test_close_sends_every_span_to_the_collector(collector, monkeypatch, named, service):
    url, bodies = collector
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"} | named
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    tracer = tracer_from_environment(environ)
    for _ in range(3):
        tracer.record(span(attributes={"target": "llama-8b"}))
    tracer.close()
    [(path, body)] = bodies
    assert path == "/v1/traces"
    [resource_spans] = ExportTraceServiceRequest.FromString(body).resource_spans
    attributes = {item.key: item.value.string_value for item in resource_spans.resource.attributes}
    assert attributes["service.name"] == service
    received = resource_spans.scope_spans[0].spans
    assert [found.parent_span_id.hex() for found in received] == [PARENT] * 3
    assert received[0].end_time_unix_nano - received[0].start_time_unix_nano == 2_250_000_000
    assert received[0].attributes[0].value.string_value == "llama-8b"


def test_what_is_under_a_dropped_parent_need_not_be_gathered(exporter):
    dropped = f"00-{TRACE}-{PARENT}-00"
    tracer = make(exporter)
    assert (tracer.keeps(dropped), tracer.keeps(TRACEPARENT), tracer.keeps(None)) == (False, True, True)
    assert tracer.record(span(dropped)).endswith("-00")
    assert exporter.get_finished_spans() == ()
    assert make(exporter, ALWAYS_ON).keeps(dropped), "this sampler keeps all, whatever the parent says"
    assert not NullTracer().keeps(TRACEPARENT)


def test_a_job_in_ten_is_traced_whole_or_not_at_all(exporter):
    tracer = make(exporter, ParentBased(TraceIdRatioBased(0.1)))
    roots = [tracer.record(span(None)) for _ in range(500)]
    kept = [root for root in roots if tracer.keeps(root)]
    for root in roots:
        tracer.record(span(root))
    assert 10 < len(kept) < 120
    assert len(exporter.get_finished_spans()) == 2 * len(kept)
