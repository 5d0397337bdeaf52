"""Which fields of a job's request reach which server of the OpenAI format."""

from __future__ import annotations

import pytest

from fleet.providers.openai_wire import OpenAIWire

REQUEST = {
    "model": "auto",
    "messages": [{"role": "user", "content": "Hello", "name": "ada"}],
    "temperature": 0.2,
    "max_tokens": 20,
    "response_format": {"type": "json_object"},
    "logit_bias": {"50256": -100},
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
EXTRA = {"logit_bias", "service_tier", "store", "metadata"}


@pytest.mark.parametrize(
    ("provider", "fields"),
    [
        ("openai", ALWAYS | EXTRA | {"max_completion_tokens"}),
        ("groq", ALWAYS | {"max_tokens"}),
        ("example-cloud", ALWAYS | EXTRA | {"max_tokens"}),
    ],
)
def test_each_server_gets_the_fields_it_takes(target, provider, fields):
    assert set(OpenAIWire(target(provider)).encode(REQUEST)) == fields


def test_what_is_sent_is_unchanged_but_for_the_model(target):
    body = OpenAIWire(target("example-cloud")).encode(REQUEST)
    assert body["model"] == "example-cloud-model-7"
    assert all(body[name] == REQUEST[name] for name in body if name != "model")


def test_groq_hears_no_names_and_the_job_keeps_them(target):
    body = OpenAIWire(target("groq")).encode(REQUEST)
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert REQUEST["messages"][0]["name"] == "ada"


def test_the_newer_limit_wins_where_a_job_sets_both(target):
    body = OpenAIWire(target("openai")).encode(REQUEST | {"max_completion_tokens": 7})
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body
