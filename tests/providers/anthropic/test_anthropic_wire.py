"""The translation to and from Anthropic's Messages API."""

from __future__ import annotations

import json

import pytest
from fault_server import anthropic_message

from fleet.model.attempt import Usage
from fleet.model.errors import InvalidJob
from fleet.providers.anthropic.wire import DEFAULT_MAX_TOKENS, JSON_ONLY, AnthropicWire

USER = {"role": "user", "content": "Hello"}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Now", "parameters": {"type": "object"}, "strict": True},
}


@pytest.fixture
def encode(target):
    wire = AnthropicWire(target("anthropic"))
    return lambda *messages, **rest: wire.encode({"model": "auto", "messages": list(messages) or [USER], **rest})


def test_a_plain_request_holds_what_the_api_demands_and_no_more(encode):
    assert encode() == {
        "model": "anthropic-model-7",
        "max_tokens": DEFAULT_MAX_TOKENS,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    }


@pytest.mark.parametrize(
    ("given", "limit"),
    [({"max_tokens": 5}, 5), ({"max_completion_tokens": 6}, 6), ({"max_tokens": 5, "max_completion_tokens": 6}, 6)],
)
def test_the_limit_of_tokens_is_the_jobs(encode, given, limit):
    assert encode(**given)["max_tokens"] == limit


def test_system_and_developer_messages_move_out_of_the_conversation(encode):
    parts = [{"type": "text", "text": "Be kind."}]
    body = encode({"role": "system", "content": "Be brief."}, USER, {"role": "developer", "content": parts})
    assert body["system"] == "Be brief.\n\nBe kind."
    assert [turn["role"] for turn in body["messages"]] == ["user"]


@pytest.mark.parametrize(("stop", "sequences"), [("END", ["END"]), (["a", "b"], ["a", "b"])])
def test_stop_becomes_stop_sequences(encode, stop, sequences):
    assert encode(stop=stop)["stop_sequences"] == sequences


@pytest.mark.parametrize(
    "field", ["temperature", "top_p", "seed", "presence_penalty", "logprobs", "n", "stream", "user"]
)
def test_what_the_api_does_not_take_is_left_out(encode, field):
    assert encode(**{field: 1}) == encode()


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://example.com/a.png", {"type": "url", "url": "https://example.com/a.png"}),
        ("data:image/png;base64,AAAA", {"type": "base64", "media_type": "image/png", "data": "AAAA"}),
    ],
)
def test_images_become_image_blocks(encode, url, source):
    body = encode({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]})
    assert body["messages"][0]["content"] == [{"type": "image", "source": source}]


def test_a_conversation_with_tools_keeps_calls_and_results_together(encode):
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    body = encode(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 C"},
        tools=[WEATHER],
    )
    assert body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}}
    ]
    assert body["messages"][2] == {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "18 C"}],
    }
    assert body["tools"] == [
        {
            "name": "weather",
            "description": "Now",
            "strict": True,
            "input_schema": {"type": "object", "properties": {}, "additionalProperties": False},
        }
    ]


@pytest.mark.parametrize(
    ("asked", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}, "parallel_tool_calls": False},
            {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_tool_choice_has_a_counterpart(encode, asked, choice):
    assert encode(tools=[WEATHER], **asked).get("tool_choice") == choice


def test_a_schema_for_the_answer_becomes_an_output_format(encode):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    body = encode(response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema}})
    assert body["output_config"]["format"]["type"] == "json_schema"
    assert body["output_config"]["format"]["schema"]["properties"] == {"city": {"type": "string"}}
    assert body["output_config"]["format"]["schema"]["additionalProperties"] is False


def test_any_json_object_is_asked_for_in_words(encode):
    assert encode(response_format={"type": "json_object"})["system"] == JSON_ONLY


@pytest.mark.parametrize(
    ("messages", "rest", "field"),
    [
        ([{"role": "user", "content": [{"type": "input_audio"}]}], {}, "request.messages.0.content.0.type"),
        ([USER, {"role": "function", "content": "x"}], {}, "request.messages.1.role"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://example.com"}}]}],
            {},
            "request.messages.0.content.0.image_url.url",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]}],
            {},
            "request.messages.0.tool_calls.0.function.arguments",
        ),
        ([USER], {"tools": [WEATHER], "tool_choice": {"type": "custom"}}, "request.tool_choice"),
        (
            [USER],
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "mystery"}}}},
            "request.response_format.json_schema.schema",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], {}, "request"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(encode, messages, rest, field):
    with pytest.raises(InvalidJob) as refused:
        encode(*messages, **rest)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
    ],
)
def test_stop_reasons_are_told_in_openai_words(target, stop_reason, finish_reason):
    reply = anthropic_message("Hi", "m") | {"stop_reason": stop_reason}
    assert AnthropicWire(target("anthropic")).decode(json.dumps(reply).encode()).finish_reason == finish_reason


