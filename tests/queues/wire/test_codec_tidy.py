"""Null means absent, and an answer can be sent back as history, whoever gave it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet.model.chat import tidy
from fleet.model.feedback import Feedback, Witness
from fleet.model.job import Job
from queues.wire.feedback import decode_feedback
from queues.wire.job import decode_job

USER = {"role": "user", "content": "Remind me."}
CALL = {"id": "functions.track:0", "type": "function", "function": {"name": "track", "arguments": "{}"}}


def job_of(request: dict[str, Any], **envelope: Any) -> Job:
    sent = {"id": "job-0123456789ab", "task": "chat", "request": {"messages": [USER], **request}, **envelope}
    read = decode_job(json.dumps(sent).encode(), None, "jobs.bulk.acme", 1.0)
    assert isinstance(read, Job), read
    return read


NULLABLE = [
    "model", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "stream", "stop", "seed",
    "response_format", "tools", "tool_choice", "parallel_tool_calls", "frequency_penalty", "presence_penalty",
    "logit_bias", "logprobs", "top_logprobs", "reasoning_effort", "verbosity", "modalities", "user", "metadata",
    "store", "service_tier", "stream_options", "audio", "prediction", "functions", "function_call",
]  # fmt: skip


@pytest.mark.parametrize("name", NULLABLE)
def test_a_field_of_a_request_that_is_null_is_absent(name: str) -> None:
    assert job_of({name: None}).request == {"messages": [USER]}


@pytest.mark.parametrize(
    "name",
    ["schema", "tenant", "lane", "tier", "plan", "deadline", "not_before", "max_cost_usd", "cloud", "own_key", "above",
     "metadata", "priority"],
)  # fmt: skip
def test_a_field_of_a_job_that_is_null_is_absent(name: str) -> None:
    assert job_of({}, **{name: None}) == job_of({})


def test_a_value_of_the_metadata_that_is_null_is_absent() -> None:
    assert job_of({}, metadata={"user": None, "team": "a"}).metadata == {"team": "a"}


def test_a_null_limit_leaves_the_other_name_in_force() -> None:
    assert job_of({"max_completion_tokens": None, "max_tokens": 50}).request["max_tokens"] == 50


def test_nulls_inside_messages_tools_and_formats_are_absent() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://img.example/1.png", "detail": None}}
    request = job_of(
        {
            "messages": [
                {"role": "user", "name": None, "tool_calls": None, "content": [image]},
                {"role": "assistant", "content": None, "refusal": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": CALL["id"], "content": "4", "name": None},
            ],
            "tools": [{"type": "function", "function": {"name": "track", "description": None, "parameters": None}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": None, "schema": None}},
        }
    ).request

    assert request == {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://img.example/1.png"}}]},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": CALL["id"], "content": "4"},
        ],
        "tools": [{"type": "function", "function": {"name": "track"}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n"}},
    }


def test_a_null_inside_a_schema_is_a_value() -> None:
    schema = {"enum": ["a", None], "default": None}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": schema}}}
    assert job_of({"tools": [tool]}).request["tools"] == [tool]


def test_a_null_in_feedback_is_absent() -> None:
    sent = {"id": "feedback-0123456789", "job_id": "job-0123456789ab", "verdict": "good", "source": None, "x": None}
    read = decode_feedback(json.dumps(sent).encode(), "feedback.acme", 1.0)
    assert isinstance(read, Feedback)
    assert read.source is Witness.USER


@pytest.mark.parametrize(
    ("answer", "history"),
    [
        ({"content": "Yes."}, {"content": "Yes."}),
        ({"content": "Yes.", "reasoning": "hm", "annotations": [], "audio": None}, {"content": "Yes."}),
        ({"content": "Yes.", "refusal": None, "function_call": None, "tool_calls": None}, {"content": "Yes."}),
        ({"content": "Yes.", "reasoning_content": "hm", "executed_tools": [{}]}, {"content": "Yes."}),
        ({"content": ""}, {"content": ""}),
        ({"content": None}, {"content": ""}),
        ({"content": []}, {"content": ""}),
        ({"content": None, "reasoning": "hm", "tool_calls": []}, {"content": ""}),
        ({"content": None, "refusal": "I cannot."}, {"content": "I cannot."}),
        ({"refusal": "I cannot."}, {"content": "I cannot."}),
        (
            {"content": [{"type": "refusal", "refusal": "I cannot."}]},
            {"content": [{"type": "text", "text": "I cannot."}]},
        ),
        ({"content": None, "tool_calls": [{**CALL, "index": 0}]}, {"tool_calls": [CALL]}),
        ({"content": "", "tool_calls": [CALL]}, {"content": "", "tool_calls": [CALL]}),
    ],
)
def test_an_answer_can_be_sent_back_as_history(answer: dict[str, Any], history: dict[str, Any]) -> None:
    turns = [USER, {"role": "assistant", **answer}, USER]
    request = job_of({"messages": turns}).request

    assert request["messages"] == [USER, {"role": "assistant", **history}, USER]
    assert tidy(request) == request


def test_parts_of_an_answer_may_have_fields_that_nobody_knows() -> None:
    part = {"type": "text", "text": "Paris.", "annotations": [], "citations": None}
    call = {"id": "call_1", "type": "function", "function": {"name": "a", "arguments": "{}"}}
    sent = [{"role": "assistant", "content": [part]}, {"role": "assistant", "content": [], "tool_calls": [call]}]
    history = job_of({"messages": [USER, *sent]}).request["messages"][1:]
    assert history == [
        {"role": "assistant", "content": [{"type": "text", "text": "Paris."}]},
        {"role": "assistant", "tool_calls": [call]},
    ]


def test_a_tool_message_may_name_its_tool() -> None:
    result = {"role": "tool", "tool_call_id": "call_1", "content": "4"}
    assert job_of({"messages": [USER, {**result, "name": "track"}]}).request["messages"] == [USER, result]


def test_choosing_among_no_tools_is_choosing_nothing() -> None:
    nothing = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
    assert job_of(nothing).request == {"messages": [USER]}
