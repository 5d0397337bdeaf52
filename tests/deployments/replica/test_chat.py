"""`Chat` on a scripted engine, with vLLM's real request, sampling and output types."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from math import inf, log
from types import SimpleNamespace
from typing import Any

import pytest
from when_used import WhenUsed

from fleet.model.attempt import Answer, EngineTimes, Failure, FailureKind, Usage

chat = WhenUsed("deployments.replica.chat")
failures = WhenUsed("deployments.replica.failures")
openai_layer = WhenUsed("vllm.entrypoints.openai.chat_completion.protocol")
openai_errors = WhenUsed("vllm.entrypoints.serve.engine.protocol")
vllm_errors = WhenUsed("vllm.exceptions")
engine_errors = WhenUsed("vllm.v1.engine.exceptions")
logprobs = WhenUsed("vllm.logprobs")
lora = WhenUsed("vllm.lora.request")
outputs = WhenUsed("vllm.outputs")
stats = WhenUsed("vllm.v1.metrics.stats")

CONTEXT = 64
PROMPT = [1, 2, 3, 4, 5, 6, 7]
STOP_TOKEN = 0
SECRET = "my secret prompt"
BODY = {"messages": [{"role": "user", "content": SECRET}]}


class Tokens:
    """A tokenizer whose tokens are letters; token 0 is special, 99 half a character."""

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return "".join(
            {STOP_TOKEN: "" if skip_special_tokens else "<end>", 99: "\ufffd"}.get(i, chr(96 + i)) for i in ids
        )


def flat(*positions: list[float]) -> Any:
    found = logprobs.FlatLogprobs()
    for values in positions:
        found.append_fast(list(range(len(values))), values, iter(range(len(values))), [None] * len(values))
    return found


class Engine:
    """The parts of a started engine: renders every prompt as `PROMPT`, generates what it is told."""

    def __init__(self, ids=(8, 9, STOP_TOKEN), finish_reason="stop", logprobs=None, raising=None, text="") -> None:
        self._oai_serving_chat = SimpleNamespace(
            renderer=SimpleNamespace(get_tokenizer=Tokens),
            model_config=SimpleNamespace(max_model_len=CONTEXT),
            default_sampling_params={},
            override_max_tokens=None,
            render_chat_request=self.render,
        )
        self._engine_client = SimpleNamespace(generate=self.generate)
        self.output = outputs.CompletionOutput(0, text, list(ids), None, logprobs, finish_reason=finish_reason)
        self.stats: Any = None
        self.raising = raising
        self.rendered: Any = ([], [{"prompt_token_ids": PROMPT}])
        self.response: Any = None
        self.asked: list[Any] = []

    async def render(self, request: Any) -> Any:
        self.request = request
        return self.rendered

    async def generate(
        self, prompt: Any, params: Any, request_id: str, *, lora_request: Any, priority: int
    ) -> AsyncIterator[Any]:
        self.params, self.priority, self.adapter = params, priority, lora_request
        if self.raising == "never":
            await asyncio.Event().wait()
        if self.raising is not None:
            raise self.raising
        told = {"metrics": self.stats, "num_cached_tokens": 4}
        yield outputs.RequestOutput(request_id, None, prompt["prompt_token_ids"], None, [self.output], True, **told)

    async def chat(self, request: Any) -> AsyncIterator[Any]:
        self.asked.append(request)
        yield self.response


async def answer(engine: Engine, confidence: bool = False, timeout_seconds: float = 5.0, **body: Any) -> Any:
    return await chat.Chat(engine, "llama-8b", confidence).answer(BODY | body, timeout_seconds)


async def test_an_answer_has_text_usage_and_the_word_for_why_it_ended():
    assert await answer(Engine()) == Answer({"role": "assistant", "content": "hi"}, "stop", Usage(7, 3, 4), "llama-8b")


async def test_an_answer_says_how_long_the_engine_took_for_what():
    engine = Engine()
    engine.stats = stats.RequestStateStats(3, 1_790_000_000.5, 10.0, 10.25, 10.75, 12.0, 0.875)

    assert (await answer(engine)).engine == EngineTimes(1_790_000_000.5, 0.875, 0.25, 0.5, 1.25)


async def test_an_engine_that_keeps_no_statistics_or_made_no_token_has_no_times():
    engine = Engine()
    assert (await answer(engine)).engine is None
    engine.stats = stats.RequestStateStats(0, 1_790_000_000.5, 10.0)
    assert (await answer(engine)).engine is None


@pytest.mark.parametrize(
    ("ids", "finish_reason", "body", "text"),
    [
        ((8, 9), "length", {}, "hi"),
        ((8, 9, 3), "stop", {}, "hi"),
        ((8, 9, 3), "stop", {"include_stop_str_in_output": True}, "hic"),
        ((8, 9, 99), "length", {}, "hi"),
        ((8, STOP_TOKEN, 9), "length", {}, "hi"),
        ((8, STOP_TOKEN, 9), "length", {"skip_special_tokens": False}, "h<end>i"),
        ((STOP_TOKEN,), "stop", {}, ""),
    ],
)
async def test_the_text_leaves_out_what_vllm_leaves_out(ids, finish_reason, body, text):
    assert (await answer(Engine(ids, finish_reason), **body)).message["content"] == text


async def test_the_engine_gets_the_priority_of_the_job():
    engine = Engine()
    await answer(engine, priority=2)
    assert engine.priority == 2


async def test_the_engine_gets_the_salt_of_a_tenant_that_shares_no_cache():
    engine = Engine()
    await answer(engine, cache_salt="acme")
    assert engine.request.cache_salt == "acme"


async def test_text_that_vllm_has_cut_at_a_stop_string_is_kept():
    engine = Engine(text="h", ids=(8, 9), finish_reason="stop")
    assert (await answer(engine, stop=["i"])).message["content"] == "h"
    assert engine.params.detokenize


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        ({}, "max_tokens", CONTEXT - len(PROMPT)),
        ({"max_tokens": 9}, "max_tokens", 9),
        ({"max_completion_tokens": 8, "max_tokens": 9}, "max_tokens", 8),
        ({"max_tokens": 64}, "max_tokens", CONTEXT - len(PROMPT)),
        ({"seed": 5}, "seed", 5),
        ({"temperature": 0.25}, "temperature", 0.25),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"stop": ["x"]}, "stop", ["x"]),
        ({"stop": ["x"]}, "detokenize", True),
        ({}, "detokenize", False),
        ({"logprobs": True, "top_logprobs": 2}, "logprobs", None),
    ],
)
async def test_the_request_becomes_sampling_parameters(body, field, expected):
    engine = Engine()
    await answer(engine, **body)
    assert getattr(engine.params, field) == expected


async def test_how_a_request_is_carried_is_not_the_requests_choice():
    engine = Engine()
    await answer(engine, stream=True, stream_options={"include_usage": True}, model="another")
    assert (engine.request.stream, engine.request.stream_options, engine.request.model) == (False, None, "llama-8b")


async def test_confidence_asks_for_candidates_and_sends_their_features():
    engine = Engine(logprobs=flat([-0.5, -0.5, -1.5], [-2.0, -0.1, -2.0]))
    found = await answer(engine, confidence=True)
    assert (engine.params.logprobs, engine.params.flat_logprobs) == (chat.CANDIDATES, True)
    assert (found.features.count, found.features.sum, found.features.min) == (2, -2.5, -2.0)
    assert found.features.margin == pytest.approx((1.0 + 1.9) / 2)


async def test_without_confidence_there_are_no_features():
    assert (await answer(Engine())).features is None


def test_a_token_the_grammar_forces_has_no_rival():
    forced = chat.features_of(flat([0.0, 0.0, -inf, -inf]))
    assert (forced.margin, forced.entropy) == (0.0, 0.0)
    even = chat.features_of(flat([log(0.5), log(0.5), log(0.5), -inf]))
    assert even.entropy == pytest.approx(log(2))


@pytest.mark.parametrize("reason", ["abort", "error"])
async def test_a_generation_that_was_broken_off_is_a_failure(reason):
    assert (await answer(Engine(finish_reason=reason))).kind is FailureKind.INTERNAL


async def test_a_call_ends_at_its_timeout():
    assert (await answer(Engine(raising="never"), timeout_seconds=0.0)).kind is FailureKind.TIMEOUT


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"n": 2}, "n:"),
        ({"messages": SECRET}, "messages"),
        ({"max_tokens": SECRET}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
    ],
)
async def test_a_bad_request_is_refused_by_field_and_never_quoted(body, field):
    failure = await answer(Engine(), **body)
    assert failure.kind is FailureKind.INVALID_REQUEST
    assert field in failure.detail
    assert SECRET not in failure.detail


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (
            lambda: vllm_errors.VLLMValidationError("This model's maximum context length is 512 tokens", value=SECRET),
            "context_too_long",
        ),
        (
            lambda: vllm_errors.VLLMValidationError(
                "max_tokens=9 cannot be greater than max_model_len=8", value=SECRET
            ),
            "context_too_long",
        ),
        (lambda: ValueError("Input length (9) exceeds model's maximum context length (8)."), "context_too_long"),
        (lambda: vllm_errors.VLLMValidationError("no such grammar", value=SECRET), "invalid_request"),
        (lambda: vllm_errors.QueueOverflowError(), "overloaded"),
        (lambda: engine_errors.EngineDeadError(), "connection"),
        (lambda: engine_errors.EngineGenerateError(SECRET), "internal"),
        (lambda: ZeroDivisionError(SECRET), "internal"),
    ],
)
async def test_every_error_of_the_engine_has_its_kind_and_quotes_nothing(make, kind):
    error = make()
    failure = await answer(Engine(raising=error))
    assert failure == failures.failure_of(error)
    assert failure.kind.value == kind
    assert SECRET not in failure.detail
    assert "\n" not in failure.detail


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


def response(**message: Any) -> Any:
    candidates = [{"token": t, "logprob": p} for t, p in (("a", -0.5), ("b", -1.5))]
    return openai_layer.ChatCompletionResponse.model_validate(
        {
            "model": "llama-8b",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", **message},
                    "finish_reason": "tool_calls",
                    "logprobs": {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": candidates}]},
                }
            ],
            "usage": {
                "prompt_tokens": 7,
                "completion_tokens": 3,
                "total_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
        }
    )


async def test_a_request_with_tools_takes_the_openai_layer_and_keeps_features():
    engine = Engine()
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    engine.response = response(content=None, tool_calls=[call])
    found = await answer(engine, confidence=True, tools=TOOLS)
    assert found.message == {"role": "assistant", "tool_calls": [call]}
    assert (found.finish_reason, found.usage) == ("tool_calls", Usage(7, 3, 4))
    assert found.features.margin == pytest.approx(1.0)
    assert (engine.asked[0].logprobs, engine.asked[0].top_logprobs) == (True, chat.CANDIDATES)


@pytest.mark.parametrize("body", [BODY, BODY | {"tools": TOOLS}], ids=["plain", "with tools"])
async def test_a_request_with_an_adapter_asks_for_it_and_the_answer_names_it(body):
    engine = Engine()
    engine.response = response(content="hi")
    adapter = lora.LoRARequest("0123456789abcdef" * 4, 3, "/tmp/adapter")

    found = await chat.Chat(engine, "llama-8b", confidence=False).answer(body, 5.0, adapter)

    assert (found.text, found.model) == ("hi", "llama-8b+0123456789ab")
    if "tools" in body:
        assert engine.asked[0].model == adapter.lora_name
    else:
        assert engine.adapter is adapter


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (400, "tools need a parser", FailureKind.INVALID_REQUEST),
        (400, "the maximum context length is 8", FailureKind.CONTEXT_TOO_LONG),
        (503, "busy", FailureKind.OVERLOADED),
        (500, "broken", FailureKind.INTERNAL),
    ],
)
async def test_an_error_response_has_its_kind_on_both_paths(code, message, kind):
    engine = Engine()
    refusal = openai_errors.ErrorResponse(error=openai_errors.ErrorInfo(message=message, type="x", code=code))
    engine.response = engine.rendered = refusal
    assert await answer(engine) == Failure(kind, message)
    assert await answer(engine, tools=TOOLS) == Failure(kind, message)
