"""The cached questions of all tenants and tasks, in this process, off its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fleet.embedding.encoder import Encoder
from fleet.embedding.index import CachedQuestion, QuestionIndex
from fleet.model.caching import Neighbour

T = TypeVar("T")


class EmbeddedQuestions:
    """Keeps an index for each tenant and task, of at most `bound` questions each; the port `NearestQuestions`.

    Encoding and comparing take milliseconds, so one thread does both, one after the other: the indices need no lock.
    """

    def __init__(self, encoder: Encoder, bound: int) -> None:
        self._encoder = encoder
        self._bound = bound
        self._indices: dict[tuple[str, str], QuestionIndex] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedding")

    async def add(self, tenant: str, task: str, question: CachedQuestion) -> None:
        """Add a question, in place of one with the same entry; where there are too many, the oldest goes."""
        await self._run(lambda: self._add(tenant, task, question))

    async def remove(self, tenant: str, task: str, entry: str) -> None:
        """Remove an entry; nothing happens if it is not there."""
        await self._run(lambda: self._remove(tenant, task, entry))

    async def nearest(self, tenant: str, task: str, text: str, count: int) -> Sequence[Neighbour]:
        return await self._run(lambda: self._nearest(tenant, task, text, count))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, step: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, step)

    def _add(self, tenant: str, task: str, question: CachedQuestion) -> None:
        [vector] = self._encoder.encode([question.text])
        index = self._indices.get((tenant, task))
        if index is None:
            index = self._indices[tenant, task] = QuestionIndex(len(vector), self._bound)
        index.add(question, vector)

    def _remove(self, tenant: str, task: str, entry: str) -> None:
        index = self._indices.get((tenant, task))
        if index is not None:
            index.remove(entry)

    def _nearest(self, tenant: str, task: str, text: str, count: int) -> Sequence[Neighbour]:
        index = self._indices.get((tenant, task))
        if not index:
            return ()
        [vector] = self._encoder.encode([text])
        return index.nearest(vector, count)
