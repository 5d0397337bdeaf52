"""The cached questions of all tenants, in this process, off its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fleet.embedding.encoder import Encoder
from fleet.embedding.index import QuestionIndex
from fleet.model.caching import CachedQuestion, Neighbour, Question

T = TypeVar("T")


class EmbeddedQuestions:
    """Keeps an index for each tenant and scope, of at most `bound` questions each; the port `NearestQuestions`.

    Encoding and comparing take milliseconds, so one thread does both, one after the other: the indices need no lock.
    """

    def __init__(self, encoder: Encoder, name: str, bound: int) -> None:
        self.encoder = name
        self._encoder = encoder
        self._bound = bound
        self._indices: dict[tuple[str, str], QuestionIndex] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedding")

    async def add(self, questions: Sequence[CachedQuestion]) -> None:
        await self._run(lambda: self._add(questions))

    async def remove(self, questions: Sequence[CachedQuestion]) -> None:
        await self._run(lambda: self._remove(questions))

    async def nearest(self, asked: Sequence[Question], count: int) -> Sequence[Sequence[Neighbour]]:
        return await self._run(lambda: self._nearest(asked, count))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, step: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, step)

    def _add(self, questions: Sequence[CachedQuestion]) -> None:
        vectors = self._encoder.encode([each.question.text for each in questions])
        for each, vector in zip(questions, vectors, strict=True):
            if not vector.any():
                continue  # it cannot be read whole, so it is like no other
            key = (each.question.tenant, each.question.scope)
            index = self._indices.get(key)
            if index is None:
                index = self._indices[key] = QuestionIndex(len(vector), self._bound)
            index.add(each, vector)

    def _remove(self, questions: Sequence[CachedQuestion]) -> None:
        for each in questions:
            key = (each.question.tenant, each.question.scope)
            if (index := self._indices.get(key)) is not None:
                index.remove(each.entry)
                if not index:
                    del self._indices[key]

    def _nearest(self, asked: Sequence[Question], count: int) -> Sequence[Sequence[Neighbour]]:
        indices = [self._indices.get((each.tenant, each.scope)) for each in asked]
        known = [each.text for each, index in zip(asked, indices, strict=True) if index]
        vectors = iter(self._encoder.encode(known) if known else ())
        found = [(index, next(vectors)) if index else None for index in indices]
        return [each[0].nearest(each[1], count) if each and each[1].any() else () for each in found]
