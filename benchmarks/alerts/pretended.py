"""Stands in for the models, and for what Serve says of their replicas; the faults are real."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final

from fleet.model.attempt import Answer, Features, Outcome, Usage
from fleet.model.call import Call
from fleet.model.job import ChatRequest
from fleet.model.scaling import Capacity

SURE: Final = "0.99"
UNSURE: Final = "0.05"
"""Prompts, each the confidence that its answer has."""

OWN_TOKENS, PAID_TOKENS = 10, 1000
"""The most that an answer may have, of one of the fleet's own models and of a pinned one, which uses it all."""


class Model:
    """Answers each prompt as it says, while `answers` is set. A model that `is_paid` gives no log-probabilities."""

    def __init__(self, is_paid: bool) -> None:
        self._is_paid = is_paid
        self.answers = asyncio.Event()
        self.answers.set()

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        await self.answers.wait()
        yield [(index, self._answer(call.request)) for index, call in enumerate(calls)]

    def _answer(self, asked: ChatRequest) -> Outcome:
        message = {"role": "assistant", "content": "positive"}
        if self._is_paid:
            return Answer(message, "stop", Usage(10, asked["max_tokens"]), "pretended")
        logprob = math.log(float(asked["messages"][0]["content"]))
        features = Features(logprob, logprob, logprob, logprob, logprob, 1, 4.0, 0.1)
        return Answer(message, "stop", Usage(10, 1), "pretended", features)

    async def stop(self, ids: Collection[str]) -> None:
        """Do nothing: nobody waits for the outcomes."""

    async def close(self) -> None:
        pass


class Replicas:
    """A `fleet.ports.Capacities`: each of `running` has so many replicas, and none starts."""

    def __init__(self, running: Mapping[str, int]) -> None:
        self.running = dict(running)

    async def read(self) -> Mapping[str, Capacity]:
        return {name: Capacity(replicas) for name, replicas in self.running.items()}


def request(prompt: str, model: str | None = None) -> dict[str, Any]:
    asked = {"messages": [{"role": "user", "content": prompt}]}
    return (
        {**asked, "max_tokens": OWN_TOKENS} if model is None else {**asked, "max_tokens": PAID_TOKENS, "model": model}
    )
