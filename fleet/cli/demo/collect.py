"""Submits jobs and gathers their results, counting every delivery of a result."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from fleet.bulk.inbox import Inbox
from fleet.cli.demo.asked import Asked
from fleet.model.result import Result
from fleet.ports import JobDesk

GRACE_SECONDS = 15.0
"""Seconds to wait after the deadline, when a job still has to be ended and its result stored."""

LINGER_SECONDS = 1.0
"""Seconds to listen for second results once every job has its first."""


@dataclass(frozen=True, slots=True)
class CollectedResults:
    """The results by job id; `duplicates` counts the deliveries of a result after its first."""

    results: Mapping[str, Result]
    duplicates: int
    wall_seconds: float


async def collect(
    desk: JobDesk,
    asked: Sequence[Asked],
    timeout_seconds: float,
    on_result: Callable[[], None],
    linger_seconds: float,
) -> CollectedResults:
    """Submit the jobs and return their results, at the latest after `timeout_seconds`.

    After that it listens for `linger_seconds` more, for duplicates.
    `wall_seconds` runs from the first submission to the last first result.

    Raises: QueueUnavailable if the broker is lost.
    """
    deliveries: Counter[str] = Counter()
    counting = asyncio.create_task(_count(desk, deliveries))
    try:
        async with Inbox(desk) as inbox:
            results, wall_seconds = await _answers(desk, inbox, asked, timeout_seconds, on_result)
        await asyncio.wait((counting,), timeout=linger_seconds)
    finally:
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
    duplicates = sum(max(0, deliveries[one.submission.id] - 1) for one in asked)
    return CollectedResults(results, duplicates, wall_seconds)


async def _answers(
    desk: JobDesk, inbox: Inbox, asked: Sequence[Asked], timeout_seconds: float, on_result: Callable[[], None]
) -> tuple[dict[str, Result], float]:
    with ExitStack() as stack:
        futures = {one.submission.id: stack.enter_context(inbox.expecting(one.submission.id)) for one in asked}
        for future in futures.values():
            future.add_done_callback(lambda _: on_result())
        started = time.monotonic()
        await desk.submit([one.submission for one in asked])
        done, _ = await asyncio.wait(futures.values(), timeout=timeout_seconds)
        wall_seconds = time.monotonic() - started
        return {job_id: future.result() for job_id, future in futures.items() if future in done}, wall_seconds


async def _count(desk: JobDesk, deliveries: Counter[str]) -> None:
    async for result in desk.results():
        deliveries[result.job_id] += 1
