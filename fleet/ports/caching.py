"""The seams of the semantic cache: the neighbours of a question, what is promised, a model's word on two questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from fleet.model.caching import CacheCalibration, CachedQuestion, Neighbour, Question

CachePromises = Mapping[tuple[str, str], CacheCalibration]
"""What is promised, by tenant and task."""


class NearestQuestions(Protocol):
    """The cached questions of every tenant and scope. No method blocks the event loop."""

    @property
    def encoder(self) -> str:
        """The name of what compares them: cosines of two encoders are not alike."""

    async def add(self, questions: Sequence[CachedQuestion]) -> None:
        """Add questions, each in place of one with the same entry; where there are too many, the oldest go."""

    async def remove(self, questions: Sequence[CachedQuestion]) -> None:
        """Remove questions; nothing happens for one that is not there."""

    async def nearest(self, asked: Sequence[Question], count: int) -> Sequence[Sequence[Neighbour]]:
        """Return at most `count` cached questions for each of those asked, of its tenant and scope, nearest first."""

    def close(self) -> None: ...


class CachePromiseStore(Protocol):
    """The promises in force. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def read_all(self) -> CachePromises:
        """Return the latest promise of every tenant and task; those that cannot be read are left out and logged."""

    async def put(self, promises: Sequence[CacheCalibration]) -> None:
        """Put the promises in force."""

    async def watch(self, on_change: Callable[[CachePromises], None]) -> None:
        """Pass all promises in force to `on_change`, now and after each change, until cancelled, outages or not."""

    async def close(self) -> None: ...


class SameAnswerVerifier(Protocol):
    """A model that is asked in one token whether two questions have the same answer."""

    @property
    def name(self) -> str:
        """The model and its revision: words of another one count for nothing."""

    async def same_answers(self, pairs: Sequence[tuple[str, str]]) -> Sequence[float | None]:
        """Return for each pair the probability of "yes", None where the model said nothing usable in time.

        Never raises.
        """
