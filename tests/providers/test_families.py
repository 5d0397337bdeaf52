"""What each family of models that reason is sent, through the real SDKs, and how its API would judge that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fault_server import FaultServer
from patience import PATIENCE_SECONDS
from strict_apis import check_anthropic, check_groq, check_openai

from fleet.model.attempt import Answer, Failure, FailureKind
from fleet.model.call import Call
from fleet.model.target import Capability, Effort, Reasoning
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build

NONE, LOW, MEDIUM, HIGH, XHIGH, MAX = (Effort(e) for e in ("none", "low", "medium", "high", "xhigh", "max"))
LUNA = Reasoning(2048, (NONE, LOW, MEDIUM, HIGH, XHIGH, MAX), with_tools=False)
SOL = Reasoning(2048, (LOW, MEDIUM, HIGH, XHIGH, MAX))
HAIKU = Reasoning(2048, (NONE, LOW, MEDIUM, HIGH))
SONNET = SOL
GPT_OSS = Reasoning(2048, (LOW, MEDIUM, HIGH))

SAID = {"messages": [{"role": "user", "content": "Capital of France?"}]}
HINTS = {"temperature": 0.2, "top_p": 0.9, "presence_penalty": 1, "frequency_penalty": 1, "seed": 7, "stop": "END"}
LIMITED = SAID | HINTS | {"max_tokens": 50, "logprobs": True, "top_logprobs": 3}
TOOL = {"type": "function", "function": {"name": "track", "parameters": {"type": "object"}}}
FORCED = LIMITED | {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "track"}}}


@pytest.fixture
def send(fault_server: FaultServer, target, outcomes, keys):
    """Sends a request to a model; returns the outcome, and the body that arrived (None if none did)."""

    async def run(provider: str, reasoning: Reasoning, request):
        able = (Capability.TEXT, Capability.TOOLS, Capability.LOGPROBS, Capability.REASONING)
        model = replace(target(provider, *able), reasoning=reasoning)
        backend = build(model, ProviderSettings(fault_server.base_urls), EnvironmentKeyRing(keys))
        [outcome] = await outcomes(backend, Call(request, PATIENCE_SECONDS))
        await backend.close()
        return outcome, fault_server.received[-1].body if fault_server.received else None

    return run


@pytest.mark.parametrize(
    ("reasoning", "asked", "sent"),
    [
        (LUNA, None, {"max_completion_tokens": 50}),
        (LUNA, "minimal", {"max_completion_tokens": 50, "reasoning_effort": "low"}),
        (LUNA, "max", {"max_completion_tokens": 50, "reasoning_effort": "max"}),
        (
            LUNA,
            "none",
            {
                "max_completion_tokens": 50,
                "reasoning_effort": "none",
                "temperature": 0.2,
                "top_p": 0.9,
                "logprobs": True,
                "top_logprobs": 5,
            },
        ),
        (SOL, "none", {"max_completion_tokens": 50, "reasoning_effort": "low"}),
    ],
)
async def test_openais_models_hear_of_sampling_only_while_they_do_not_think(send, reasoning, asked, sent):
    answer, body = await send("openai", reasoning, LIMITED | ({"reasoning_effort": asked} if asked else {}))
    assert isinstance(answer, Answer)
    check_openai(body, reasons=True)
    assert {name: body[name] for name in body if name not in ("model", "messages", "seed")} == sent


async def test_a_model_that_takes_tools_without_thinking_only_is_sent_them_so(send):
    _, body = await send("openai", LUNA, FORCED | {"reasoning_effort": "high"})
    assert body["reasoning_effort"] == "none"
    assert body["tool_choice"] == FORCED["tool_choice"]
    _, body = await send("openai", SOL, FORCED | {"reasoning_effort": "high"})
    assert body["reasoning_effort"] == "high"


@pytest.mark.parametrize(
    ("asked", "effort", "thinking"),
    [
        (None, None, None),
        ("none", None, {"type": "disabled"}),
        ("minimal", "low", None),
        ("medium", "medium", None),
        ("max", "high", None),
    ],
)
async def test_an_effort_reaches_anthropic_and_none_switches_thinking_off(send, asked, effort, thinking):
    _, body = await send("anthropic", HAIKU, LIMITED | ({"reasoning_effort": asked} if asked else {}))
    check_anthropic(body, thinks=True)
    assert (body.get("output_config", {}).get("effort"), body.get("thinking")) == (effort, thinking)
    assert body["max_tokens"] == 50


async def test_a_call_is_forced_at_anthropic_without_thinking_or_refused_by_name(send):
    _, body = await send("anthropic", HAIKU, FORCED)
    check_anthropic(body, thinks=True)
    assert body["thinking"] == {"type": "disabled"}
    assert body["tool_choice"] == {"type": "tool", "name": "track"}


@pytest.mark.parametrize("choice", ["required", FORCED["tool_choice"]])
async def test_a_model_that_always_thinks_cannot_be_forced_and_is_not_asked(send, choice):
    failure, body = await send("anthropic", SONNET, FORCED | {"tool_choice": choice, "reasoning_effort": "none"})
    assert body is None
    assert isinstance(failure, Failure) and failure.kind is FailureKind.INVALID_REQUEST
    assert failure.detail.startswith("request.tool_choice")
    _, body = await send("anthropic", SONNET, FORCED | {"tool_choice": "auto", "reasoning_effort": "none"})
    check_anthropic(body, thinks=True, always=True)
    assert body["output_config"] == {"effort": "low"}


async def test_a_request_without_a_limit_leaves_room_for_thinking_at_anthropic(send):
    _, body = await send("anthropic", SONNET, SAID)
    assert body["max_tokens"] == 4096 + 2048


async def test_groqs_models_take_sampling_and_three_efforts(send):
    _, body = await send("groq", GPT_OSS, LIMITED | {"reasoning_effort": "max"})
    check_groq(body)
    assert (body["reasoning_effort"], body["temperature"], body["max_tokens"], body["stop"]) == ("high", 0.2, 50, "END")


@pytest.mark.parametrize(
    ("provider", "reasoning", "taken"),
    [
        ("openai", LUNA, False),
        ("groq", GPT_OSS, False),
        ("anthropic", SONNET, False),
        ("openai", replace(SOL, sampling=True), True),
    ],
)
async def test_a_bias_that_cannot_be_kept_is_refused_by_name_before_anything_is_sent(send, provider, reasoning, taken):
    outcome, body = await send(provider, reasoning, SAID | {"logit_bias": {"50256": -100}})
    assert (body is not None) is taken
    assert taken or (outcome.kind, outcome.detail.partition(":")[0]) == (
        FailureKind.INVALID_REQUEST,
        "request.logit_bias",
    )
