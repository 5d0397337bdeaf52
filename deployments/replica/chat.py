"""Turns one chat request into one outcome with vLLM's own templates and sampling, without its HTTP layer.

The OpenAI layer costs a third of a small model's throughput in response objects, so a plain request goes straight to
the engine; a request with tools takes the OpenAI layer, which parses the calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from math import inf
from typing import Any, Protocol

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.serve.engine.protocol import ErrorInfo
from vllm.entrypoints.serve.utils.api_utils import get_max_tokens
from vllm.logprobs import FlatLogprobs
from vllm.lora.request import LoRARequest
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.metrics.stats import RequestStateStats

from deployments.replica.failures import failure_of, failure_of_response
from fleet.model.attempt import Answer, EngineTimes, Failure, FailureKind, Features, Outcome, Usage
from fleet.model.chat import tidy
from policies.features.logprobs import aggregate

CANDIDATES = 5
"""Candidates per token whose log-probabilities feed margin and entropy; OpenAI's layer allows as many."""

FLEET_DECIDES = {"stream": False, "stream_options": None, "logprobs": None, "top_logprobs": None, "n": 1}
"""Fields of a chat request that say how the request is carried, not what is asked."""

CONTEXT_TOKENS = 5
"""Tokens of the prompt that help decode the first generated token; vLLM's own incremental decoder uses as many."""

DIGEST_CHARACTERS = 12
"""Characters of an adapter's digest in the name of what answered: `llama-8b+0123456789ab`."""

BROKEN_OFF = ("abort", "error")
"""Finish reasons of vLLM that mean there is no answer."""


class VLLM(Protocol):
    """The parts of Ray's `VLLMEngine` that a chat needs."""

    _engine_client: Any
    _oai_serving_chat: Any

    def chat(self, request: Any) -> AsyncIterator[Any]: ...


