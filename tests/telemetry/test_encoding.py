"""Encoded spans say what the SDK's encoder would have made of the SDK's spans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.sdk.resources import Resource

from fleet.model.span import AttributeValue, Link, Span, Step
from fleet.telemetry.encoding import Request, encoded, readable
from fleet.telemetry.names import ATTRIBUTES

SERVICE = Resource({"service.name": "fleet", "host.cpus": 2}, "https://example.com/schema")
AT = 1_790_000_000.25


def span(name: str = "chat llama", error: str | None = None, **attributes: AttributeValue) -> Span:
    return Span(Step.CALL, name, 0xABC, 0xDEF, 0x123, AT, AT + 2.5, attributes, (), error)


def parsed(it: Span) -> OtlpSpan:
    [told] = ScopeSpans.FromString(encoded(it)).spans
    return told


def by_the_sdk(*spans: Span) -> ExportTraceServiceRequest:
    return encode_spans([readable(each, SERVICE) for each in spans])


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
values = st.one_of(texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
words = st.sampled_from([*ATTRIBUTES, "a_word_of_our_own"])
links = st.builds(Link, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1))
times = st.floats(0.0, 4e9)
spans = st.builds(
    Span,
    st.sampled_from(Step),
    texts,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.none() | st.integers(1, 2**64 - 1),
    times,
    times,
    st.dictionaries(words, values, max_size=6),
    st.lists(links, max_size=3).map(tuple),
    st.none() | texts,
)


@given(spans)
def test_a_span_reads_as_if_the_sdk_had_encoded_it(it: Span):
    [expected] = by_the_sdk(it).resource_spans[0].scope_spans[0].spans

    assert parsed(it) == expected


@given(st.lists(spans, min_size=1, max_size=4))
def test_a_request_reads_as_if_the_sdk_had_made_it(some: list[Span]):
    request = Request(SERVICE).of([encoded(each) for each in some])

    assert ExportTraceServiceRequest.FromString(request) == by_the_sdk(*some)


@pytest.mark.parametrize("values", [(1, 1.0, True), (True, 1.0, 1), (0, False, 0.0)])
def test_values_that_python_takes_for_one_keep_their_kinds(values: tuple[AttributeValue, ...]):
    kinds = {bool: "bool_value", int: "int_value", float: "double_value"}

    for value in values:
        [said] = parsed(span(deliveries=value)).attributes
        assert said.value.WhichOneof("value") == kinds[type(value)]


def test_half_a_surrogate_pair_is_replaced_and_the_rest_said():
    told = parsed(span(name="chat \ud800", error="\udfff", model="gpt\ud800", target="gpt"))

    assert (told.name, told.status.message) == ("chat ?", "?")
    assert [each.value.string_value for each in told.attributes] == ["gpt?", "gpt"]


def test_a_number_beyond_64_bits_is_left_out_and_the_rest_said():
    [told] = parsed(span(input_tokens=2**63, output_tokens=12)).attributes

    assert (told.key, told.value.int_value) == ("gen_ai.usage.output_tokens", 12)


@pytest.mark.parametrize(("at", "nanoseconds"), [(-1e4, 0), (1e12, (2**64 - 1) // 1000 * 1000)])
def test_a_time_that_otlp_has_no_number_for_is_the_nearest_it_has(at: float, nanoseconds: int):
    told = parsed(Span(Step.CALL, "chat", 1, 2, None, at, at))

    assert (told.start_time_unix_nano, told.end_time_unix_nano) == (nanoseconds, nanoseconds)
