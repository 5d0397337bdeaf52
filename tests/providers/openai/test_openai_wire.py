"""Which fields of a job's request reach which server of the OpenAI format."""

from __future__ import annotations

import json

import pytest
from fault_server import chat_completion

from fleet.model.errors import InvalidJob
from fleet.model.target import Capability
from fleet.providers.openai.wire import OpenAIWire

REQUEST = {
    "model": "auto",
    "messages": [{"role": "user", "content": "Hello", "name": "ada"}],
    "temperature": 0.2,
    "max_tokens": 20,
    "response_format": {"type": "json_object"},
    "service_tier": "priority",
    "store": True,
    "metadata": {"a": "b"},
    "stream": True,
    "stream_options": {"include_usage": True},
    "n": 3,
    "logprobs": True,
    "top_logprobs": 20,
}
ALWAYS = {"model", "messages", "temperature", "response_format"}
OWN_KEY = {"service_tier", "store", "metadata"}


@pytest.mark.parametrize(
    ("provider", "fields"),
    [
        ("openai", ALWAYS | {"max_completion_tokens"}),
        ("groq", ALWAYS | {"max_tokens"}),
        ("example-cloud", ALWAYS | {"max_tokens"}),
    ],
)
def test_each_server_gets_the_fields_it_takes_and_none_that_changes_the_price(target, provider, fields):
    assert set(OpenAIWire(target(provider)).encode(REQUEST)) == fields


@pytest.mark.parametrize(("provider", "own"), [("openai", OWN_KEY), ("groq", set()), ("example-cloud", OWN_KEY)])
def test_a_tenants_own_key_may_pay_for_a_tier_and_store_in_its_own_account(target, provider, own):
    wire = OpenAIWire(target(provider))
    assert set(wire.encode(REQUEST, own_key=True)) - set(wire.encode(REQUEST)) == own


def test_metadata_goes_to_openai_only_with_what_is_stored(target):
    body = OpenAIWire(target("openai")).encode(REQUEST | {"store": None}, own_key=True)
    assert not body.keys() & {"store", "metadata"}


@pytest.mark.parametrize("provider", ["openai", "groq", "example-cloud"])
def test_a_null_limit_does_not_hide_the_other(target, provider):
    body = OpenAIWire(target(provider)).encode({**REQUEST, "max_completion_tokens": None, "max_tokens": 50})
    assert {body.get("max_tokens"), body.get("max_completion_tokens")} == {50, None}
    assert None not in body.values()


@pytest.mark.parametrize(
    ("provider", "capabilities", "asked", "sent"),
    [
        ("openai", [], "high", None),
        ("openai", [Capability.REASONING], "xhigh", "xhigh"),
        ("groq", [], "high", None),
        ("groq", [Capability.REASONING], "minimal", "low"),
        ("groq", [Capability.REASONING], "none", "low"),
        ("groq", [Capability.REASONING], "medium", "medium"),
        ("groq", [Capability.REASONING], "xhigh", "high"),
        ("groq", [Capability.REASONING], "max", "high"),
        ("example-cloud", [], "high", None),
    ],
)
def test_an_effort_goes_only_to_models_that_reason_in_words_they_know(target, provider, capabilities, asked, sent):
    body = OpenAIWire(target(provider, *capabilities)).encode(REQUEST | {"reasoning_effort": asked})
    assert body.get("reasoning_effort") == sent


def test_a_reasoning_model_of_openai_hears_nothing_of_sampling_or_log_probabilities(target):
    wire = OpenAIWire(target("openai", Capability.REASONING, Capability.LOGPROBS))
    asked = {"top_p": 0.5, "frequency_penalty": 1, "presence_penalty": 1, "stop": "END", "verbosity": "low"}
    body = wire.encode(REQUEST | asked)
    assert set(body) == {"model", "messages", "response_format", "max_completion_tokens", "verbosity"}


def test_a_stop_that_could_not_be_sent_cuts_the_answer_all_the_same(target):
    reply = json.dumps(chat_completion("a END b", "m")).encode()
    request = REQUEST | {"stop": ["END"]}
    assert OpenAIWire(target("openai", Capability.REASONING)).decode(reply, request).message["content"] == "a "
    assert OpenAIWire(target("openai")).decode(reply, request).message["content"] == "a END b"


FILE = {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}


@pytest.mark.parametrize("provider", ["openai", "example-cloud"])
def test_a_file_of_an_account_is_refused_on_the_fleets_key(target, provider):
    wire = OpenAIWire(target(provider))
    with pytest.raises(InvalidJob) as refused:
        wire.encode(FILE)
    assert refused.value.field == "request.messages.0.content.0.file.file_id"
    assert wire.encode(FILE, own_key=True)["messages"] == FILE["messages"]


def test_what_is_sent_is_unchanged_but_for_the_model(target):
    body = OpenAIWire(target("example-cloud")).encode(REQUEST)
    assert body["model"] == "example-cloud-model-7"
    assert all(body[name] == REQUEST[name] for name in body if name != "model")


def test_groq_hears_no_names_and_the_job_keeps_them(target):
    body = OpenAIWire(target("groq")).encode(REQUEST | {"response_format": None})
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert REQUEST["messages"][0]["name"] == "ada"


def test_the_newer_limit_wins_where_a_job_sets_both(target):
    body = OpenAIWire(target("openai")).encode(REQUEST | {"max_completion_tokens": 7})
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body


def _with(**fields):
    return {"messages": [{"role": "user", "content": "Hello"}], **fields}


def _tool(parameters):
    return {"type": "function", "function": {"name": "track", "parameters": parameters}}


def _schema(name, schema):
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


@pytest.mark.parametrize(
    "parameters", [{}, {"type": "object"}, {"type": "object", "properties": None, "required": None}]
)
def test_a_tools_parameters_are_an_object_with_properties_at_openai(target, parameters):
    body = OpenAIWire(target("openai")).encode(_with(tools=[_tool(parameters)]))
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}


def test_the_name_of_a_schema_is_in_openais_characters(target):
    body = OpenAIWire(target("openai")).encode(_with(response_format=_schema("My answer!", {"type": "object"})))
    assert body["response_format"]["json_schema"]["name"] == "My_answer_"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tools": [_tool({"anyOf": [{"type": "object"}]})]}, "request.tools.0.function.parameters.anyOf"),
        ({"tools": [_tool({"type": "object", "not": {}})]}, "request.tools.0.function.parameters.not"),
        ({"response_format": _schema("n", {"type": "array"})}, "request.response_format.json_schema.schema.type"),
    ],
)
def test_a_schema_that_openai_does_not_take_is_refused_by_field(target, fields, field):
    with pytest.raises(InvalidJob) as refused:
        OpenAIWire(target("openai")).encode(_with(**fields))
    assert refused.value.field == field
    assert OpenAIWire(target("example-cloud")).encode(_with(**fields)).items() >= fields.items()
