"""Backends that cost nothing, or only time, so that a benchmark measures what carries the jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

from fleet.model.attempt import Answer, Features, Outcome, Usage
from fleet.model.call import Call

ANSWER = Answer(
    message={"role": "assistant", "content": "positive"},
    finish_reason="stop",
    usage=Usage(40, 2),
    model="instant",
    features=Features(-0.02, -0.01, -0.015, -0.015, -0.012, 2, 4.0, 0.05),
)


class InstantBackend:
    """Answers a micro-batch at once, confidently."""

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        yield [(index, ANSWER) for index in range(len(calls))]

    async def stop(self, ids: Collection[str]) -> None:
        pass

    async def close(self) -> None:
        pass


class HoldingBackend:
    """Keeps every call until `release` is set; `full` is set once it holds `jobs` of them."""

    def __init__(self, jobs: int) -> None:
        self._missing = jobs
        self.full = asyncio.Event()
        self.release = asyncio.Event()

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        self._missing -= len(calls)
        if self._missing <= 0:
            self.full.set()
        await self.release.wait()
        yield [(index, ANSWER) for index in range(len(calls))]

    async def stop(self, ids: Collection[str]) -> None:
        pass

    async def close(self) -> None:
        pass


class PacedBackend:
    """Answers a micro-batch after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        await asyncio.sleep(self._seconds)
        yield [(index, ANSWER) for index in range(len(calls))]

    async def stop(self, ids: Collection[str]) -> None:
        pass

    async def close(self) -> None:
        pass
