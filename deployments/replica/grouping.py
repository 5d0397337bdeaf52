"""Hands on the results of concurrent work in groups, as they finish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Any, TypeVar

Result = TypeVar("Result")


async def as_finished(work: Sequence[Coroutine[Any, Any, Result]]) -> AsyncGenerator[list[tuple[int, Result]], None]:
    """Run all coroutines at once; yield those finished since the last group, with their index, until all have.

    The first exception of any of them is raised here. Closing the generator cancels those still running.
    """
    index = {asyncio.create_task(coroutine): number for number, coroutine in enumerate(work)}
    pending = set(index)
    try:
        while pending:
            # One step of an engine ends many requests: by the time this wakes, the others of that step are done too.
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            yield [(index[task], task.result()) for task in done]
    finally:
        for task in pending:
            task.cancel()
