"""The verifier of the semantic cache: a model of the fleet's own, asked in one token whether two questions are one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from fleet.dispatch.containment import contained
from fleet.model.attempt import Answer
from fleet.model.call import Call
from fleet.model.job import Lane
from fleet.model.target import Target
from fleet.ports import Backend
from policies.caching.verifying import name_of, request_about, word_in

PATIENCE_SECONDS = 2.0
"""Time in which the model is to answer; then the jobs go on without its word."""


class BackendVerifier:
    """Implements `fleet.ports.SameAnswerVerifier` with the backend of a target. Its tokens are in no job's account."""

    def __init__(self, backend: Backend, target: Target) -> None:
        self._backend = backend
        self._name = name_of(target)

    @property
    def name(self) -> str:
        return self._name

    async def same_answers(self, pairs: Sequence[tuple[str, str]]) -> Sequence[float | None]:
        words: list[float | None] = [None] * len(pairs)
        calls = [
            Call(request_about(*pair), PATIENCE_SECONDS, id=uuid.uuid4().hex, lane=Lane.INTERACTIVE) for pair in pairs
        ]
        with contained("questions_not_verified"):
            async for group in self._backend.run(calls):
                for index, outcome in group:
                    words[index] = word_in(outcome) if isinstance(outcome, Answer) else None
        return words
