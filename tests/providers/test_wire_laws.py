"""What the codec takes, every wire sends as its API takes it, or refuses with the field's name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strict_apis import check_anthropic, check_groq, check_openai

from fleet.model.errors import InvalidJob
from fleet.model.job import Job
from fleet.model.target import Capability, Effort, LatencyClass, Reasoning, Target
from fleet.providers.anthropic.wire import AnthropicWire
from fleet.providers.openai.wire import OpenAIWire
from policies.caching.prompt import Life, Mark, MarkReason
from queues.wire.job import decode_job


def _target(provider: str, *capabilities: Capability, reasoning: Reasoning | None = None) -> Target:
    able = frozenset({Capability.TEXT, *capabilities, *([Capability.REASONING] if reasoning else [])})
    return Target(provider, provider, "m", 1.0, 2.0, 8192, able, LatencyClass.FAST, 8, reasoning=reasoning)


LUNA = Reasoning(1024, (Effort.NONE, Effort.LOW, Effort.MEDIUM, Effort.HIGH, Effort.XHIGH, Effort.MAX), False)
HAIKU = Reasoning(1024, (Effort.NONE, Effort.LOW, Effort.MEDIUM, Effort.HIGH))
SONNET = Reasoning(1024, (Effort.LOW, Effort.MEDIUM, Effort.HIGH, Effort.XHIGH, Effort.MAX))


WIRES = [
    (OpenAIWire(_target("openai")), check_openai),
    (OpenAIWire(_target("openai", Capability.LOGPROBS)), check_openai),
    (OpenAIWire(_target("openai", Capability.REASONING)), lambda body: check_openai(body, reasons=True)),
    (OpenAIWire(_target("groq")), check_groq),
    (OpenAIWire(_target("groq", Capability.REASONING)), check_groq),
    (AnthropicWire(_target("anthropic")), check_anthropic),
    (OpenAIWire(_target("openai", Capability.LOGPROBS, reasoning=LUNA)), lambda body: check_openai(body, reasons=True)),
    (AnthropicWire(_target("anthropic", reasoning=HAIKU)), lambda body: check_anthropic(body, thinks=True)),
    (AnthropicWire(_target("anthropic", reasoning=SONNET)), lambda body: check_anthropic(body, True, always=True)),
]

texts = st.sampled_from(["", " ", "\n", "Hello.", "Say it as JSON.", "two \n lines "])
spoken = st.sampled_from([" ", "\n", "Hello.", "two \n lines "])
names = st.sampled_from([None, "ada", "Ada Example", "a<b"])
ids = st.sampled_from(["call_1", "functions.track:0", "a b", "call_2"])
arguments = st.sampled_from(["", "{}", '{"a": 1}', "null", "[1]", '{"a'])
tool_names = st.sampled_from(["track", "track.now", "look up"])
images = st.sampled_from(["https://a.example/1.png", "http://a.example/1.png", "data:image/png;base64,AA==", "data:x"])
text_part = st.fixed_dictionaries({"type": st.just("text"), "text": spoken})
parts = (
    text_part
    | images.map(lambda url: {"type": "image_url", "image_url": {"url": url, "detail": None}})
    | st.sampled_from(
        [
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            {"type": "file", "file": {"file_id": "file-1", "file_data": None}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
        ]
    )
)
answer_parts = text_part | st.just({"type": "refusal", "refusal": "I cannot."})
calls = st.builds(
    lambda call_id, name, said: {
        "index": 0,
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": said},
    },
    ids,
    tool_names,
    arguments,
)
server_fields = {"reasoning": st.just("hm"), "annotations": st.just([]), "audio": st.none(), "function_call": st.none()}
answers = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | texts | st.lists(answer_parts, max_size=2)},
    optional={
        "refusal": st.none() | st.just("I cannot."),
        "name": names,
        "tool_calls": st.none() | st.lists(calls, max_size=2, unique_by=lambda call: call["id"]),
        **server_fields,
    },
)
messages = (
    st.fixed_dictionaries({"role": st.just("user"), "content": spoken, "name": names})
    | st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(parts, min_size=1, max_size=2)})
    | st.fixed_dictionaries({"role": st.sampled_from(["system", "developer"]), "content": texts})
    | answers
    | st.fixed_dictionaries({"role": st.just("tool"), "content": texts, "tool_call_id": ids, "name": names})
)


def _answered(turns: list[dict[str, Any]], answer: bool) -> list[dict[str, Any]]:
    """The conversation, with a tool message after it for every call where `answer`."""
    found = []
    for turn in turns:
        if answer and turn["role"] == "tool":
            continue
        found.append(turn)
        for call in (turn.get("tool_calls") or ()) if answer else ():
            found.append({"role": "tool", "tool_call_id": call["id"], "content": "4", "name": "track"})
    return found or turns


conversations = st.builds(_answered, st.lists(messages, min_size=1, max_size=5), st.booleans())
schemas = st.sampled_from(
    [
        None,
        {},
        {"type": "object", "properties": {"a": {"type": ["string", "null"], "maxLength": 3}}, "required": ["a"]},
        {"type": ["object", "null"], "properties": {"a": {"enum": ["x", None], "type": ["string", "null"]}}},
        {"properties": {"a": {"type": "array", "items": {"type": ["integer", "number"]}}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": ["null"]}}},
        {"type": "mystery"},
        {"not": {}},
        {"anyOf": [{"type": ["string", "null"]}, {"oneOf": [{"type": "integer"}]}]},
    ]
)
tools = st.builds(
    lambda name, parameters, strict: {
        "type": "function",
        "function": {"name": name, "parameters": parameters, "strict": strict, "description": None},
    },
    tool_names,
    schemas,
    st.none() | st.booleans(),
)
formats = st.sampled_from([None, {"type": "text"}, {"type": "json_object"}]) | schemas.map(
    lambda schema: {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": None}}
)
requests = st.fixed_dictionaries(
    {"messages": conversations},
    optional={
        "max_tokens": st.none() | st.just(5),
        "max_completion_tokens": st.none() | st.just(6),
        "temperature": st.sampled_from([None, 0, 1.5]),
        "top_p": st.sampled_from([None, 0.5]),
        "stop": st.sampled_from([None, "\n", " ", "END", ["\n", "END"], ["\n\n"]]),
        "response_format": formats,
        "tools": st.none() | st.lists(tools, max_size=2, unique_by=lambda tool: tool["function"]["name"]),
        "tool_choice": st.sampled_from(
            [None, "none", "auto", "required", {"type": "function", "function": {"name": "track"}}]
        ),
        "parallel_tool_calls": st.sampled_from([None, True, False]),
        "reasoning_effort": st.sampled_from([None, "none", "minimal", "low", "xhigh", "max"]),
        "verbosity": st.sampled_from([None, "low"]),
        "modalities": st.sampled_from([None, ["text"]]),
        "service_tier": st.sampled_from([None, "auto", "flex", "priority"]),
        "store": st.sampled_from([None, True, False]),
        "metadata": st.sampled_from([None, {"a": "b"}]),
        "logprobs": st.sampled_from([None, True]),
        "top_logprobs": st.sampled_from([None, 3]),
        "logit_bias": st.sampled_from([None, {"1": 5.0}]),
        "n": st.sampled_from([None, 1]),
        "stream": st.sampled_from([None, False]),
        "user": st.sampled_from([None, "u"]),
        "safety_identifier": st.sampled_from([None, "u"]),
        "prompt_cache_key": st.sampled_from([None, "k"]),
    },
)


def _taken(request: dict[str, Any]) -> Job:
    sent = {"id": "job-0123456789ab", "task": "chat", "request": request}
    read = decode_job(json.dumps(sent).encode(), None, "jobs.bulk.acme", 1.0)
    assert isinstance(read, Job), read
    return read


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(sent=requests, own_key=st.booleans())
@pytest.mark.parametrize(("wire", "check"), WIRES)
def test_every_wire_sends_what_its_api_takes_or_refuses_it_by_field(
    wire: Any, check: Any, sent: dict[str, Any], own_key: bool
) -> None:
    job = _taken(sent)
    try:
        body = wire.encode(job.request, own_key=own_key)
    except InvalidJob as refused:
        assert refused.field.startswith("request.")
        return
    check(body)
    assert own_key or not body.keys() & {"service_tier", "store"}


def _read(body: Any) -> Any:
    """What a model reads: no marks, and a text that is a list of one text as that text."""
    if isinstance(body, dict):
        return {name: _read(value) for name, value in body.items() if name not in MARKS}
    if isinstance(body, list):
        texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in body]
        return texts[0] if len(texts) == 1 and texts[0] is not None else [_read(each) for each in body]
    return body


MARKS = {"cache_control", "prompt_cache_breakpoint", "prompt_cache_options", "prompt_cache_key"}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=30)
@given(sent=requests, life=st.sampled_from([None, *Life]))
@pytest.mark.parametrize(("wire", "check"), WIRES)
def test_a_mark_changes_nothing_that_a_model_reads(
    wire: Any, check: Any, sent: dict[str, Any], life: Life | None
) -> None:
    try:
        body = wire.encode(_taken(sent).request)
    except InvalidJob:
        return
    marked = wire.marked(body, Mark(life, MarkReason.PAYS), "key") if wire.beginning(body) else body
    assert _read(marked) == _read(body)
    check({name: value for name, value in marked.items() if name != "prompt_cache_options"})