def test_thinking_is_dropped_and_tool_use_becomes_tool_calls(target):
    reply = anthropic_message("", "m") | {
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 10, "output_tokens": 4},
    }
    answer = AnthropicWire(target("anthropic")).decode(json.dumps(reply).encode())
    call = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    assert answer.message == {"role": "assistant", "content": None, "tool_calls": [call]}
    assert answer.usage == Usage(13, 4, cached_input_tokens=10)


USER_TURN = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
TRACK = {"id": "functions.track:0", "type": "function", "function": {"name": "track", "arguments": "{}"}}
TRACKED = {"role": "tool", "tool_call_id": "functions.track:0", "content": "there"}


@pytest.mark.parametrize(("stop", "sent"), [("\n", None), (["\n", "END", " "], ["END"]), (["\n\n"], None)])
def test_a_blank_stop_is_not_sent_and_cuts_the_answer_all_the_same(target, encode, stop, sent):
    assert encode(stop=stop).get("stop_sequences") == sent
    reply = json.dumps(anthropic_message("one\n\ntwo", "m")).encode()
    answer = AnthropicWire(target("anthropic")).decode(reply, {"messages": [USER], "stop": stop})
    assert answer.message["content"] == "one"
    assert answer.finish_reason == "stop"


def test_a_system_message_alone_is_what_the_user_says(encode):
    body = encode({"role": "system", "content": "Tell a joke."})
    assert "system" not in body
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Tell a joke."}]}]


@pytest.mark.parametrize("blank", ["", " \n", None])
def test_a_blank_turn_of_the_assistant_is_left_out(encode, blank):
    assert encode(USER, {"role": "assistant", "content": blank}, USER)["messages"] == [
        {"role": "user", "content": USER_TURN["content"] * 2}
    ]


def test_a_conversation_goes_from_a_user_to_a_user(encode):
    turns = encode({"role": "assistant", "content": "Hi "}, USER, {"role": "assistant", "content": "So "})["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant", "user"]


def test_ids_of_calls_are_made_of_the_apis_characters_and_used_once(encode):
    said = {"role": "assistant", "content": None, "tool_calls": [TRACK]}
    turns = encode(USER, said, TRACKED, said, TRACKED, tools=[WEATHER])["messages"]
    first, second = turns[1]["content"][0]["id"], turns[3]["content"][0]["id"]
    assert first != second
    assert [turn["content"][0]["tool_use_id"] for turn in turns[2::2]] == [first, second]
    assert (first + second).replace("_", "").isalnum()


def test_results_of_tools_come_first_in_one_turn(encode):
    second = {**TRACK, "id": "call_2"}
    said = {"role": "assistant", "content": None, "tool_calls": [TRACK, second]}
    body = encode(USER, said, TRACKED, {**TRACKED, "tool_call_id": "call_2"}, USER)
    assert [block["type"] for block in body["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]
    assert body["tools"] == [{"name": "track", "input_schema": {"type": "object", "properties": {}}}]
    assert body["tool_choice"] == {"type": "none"}


def test_a_list_of_types_is_a_choice_of_types(encode):
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"], "description": "A"}}}
    body = encode(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})
    assert body["output_config"]["format"]["schema"]["properties"]["a"] == {
        "anyOf": [{"type": "string"}, {"type": "null"}],
        "description": "A",
    }


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([{"role": "user", "content": " "}], "request.messages"),
        ([USER, TRACKED], "request.messages.1.tool_call_id"),
        ([USER, {"role": "assistant", "tool_calls": [TRACK]}, USER], "request.messages.1.tool_calls"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/bmp;base64,AA=="}}]}],
            "request.messages.0.content.0.image_url.url",
        ),
        (
            [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}],
            "request.messages.0.content.0.file.file_data",
        ),
    ],
)
def test_what_cannot_be_said_in_turns_is_refused_by_name(encode, messages, field):
    with pytest.raises(InvalidJob) as refused:
        encode(*messages)
    assert refused.value.field == field


def _declared(name, parameters):
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


@pytest.mark.parametrize(
    ("tools", "field"),
    [
        ([_declared("a", None), _declared("a", None)], "request.tools.1.function.name"),
        ([_declared("a", {"oneOf": [{"type": "object"}]})], "request.tools.0.function.parameters.oneOf"),
        ([_declared("a", {"properties": {"a b": {}}})], "request.tools.0.function.parameters.properties"),
    ],
)
def test_tools_that_cannot_be_declared_are_refused_by_field(target, tools, field):
    with pytest.raises(InvalidJob) as refused:
        AnthropicWire(target("anthropic")).encode({"messages": [USER], "tools": tools})
    assert refused.value.field == field


@pytest.mark.parametrize("arguments", ['{"a": NaN}', '{"a": 1e400}', '{"a": [-Infinity]}'])
def test_arguments_no_json_can_hold_are_refused_by_field(target, arguments):
    call = {"id": "call_1", "type": "function", "function": {"name": "a", "arguments": arguments}}
    history = [
        USER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "4"},
    ]
    with pytest.raises(InvalidJob) as refused:
        AnthropicWire(target("anthropic")).encode({"messages": history})
    assert refused.value.field == "request.messages.1.tool_calls.0.function.arguments"
