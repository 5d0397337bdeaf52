"""Spans as a collector sees them."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from functools import partial

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from otlp_sink import OtlpSink

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Hop, Usage
from fleet.model.errors import ConfigError, FleetError
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from fleet.model.span import Sampling, Span, Step, batch_of, publisher_of
from fleet.telemetry import tracing
from fleet.telemetry.encoding import readable
from fleet.telemetry.story import spans_of
from fleet.telemetry.tracing import OtelTracer, sampling_of, send, tracer_from_environment

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
LIMITS = (0.05, 20.0)
ANSWER = Answer({}, "stop", Usage(40, 12), "llama-8b")
TRIED = Attempt(
    1,
    "llama-8b",
    Reason.ROUTED,
    1_790_000_000.25,
    1_790_000_002.5,
    ANSWER,
    0.9,
    0.00001,
    provider="fleet",
    requested_model="llama",
    hop=Hop(1_790_000_000.0, 1_790_000_000.125, 1, "00000000000000aa", 8),
)
END = LedgerEntry(
    "job-0123456789ab",
    "acme",
    Lane.BULK,
    1_790_000_002.5,
    Reason.CONFIDENT,
    "nudge",
    "paid",
    Status.SUCCEEDED,
    TRIED,
    submitted_at=1_790_000_000.0,
    traceparent=TRACEPARENT,
    intake=Hop(1_790_000_000.0, 1_790_000_000.125),
)


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter):
    return OtelTracer(Sampling(), partial(readable, resource=Resource({})), SimpleSpanProcessor(exporter))


def exported(tracer, exporter, *lines):
    tracer.export(lines)
    return {span.name: span for span in exporter.get_finished_spans()}


def test_ids_times_names_and_kinds_are_those_of_the_story(tracer, exporter):
    found = exported(tracer, exporter, END)
    spans = {span.name: span for span in spans_of([END])}

    assert set(found) == set(spans)
    for name, span in spans.items():
        context = found[name].context
        assert (context.trace_id, context.span_id) == (int(TRACE, 16), span.span_id)
        assert found[name].parent.span_id == span.parent_id
        assert abs(found[name].start_time - span.started_at * 1e9) < 1e3
    assert {name: span.kind for name, span in found.items() if span.kind is not SpanKind.INTERNAL} == {
        "process jobs.bulk.{tenant}": SpanKind.CONSUMER,
        "chat llama": SpanKind.CLIENT,
        "send results.{tenant}.{id}": SpanKind.PRODUCER,
    }
    assert found["chat llama"].end_time - found["chat llama"].start_time == 2_250_000_000


def test_the_publishers_span_is_the_parent_of_the_first_one_and_linked(tracer, exporter):
    job = exported(tracer, exporter, END)["process jobs.bulk.{tenant}"]

    assert (f"{job.parent.span_id:016x}", job.parent.is_remote) == (PARENT, True)
    assert [(link.context.trace_id, link.context.span_id) for link in job.links] == [(int(TRACE, 16), int(PARENT, 16))]


def test_attributes_follow_the_conventions(tracer, exporter):
    found = exported(tracer, exporter, END)

    assert dict(found["chat llama"].attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "fleet",
        "gen_ai.request.model": "llama",
        "gen_ai.response.model": "llama-8b",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 40,
        "gen_ai.usage.output_tokens": 12,
        "fleet.target": "llama-8b",
        "fleet.attempt.number": 1,
        "fleet.reason": "routed",
        "fleet.batch.id": "00000000000000aa",
        "fleet.confidence": 0.9,
        "fleet.cost_usd": 0.00001,
    }
    job = found["process jobs.bulk.{tenant}"].attributes
    assert (job["messaging.system"], job["messaging.operation.type"]) == ("nats", "process")
    assert job["messaging.destination.template"] == "jobs.bulk.{tenant}"
    assert (job["messaging.message.id"], job["fleet.tenant"]) == ("job-0123456789ab", "acme")


def test_an_error_is_the_status(tracer, exporter):
    failed = replace(TRIED, outcome=Failure(FailureKind.TIMEOUT, "no answer"))
    found = exported(tracer, exporter, replace(END, status=Status.FAILED, reason=Reason.ALL_FAILED, attempt=failed))

    call, job = found["chat llama"], found["process jobs.bulk.{tenant}"]
    assert (call.status.status_code, call.status.description) == (StatusCode.ERROR, "timeout")
    assert call.attributes["error.type"] == "timeout"
    assert (job.status.status_code, job.status.description) == (StatusCode.ERROR, "all_failed")
    assert found["fleet.slot_wait"].status.status_code is StatusCode.UNSET


def test_a_batch_is_the_only_span_of_its_trace_and_links_its_calls(tracer, exporter):
    own, linked = batch_of("00000000000000aa"), publisher_of(TRACEPARENT)
    tracer.export_span(
        Span(Step.BATCH, "fleet.batch", own.trace_id, own.span_id, None, 1.0, 2.0, {"batch_size": 8}, (linked,))
    )
    [found] = exporter.get_finished_spans()

    assert (found.parent, found.context.span_id, found.attributes["messaging.batch.message_count"]) == (None, 0xAA, 8)
    assert [f"{link.context.span_id:016x}" for link in found.links] == [PARENT]


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
    assert tracer_from_environment(environ, *LIMITS) is None


def test_an_exporter_nobody_has_is_a_configuration_error():
    with pytest.raises(ConfigError, match="OTEL_TRACES_EXPORTER"):
        tracer_from_environment({"OTEL_TRACES_EXPORTER": "pigeon"}, *LIMITS)


@pytest.mark.parametrize(
    ("sampler", "argument", "sampling"),
    [
        (None, None, Sampling(1.0, True, True, *LIMITS)),
        ("always_on", None, Sampling(1.0, False, True, *LIMITS)),
        ("always_off", None, Sampling(0.0, False, False, *LIMITS)),
        ("traceidratio", "0.1", Sampling(0.1, False, True, *LIMITS)),
        ("parentbased_traceidratio", " 0 ", Sampling(0.0, True, True, *LIMITS)),
        ("ParentBased_TraceIdRatio", None, Sampling(1.0, True, True, *LIMITS)),
        ("parentbased_always_off", "0.5", Sampling(0.0, True, False, *LIMITS)),
    ],
)
def test_the_standard_variables_say_which_traces_are_kept(sampler, argument, sampling):
    environ = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    said = {name: value for name, value in environ.items() if value is not None}

    assert sampling_of(said, *LIMITS) == sampling


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "10%"),
        ("OTEL_TRACES_SAMPLER_ARG", "-1"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
    ],
)
def test_a_sampler_nobody_has_and_a_share_that_is_none_are_configuration_errors(name, value):
    with pytest.raises(ConfigError, match=name):
        sampling_of({"OTEL_TRACES_SAMPLER": "traceidratio"} | {name: value}, *LIMITS)


@pytest.fixture
def collector(monkeypatch):
    with OtlpSink() as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
        yield sink


@pytest.mark.parametrize(
    ("named", "service"),
    [
        ({}, "fleet"),
        ({"OTEL_SERVICE_NAME": "eu"}, "eu"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=us"}, "us"),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, "fleet"),
    ],
)
def test_close_sends_every_span_to_the_collector(collector, monkeypatch, named, service):
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    tracer = tracer_from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url} | named, *LIMITS)
    tracer.export([END])
    tracer.close()

    assert [span.span_id.hex() for span in collector.all_spans()] == [f"{s.span_id:016x}" for s in spans_of([END])]
    assert collector.services() == {service}


def test_what_is_sent_afterwards_equals_what_was_exported_then(collector):
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    tracer = tracer_from_environment(environ, *LIMITS)
    tracer.export([END])
    tracer.close()
    then = collector.all_spans()
    send([END], environ)

    assert collector.all_spans()[len(then) :] == then


class Dropping(OtlpSink):
    """A collector that drops the connection of the first request."""

    def __init__(self):
        super().__init__()
        self.dropped = 0

    def _take(self, body):
        if not self.dropped:
            self.dropped += 1
            raise ConnectionError("dropped")
        super()._take(body)


def test_a_request_that_got_no_answer_is_sent_again(monkeypatch):
    with Dropping() as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
        told = send([END], {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url})

    assert (sink.dropped, len(sink.all_spans())) == (1, told)


def test_the_console_is_told_the_same_spans(monkeypatch, exporter):
    monkeypatch.setattr(tracing, "ConsoleSpanExporter", lambda: exporter)
    send([END], {"OTEL_TRACES_EXPORTER": "console"})

    spans = spans_of([END])
    assert [each.context.span_id for each in exporter.get_finished_spans()] == [span.span_id for span in spans]
    assert exporter.get_finished_spans()[0].attributes["fleet.status"] == "succeeded"


class Hanging(OtlpSink):
    """A collector that takes a request and says nothing until it is let go."""

    def __init__(self):
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def _take(self, body):
        self.asked.set()
        self.go_on.wait()


def test_a_collector_that_hangs_delays_nobody_and_costs_no_more_than_a_full_queue(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    with Hanging() as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
        tracer = tracer_from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url}, *LIMITS)
        tracer.export([END])
        sink.asked.wait()
        for _ in range(100):
            tracer.export([END])  # returns while the collector holds the first request
        assert not sink.go_on.is_set()
        sink.go_on.set()
        tracer.close()


@pytest.mark.parametrize("login", ["", "fleet:secret@"])
def test_a_collector_that_is_away_is_named_with_the_reason_and_without_its_password(monkeypatch, login):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{login}127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")

    with pytest.raises(FleetError) as refused:
        send([END], os.environ)
    what = "the collector did not take the spans: http://127.0.0.1:1/v1/traces: Connection refused"
    assert str(refused.value) == what


def test_a_collector_that_refuses_is_named_with_its_answer(monkeypatch):
    with OtlpSink(status=401) as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
        with pytest.raises(FleetError, match=f"{sink.url}/v1/traces: HTTP 401 Unauthorized$"):
            send([END], os.environ)
