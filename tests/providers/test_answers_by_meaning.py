"""What a reply means, in whatever words and shapes its server puts it; and that it can be sent back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fault_server import anthropic_message, chat_completion
from pydantic import ValidationError
from strict_apis import check_anthropic, check_groq, check_openai

from fleet.model.attempt import Answer, Failure, FailureKind
from fleet.model.job import Job
from fleet.providers.anthropic.wire import AnthropicWire
from fleet.providers.openai.wire import OpenAIWire
from queues.wire.job import decode_job

CALL = {"id": "call_1", "type": "function", "function": {"name": "track", "arguments": "{}"}}
SAID = {"role": "assistant", "content": "Paris."}
BROKEN, WITHHELD = FailureKind.MALFORMED, FailureKind.CONTENT_FILTER
USER = {"role": "user", "content": "Capital of France?"}


def _openai(finish_reason: Any, message: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return json.dumps(chat_completion("", "m") | {"choices": [choice]}).encode()


@pytest.fixture
def openai(target):
    return OpenAIWire(target("example-cloud"))


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("stop", "stop"), ("end_turn", "stop"), ("stop_sequence", "stop"), ("eos", "stop"), ("eos_token", "stop"),
        ("COMPLETE", "stop"), ("STOP", "stop"), ("", "stop"), (None, "stop"), ("a_word_nobody_knows", "stop"),
        ("length", "length"), ("max_tokens", "length"), ("MAX_TOKENS", "length"), ("model_length", "length"),
        ("max_output_tokens", "length"), ("model_context_window_exceeded", "length"),
        ("content_filter", WITHHELD), ("SAFETY", WITHHELD), ("refusal", WITHHELD), ("RECITATION", WITHHELD),
        ("error", BROKEN), ("abort", BROKEN), ("cancelled", BROKEN), ("network_error", BROKEN),
        ("insufficient_system_resource", BROKEN), ("timeout", BROKEN), ("pause_turn", BROKEN),
        ("MALFORMED_FUNCTION_CALL", BROKEN), ("failed", BROKEN), ("incomplete", BROKEN),
    ],
)  # fmt: skip
def test_a_finish_reason_counts_by_its_meaning(openai, word, meaning):
    outcome = openai.decode(_openai(word, SAID))
    assert (outcome.kind if isinstance(outcome, Failure) else outcome.finish_reason) == meaning


@pytest.mark.parametrize(
    ("word", "meaning"),
    [("end_turn", "stop"), ("max_tokens", "length"), ("refusal", WITHHELD), ("pause_turn", BROKEN), (None, "stop")],
)
def test_so_does_a_stop_reason_of_anthropic(target, word, meaning):
    reply = json.dumps(anthropic_message("Paris.", "m") | {"stop_reason": word}).encode()
    outcome = AnthropicWire(target("anthropic")).decode(reply)
    assert (outcome.kind if isinstance(outcome, Failure) else outcome.finish_reason) == meaning


@pytest.mark.parametrize(
    ("message", "finish_reason", "content"),
    [
        ({"role": "", "content": "Paris."}, "stop", "Paris."),
        ({"role": None, "content": "Paris."}, "stop", "Paris."),
        ({"role": "model", "content": "Paris."}, "stop", "Paris."),
        ({"content": "Paris."}, "stop", "Paris."),
        ({"content": [{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris."}]}, "stop", "Paris."),
        ({"content": ["Paris."]}, "stop", "Paris."),
        ({"content": [None, 5, {"type": "text", "text": {"value": "no"}}, "Paris."]}, "stop", "Paris."),
        ({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Paris."}]}, "stop", "Paris."),
        ({"content": None, "refusal": "I cannot."}, "stop", None),
        ({"content": None, "tool_calls": [CALL]}, "tool_calls", None),
        ({"content": "", "tool_calls": [{**CALL, "id": None, "type": None}]}, "tool_calls", ""),
        ({"content": "Paris.", "tool_calls": []}, "stop", "Paris."),
        ({"content": "Paris.", "tool_calls": None, "audio": None, "function_call": None}, "stop", "Paris."),
    ],
)
def test_an_answer_of_an_odd_shape_is_an_answer(openai, message, finish_reason, content):
    answer = openai.decode(_openai("stop", message))
    assert isinstance(answer, Answer)
    assert answer.message["role"] == "assistant"
    assert answer.message["content"] == content
    assert answer.finish_reason == finish_reason


def test_the_arguments_of_a_call_are_text_however_they_came(openai):
    function = {"name": "track", "arguments": {"a": 1}}
    answer = openai.decode(_openai("tool_calls", {"tool_calls": [{"function": function}]}))
    named = {"name": "track", "arguments": '{"a": 1}'}
    assert answer.message["tool_calls"] == [{"id": "call_0", "type": "function", "function": named}]


@pytest.mark.parametrize("logprobs", [[], {"content": [{"logprob": None}]}, {"content": {}}, "none"])
def test_an_answer_is_not_lost_for_its_log_probabilities(openai, logprobs):
    choice = {"message": SAID, "finish_reason": "stop", "logprobs": logprobs}
    answer = openai.decode(json.dumps(chat_completion("", "m") | {"choices": [choice]}).encode())
    assert (answer.message["content"], answer.features) == ("Paris.", None)


def test_a_call_of_no_tool_is_no_answer(openai):
    with pytest.raises(ValidationError):
        openai.decode(_openai("tool_calls", {"tool_calls": [{**CALL, "function": {"name": "", "arguments": "{}"}}]}))


def test_what_is_null_in_a_block_of_anthropic_is_absent(target):
    blocks = [
        {"type": "web_search_tool_result", "id": None, "name": None, "text": None},
        {"type": "text", "text": None},
        {"type": "text", "text": "Paris."},
        {"type": "tool_use", "id": None, "name": "track", "input": None},
        {"type": "tool_use", "name": "track", "input": {}},
    ]
    reply = json.dumps(anthropic_message("", "m") | {"content": blocks, "stop_reason": "tool_use"}).encode()
    message = AnthropicWire(target("anthropic")).decode(reply).message
    assert message["content"] == "Paris."
    assert [call["id"] for call in message["tool_calls"]] == ["call_0", "call_1"]


@pytest.mark.parametrize("word", [None, "", "tool_calls"])
@pytest.mark.parametrize("message", [{}, {"content": None}, {"content": ""}, {"content": [], "tool_calls": []}])
def test_a_reply_without_an_answer_and_without_a_reason_is_none(openai, word, message):
    assert openai.decode(_openai(word, message)).kind is BROKEN


ANSWERS = [
    {"content": "Paris.", "reasoning": "hm", "annotations": [{"type": "url_citation"}], "refusal": None},
    {"content": None, "refusal": "I cannot."},
    {"content": ""},
    {"content": " \n"},
    {"content": "", "tool_calls": [{**CALL, "id": "functions.track:0", "index": 0}]},
    {"content": None, "tool_calls": [{"function": {"name": "track now", "arguments": {"a": None}}}]},
    {"content": [{"type": "text", "text": "Paris."}]},
    {"content": None, "tool_calls": [CALL, CALL, {**CALL, "id": ""}, {**CALL, "id": "call_2"}]},
    {"content": None, "tool_calls": [{**CALL, "function": {"name": "mcp.server/" + 70 * "x", "arguments": "{}"}}]},
]
TO = [("openai", OpenAIWire, check_openai), ("groq", OpenAIWire, check_groq),
      ("anthropic", AnthropicWire, check_anthropic)]  # fmt: skip


@pytest.mark.parametrize("message", ANSWERS)
@pytest.mark.parametrize(("provider", "wire", "check"), TO)
def test_every_answer_can_be_sent_back_to_everyone(openai, target, message, provider, wire, check):
    said = dict(openai.decode(_openai("stop", message)).message)
    results = [
        {"role": "tool", "tool_call_id": call["id"], "name": "track", "content": "4"}
        for call in said.get("tool_calls") or ()
    ]
    sent = {"id": "job-0123456789ab", "task": "chat", "request": {"messages": [USER, said, *results, USER]}}

    job = decode_job(json.dumps(sent).encode(), None, "jobs.bulk.acme", 1.0)

    assert isinstance(job, Job)
    check(wire(target(provider)).encode(job.request))