class Chat:
    """Runs chat requests on one started engine. More than one per engine is not useful."""

    def __init__(self, engine: VLLM, model: str, confidence: bool) -> None:
        self._engine = engine
        self._client = engine._engine_client
        self._serving = engine._oai_serving_chat
        self._decode: Callable[..., str] = self._serving.renderer.get_tokenizer().decode
        self._model = model
        self._confidence = confidence

    async def answer(
        self, body: Mapping[str, Any], timeout_seconds: float, adapter: LoRARequest | None = None
    ) -> Outcome:
        """Return the outcome of one OpenAI chat body; whatever goes wrong with it is a `Failure`.

        The engine has to have loaded the `adapter`.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                request = self._request(body)
                return await (self._through_openai if request.tools else self._straight)(request, adapter)
        except TimeoutError:
            return Failure(FailureKind.TIMEOUT, f"no answer within {timeout_seconds:g} s")
        except Exception as error:
            return failure_of(error)

    def _request(self, body: Mapping[str, Any]) -> ChatCompletionRequest:
        if body.get("n") not in (None, 1):
            raise ValueError("n: a job has one answer")
        return ChatCompletionRequest.model_validate({**tidy(body), **FLEET_DECIDES, "model": self._model})

    async def _straight(self, request: ChatCompletionRequest, adapter: LoRARequest | None) -> Outcome:
        rendered = await self._serving.render_chat_request(request)
        if not isinstance(rendered, tuple):
            return failure_of_response(rendered.error)
        _, (prompt,) = rendered
        params = self._sampling(request, len(prompt["prompt_token_ids"]))
        final: RequestOutput | None = None
        name, priority = f"chat-{request.request_id}", request.priority
        async for output in self._client.generate(prompt, params, name, lora_request=adapter, priority=priority):
            final = output
        if final is None or final.outputs[0].finish_reason in BROKEN_OFF:
            return Failure(FailureKind.INTERNAL, "the engine broke the generation off")
        return self._answer(request, final, final.outputs[0], adapter)

    def _sampling(self, request: ChatCompletionRequest, prompt_tokens: int) -> SamplingParams:
        limit = get_max_tokens(
            self._serving.model_config.max_model_len,
            request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens,
            prompt_tokens,
            self._serving.default_sampling_params,
            self._serving.override_max_tokens,
        )
        params: SamplingParams = request.to_sampling_params(limit, self._serving.default_sampling_params)
        params.output_kind = RequestOutputKind.FINAL_ONLY
        # vLLM would also write out every candidate of every token, which costs more than a small model's forward pass.
        # Only a search for stop strings needs the text while it grows.
        params.detokenize = bool(params.stop)
        if self._confidence:
            params.logprobs = CANDIDATES
            params.flat_logprobs = True
        return params

    def _text(self, request: ChatCompletionRequest, prompt_ids: Sequence[int], output: CompletionOutput) -> str:
        """Return the answer's text as vLLM's incremental decoder writes it.

        The prompt's end is decoded with it, because some tokenizers drop the space before a first word. It leaves
        out the token that stopped the answer, and a last character of which only some bytes were generated.
        """
        ids = list(output.token_ids)
        if output.finish_reason == "stop" and not request.include_stop_str_in_output:
            ids.pop()
        context = list(prompt_ids[-CONTEXT_TOKENS:])
        before = self._decode(context, skip_special_tokens=request.skip_special_tokens)
        whole = self._decode(context + ids, skip_special_tokens=request.skip_special_tokens)
        return whole[len(before) :].rstrip("\ufffd")

    def _answer(
        self,
        request: ChatCompletionRequest,
        final: RequestOutput,
        output: CompletionOutput,
        adapter: LoRARequest | None,
    ) -> Answer:
        prompt_ids = final.prompt_token_ids or ()
        return Answer(
            message={"role": "assistant", "content": output.text or self._text(request, prompt_ids, output)},
            finish_reason=output.finish_reason or "stop",
            usage=Usage(len(prompt_ids), len(output.token_ids), final.num_cached_tokens or 0),
            model=self._name_with(adapter),
            features=features_of(output.logprobs) if isinstance(output.logprobs, FlatLogprobs) else None,
            engine=None if final.metrics is None else times_of(final.metrics),
        )

    def _name_with(self, adapter: LoRARequest | None) -> str:
        return self._model if adapter is None else f"{self._model}+{adapter.lora_name[:DIGEST_CHARACTERS]}"

    async def _through_openai(self, request: ChatCompletionRequest, adapter: LoRARequest | None) -> Outcome:
        if adapter is not None:
            request.model = adapter.lora_name
        if self._confidence:
            request.logprobs, request.top_logprobs = True, CANDIDATES
        response = await anext(aiter(self._engine.chat(request)))
        if isinstance(error := getattr(response, "error", None), ErrorInfo):
            return failure_of_response(error)
        choice = response.choices[0]
        if choice.finish_reason in BROKEN_OFF:
            return Failure(FailureKind.INTERNAL, "the engine broke the generation off")
        details = response.usage.prompt_tokens_details
        cached = details.cached_tokens or 0 if details else 0
        said = choice.message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True)
        return Answer(
            message={name: value for name, value in said.items() if value != []},
            finish_reason=choice.finish_reason,
            usage=Usage(response.usage.prompt_tokens, response.usage.completion_tokens or 0, cached),
            model=self._name_with(adapter),
            features=_features_of_choice(choice.logprobs),
        )


def times_of(stats: RequestStateStats) -> EngineTimes | None:
    """Return the times of a request from vLLM's statistics, which it keeps unless they are disabled.

    Its moments are by two clocks: only the arrival is by the wall clock. A request that was broken off has no token.
    """
    if not stats.first_token_ts:
        return None
    return EngineTimes(
        arrived_at=stats.arrival_time,
        first_token_seconds=stats.first_token_latency,
        queue_seconds=max(0.0, stats.scheduled_ts - stats.queued_ts),
        prefill_seconds=max(0.0, stats.first_token_ts - stats.scheduled_ts),
        decode_seconds=max(0.0, stats.last_token_ts - stats.first_token_ts),
    )


def features_of(flat: FlatLogprobs) -> Features:
    """Return the features: vLLM lists the sampled token first at each position, then the best candidates by rank.

    If a grammar allows fewer tokens than there are candidates, the rest have probability 0 and are no candidates.
    """
    starts, ends, values = flat.start_indices, flat.end_indices, flat.logprobs
    return aggregate(
        [values[start] for start in starts],
        [
            [value for value in values[start + 1 : end] if value != -inf]
            for start, end in zip(starts, ends, strict=True)
        ],
    )


def _features_of_choice(logprobs: Any) -> Features | None:
    if logprobs is None or not logprobs.content:
        return None
    return aggregate(
        [token.logprob for token in logprobs.content],
        [[candidate.logprob for candidate in token.top_logprobs] for token in logprobs.content],
    )
