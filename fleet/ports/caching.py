"""The seams of the semantic cache: the neighbours of a question, and a model's word on whether two are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fleet.model.caching import Neighbour


class NearestQuestions(Protocol):
    """The cached questions of every tenant and task."""

    async def nearest(self, tenant: str, task: str, text: str, count: int) -> Sequence[Neighbour]:
        """Return at most `count` cached questions of this tenant and task, nearest first; none of any other tenant."""


class SameAnswerVerifier(Protocol):
    """A model that is asked in one token whether two questions have the same answer."""

    async def same_answer(self, asked: str, cached: str) -> float | None:
        """Return the probability of "yes", or None where no model could be asked in time. Never raises."""
