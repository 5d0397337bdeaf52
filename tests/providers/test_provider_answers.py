"""A good answer's way through the real SDKs: what is asked, with which key, and what comes of it."""

from __future__ import annotations

import math

import pytest
from fault_server import Scripted, anthropic_message, chat_completion
from patience import PATIENCE_SECONDS

from fleet.model.attempt import Answer, FailureKind, Usage
from fleet.model.call import Call
from fleet.model.errors import BackendUnavailable
from fleet.model.target import Capability
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build

REQUEST = {"model": "auto", "messages": [{"role": "user", "content": "Capital of France?"}]}
CALL = Call(REQUEST, timeout_seconds=PATIENCE_SECONDS)

PATHS = {"openai": "/v1/chat/completions", "groq": "/openai/v1/chat/completions", "anthropic": "/v1/messages"}


async def test_an_answer_is_the_same_whoever_gives_it(backend, outcomes, fault_server, provider):
    [answer] = await outcomes(backend, CALL)
    assert isinstance(answer, Answer)
    assert answer.message["role"] == "assistant"
    assert answer.message["content"] == "Paris."
    assert answer.finish_reason == "stop"
    assert answer.usage == Usage(input_tokens=11, output_tokens=7)
    assert answer.model == f"{provider}-model-7"
    assert answer.features is None
    [request] = fault_server.received
    assert request.path == PATHS[provider]
    assert request.body["model"] == f"{provider}-model-7"


@pytest.mark.parametrize("reference", [None, "mine"])
async def test_the_key_is_the_fleets_or_the_tenants(backend, outcomes, fault_server, provider, keys, reference):
    await outcomes(backend, Call(REQUEST, 30.0, own_key=reference))
    name = f"{provider.upper()}_API_KEY" if reference is None else f"FLEET_KEY_{provider.upper()}_mine"
    sent = fault_server.received[0].headers
    assert keys[name] in (sent.get("authorization", "").removeprefix("Bearer "), sent.get("x-api-key"))
    assert sum(value.count("planted") for value in sent.values()) == 1


@pytest.mark.parametrize("reference", ["nobody", "", "../mine", "sk-a-key-instead-of-its-name", "mine mine"])
async def test_a_key_nobody_has_is_refused_without_a_request(backend, outcomes, fault_server, provider, reference):
    [failure] = await outcomes(backend, Call(REQUEST, 30.0, own_key=reference))
    assert failure.kind is FailureKind.AUTHENTICATION
    assert failure.detail == f"no usable key for {provider}"
    assert fault_server.received == []


async def test_a_key_is_read_anew_for_every_call(fault_server, target, outcomes):
    environ = {"OPENAI_API_KEY": "sk-first"}
    backend = build(target("openai"), ProviderSettings(fault_server.base_urls), EnvironmentKeyRing(environ))
    await outcomes(backend, CALL)
    environ["OPENAI_API_KEY"] = "sk-second"
    await outcomes(backend, CALL)
    await backend.close()
    assert [request.headers["authorization"] for request in fault_server.received] == [
        "Bearer sk-first",
        "Bearer sk-second",
    ]


async def test_openai_is_asked_for_log_probabilities_where_the_target_gives_them(fault_server, target, outcomes, keys):
    fault_server.logprobs = [
        {"token": "Par", "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -2.6}]},
        {"token": "is", "logprob": -0.3, "top_logprobs": [{"logprob": -0.3}, {"logprob": -1.8}]},
    ]
    settings = ProviderSettings(fault_server.base_urls)
    backend = build(target("openai", Capability.LOGPROBS), settings, EnvironmentKeyRing(keys))
    [answer] = await outcomes(backend, CALL)
    await backend.close()
    assert fault_server.received[0].body["logprobs"] is True
    assert fault_server.received[0].body["top_logprobs"] == 5
    assert answer.features.count == 2
    assert math.isclose(answer.features.sum, -0.4)
    assert math.isclose(answer.features.margin, 2.0)


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("openai", chat_completion("", "m") | {"choices": [{"message": {}, "finish_reason": "content_filter"}]}),
        ("groq", chat_completion("", "m") | {"choices": [{"message": {}, "finish_reason": "content_filter"}]}),
        ("anthropic", anthropic_message("I cannot", "m") | {"stop_reason": "refusal"}),
    ],
)
async def test_a_withheld_answer_is_a_content_filter_failure(backend, outcomes, fault_server, body):
    fault_server.script(Scripted(body=body))
    [failure] = await outcomes(backend, CALL)
    assert failure.kind is FailureKind.CONTENT_FILTER


@pytest.mark.parametrize("provider", ["openai", "groq"])
async def test_a_reply_without_choices_is_malformed(backend, outcomes, fault_server):
    fault_server.script(Scripted(body=chat_completion("", "m") | {"choices": []}))
    [failure] = await outcomes(backend, CALL)
    assert failure.kind is FailureKind.MALFORMED


def test_a_provider_nobody_knows_cannot_be_built(target):
    with pytest.raises(BackendUnavailable, match="example-cloud"):
        build(target("example-cloud"), ProviderSettings(), EnvironmentKeyRing({}))
