"""The replica of a self-hosted model: Ray's LLM server with a batched method."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Any

from ray.serve.llm import LLMConfig, LLMServer

from deployments.loopback import keep_replica_on_loopback
from deployments.replica.adapters import adapted_chat
from deployments.replica.engine import FleetEngine
from deployments.replica.grouping import as_finished
from deployments.replica.health import EngineHealth, StallDetector, silence_seconds
from deployments.replica.stoppable import Stoppable
from fleet.logs import get_logger
from fleet.model.attempt import Failure, Outcome
from fleet.model.errors import BackendUnavailable, ConfigError

WARM_UP_BATCHES = (1, 8, 32)
"""Engines specialize their kernels for the number of sequences in a step; these are the sizes of a quiet minute, a
busy one, and a full micro-batch.
"""

WARM_UP_TOKENS = 8
WARM_UP_TIMEOUT_SECONDS = 600.0

FAREWELL_SECONDS = 0.5
"""Seconds for the answers to calls that failed with the engine to be on their way."""

Group = list[tuple[int, Outcome]]

log = get_logger("ray.serve")
"""Serve's own logger, shown in a replica's log file and the dashboard."""


class FleetLLMServer(LLMServer):  # type: ignore[misc]  # Ray ships no types
    """An LLM server, ready only when warm. Without `confidence`, no log-probabilities: answers have no features."""

    _default_engine_cls = FleetEngine

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, llm_config: LLMConfig, *, confidence: bool = True, **kwargs: Any
    ) -> None:
        keep_replica_on_loopback()
        self._confidence = confidence
        self._calls = Stoppable()
        self._progress = StallDetector(silence_seconds())
        self._asking: asyncio.Task[Outcome] | None = None
        await super().__init__(llm_config, **kwargs)

    async def start(self) -> None:
        """Start the engine and warm it up.

        Raises: BackendUnavailable if it cannot answer.
        """
        await super().start()
        self._chat = adapted_chat(self.engine, self._llm_config.model_id, self._confidence)
        _require_raw_logprobs(self.engine._engine_client.vllm_config.model_config.logprobs_mode)
        for size in WARM_UP_BATCHES:
            requests = [_warm_up_request(number) for number in range(size)]
            async for group in self.answer_batch(requests, [WARM_UP_TIMEOUT_SECONDS] * size, [""] * size):
                _require_answers(group)
        # A replica holds millions of objects that live as long as it does; a collector that walks them costs a small
        # model half its throughput.
        gc.collect()
        gc.freeze()

    async def check_health(self) -> None:
        """Check that the engine is neither dead nor silent (see `health`), or Serve replaces the replica.

        Raises: BackendUnavailable if the engine is silent.
        """
        if self.engine is not None and self.engine.is_dead:
            await self._leave()
        await super().check_health()
        verdict = self._progress.look(self.engine.outputs, self.engine.unfinished, time.monotonic())
        match verdict:
            case EngineHealth.WELL:
                return
            case EngineHealth.ASK:
                self._asking = asyncio.create_task(
                    self._chat.answer(_warm_up_request(0), self._progress.silence_seconds)
                )
                return
            case EngineHealth.GIVEN_UP:
                log.error("engine_given_up", silence_seconds=self._progress.silence_seconds)
                self.engine.kill()
            case EngineHealth.STUCK:
                pass
        raise BackendUnavailable(f"the engine has work and no output since {self._progress.silence_seconds:g} s")

    async def _leave(self) -> None:
        """End this process, once the calls that the engine took with it have been answered.

        Serve believes three failed checks, but the end of a process at once: the replica is replaced seconds earlier,
        and until then its numbers would say that it runs.
        """
        log.error("engine_dead")
        await asyncio.sleep(FAREWELL_SECONDS)
        os._exit(1)

    async def _start_engine(self) -> None:
        """Start the engine only: Ray's own method would also start a process that sends telemetry to Anyscale."""
        await self.engine.start()

    async def answer_batch(
        self,
        requests: Sequence[Mapping[str, Any]],
        timeouts_seconds: Sequence[float],
        ids: Sequence[str],
        adapters: Sequence[str | None] | None = None,
        files: Mapping[str, Sequence[Awaitable[Mapping[str, bytes]]]] = MappingProxyType({}),
    ) -> AsyncGenerator[Group, None]:
        """Yield the outcome of each OpenAI chat body with its index, in groups as they finish.

        `ids` are the ids that `stop_calls` takes; a stopped call's outcome is a `Failure`. `adapters` are the digests
        of what each is answered with, None: of none. `files` has one of Ray's references by digest, in a list, because
        Ray would fetch what it finds by itself: they are read only where an adapter is not loaded yet.
        """

        async def read(digest: str) -> Mapping[str, bytes] | None:
            return await files[digest][0] if digest in files else None

        digests = [None] * len(requests) if adapters is None else adapters
        calls = zip(requests, timeouts_seconds, ids, digests, strict=True)
        work = [
            self._calls.run(call_id, self._chat.answer(body, seconds, digest, read))
            for body, seconds, call_id, digest in calls
        ]
        async with aclosing(as_finished(work)) as groups:
            async for group in groups:
                yield group

    async def stop_calls(self, ids: Sequence[str]) -> int:
        """Abort the requests of these calls in the engine, and return how many of them ran here."""
        return self._calls.stop(ids)


def _warm_up_request(number: int) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": f"Hello {number}"}],
        "max_tokens": WARM_UP_TOKENS,
        "ignore_eos": True,
    }


def _require_raw_logprobs(mode: str) -> None:
    """Require raw log-probabilities: calibrations are fitted on them, before temperature and penalties bend them."""
    if mode != "raw_logprobs":
        raise ConfigError("engine_kwargs.logprobs_mode", "must be raw_logprobs")


def _require_answers(group: Group) -> None:
    for _, outcome in group:
        if isinstance(outcome, Failure):
            raise BackendUnavailable(f"warm-up failed: {outcome.kind}: {outcome.detail}")
