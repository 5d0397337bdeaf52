"""A fleet in this process: a broker in memory, and a task that answers the jobs on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fleet.model.attempt import Answer, Attempt, Usage
from fleet.model.delivery import Ack, JobsOf
from fleet.model.feedback import Feedback
from fleet.model.job import Job, Lane
from fleet.model.reason import Reason
from fleet.model.result import Malformed, Problem, Result, Status
from queues.jetstream.stores.journal import MemoryJournal
from queues.memory import MemoryBroker, MemoryDesk, MemoryQueue

SMALL = "llama-8b"


def attempt(number: int, target: str, text: str, confidence: float, reason: Reason = Reason.ROUTED) -> Attempt:
    answer = Answer({"role": "assistant", "content": text}, "stop", Usage(7, 3), f"invented/{target}")
    return Attempt(number, target, reason, 1.0, 2.0, answer, confidence, 0.0)


def succeeded(job: Job, text: str, target: str = SMALL, attempts: tuple[Attempt, ...] = ()) -> Result:
    attempts = attempts or (attempt(1, target, text, 0.9),)
    last = attempts[-1]
    assert isinstance(last.outcome, Answer)
    return Result(
        job_id=job.id,
        tenant=job.tenant,
        status=Status.SUCCEEDED,
        reason=Reason.CONFIDENT,
        finished_at=3.0,
        task=job.task,
        submitted_at=job.submitted_at,
        answer=last.outcome,
        target=last.target,
        confidence=last.confidence,
        attempts=attempts,
        metadata=job.metadata,
    )


def failed(job: Job) -> Result:
    problem = Problem("every target failed")
    return Result(job.id, job.tenant, Status.FAILED, Reason.ALL_FAILED, 3.0, job.task, problem=problem)


def echo(job: Job) -> Result:
    """Answer with the prompt."""
    return succeeded(job, str(job.request["messages"][-1]["content"]))


class MemoryFleet:
    """The fleet. `jobs` are those taken so far; a job for which `answer` returns None stays without a result."""

    def __init__(self, answer: Callable[[Job], Result | None] = echo, duplicate_window_seconds: float = 120.0) -> None:
        self.broker = MemoryBroker(duplicate_window_seconds=duplicate_window_seconds)
        self.queue = MemoryQueue(self.broker)
        self.answer = answer
        self.jobs: list[Job] = []

    def desk(self, tenant: str = "demo") -> MemoryDesk:
        return MemoryDesk(self.broker, tenant)

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as lanes:
            for lane in Lane:
                lanes.create_task(self._serve(JobsOf(lane)))

    async def _serve(self, source: JobsOf) -> None:
        while True:
            deliveries = await self.queue.take(source, 1000, 3600.0)
            for delivery in deliveries:
                await self._finish(delivery.body)
            await self.queue.settle([Ack(delivery) for delivery in deliveries])

    async def _finish(self, body: Any) -> None:
        if isinstance(body, Malformed):
            result: Result | None = Result(
                body.job_id, body.tenant, Status.REJECTED, Reason.INVALID, 3.0, problem=body.problem
            )
        else:
            self.jobs.append(body)
            result = self.answer(body)
        if result is not None:
            await self.publish(result)

    async def publish(self, *results: Result) -> None:
        await self.queue.publish(results)

    async def feedback(self) -> list[Feedback]:
        """All that was said of answers."""
        return [each async for each in MemoryJournal(self.broker).feedback()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[MemoryFleet]:
        serving = asyncio.create_task(self.serve())
        try:
            yield self
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
