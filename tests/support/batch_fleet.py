"""A fleet in this process that answers the rows of batches, and counts how often each of them ran."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from memory_fleet import MemoryFleet, echo
from patience import PATIENCE_SECONDS, eventually

from fleet.batches.run import Announce
from fleet.batches.runner import BatchRunner
from fleet.batches.settings import RunSettings
from fleet.batches.wishes import new_batch_id
from fleet.model.batch import Batch, BatchStatus
from fleet.model.job import Job
from fleet.model.result import Result
from queues.batches import EveryBatch, MemoryShelf, TenantBatches, TenantFiles

TENANT = "acme"
ENDPOINT = "/v1/chat/completions"


def openai_row(number: int, **fields: Any) -> dict[str, Any]:
    body = {"model": "auto", "messages": [{"role": "user", "content": f"Row {number}."}]}
    return {"custom_id": f"row-{number}", "method": "POST", "url": ENDPOINT, "body": body} | fields


def as_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


ROWS = [openai_row(number) for number in range(1, 21)]


def custom_ids(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(line["custom_id"] for line in lines)


class BatchFleet:
    """A broker in memory with a fleet behind it. `told` are the ends that were announced."""

    def __init__(self, answer: Callable[[Job], Result | None] = echo) -> None:
        self.jobs = MemoryFleet(answer)
        self.shelf = MemoryShelf(self.jobs.broker)
        self.files = TenantFiles(self.shelf, TENANT)
        self.batches = TenantBatches(self.shelf, TENANT, poll_seconds=0.01)
        self.told: list[Batch] = []
        self.announce: Announce = self._tell

    async def submit(self, content: bytes, tenant: str = TENANT, **options: Any) -> Batch:
        files = TenantFiles(self.shelf, tenant)
        file = await files.create("rows.jsonl")
        await files.append(file.id, content)
        batch = Batch(new_batch_id(), tenant, ENDPOINT, file.id, 86_400.0, time.time())
        batch = replace(batch, **options)
        assert await TenantBatches(self.shelf, tenant).create(batch)
        return batch

    def runner(self, **settings: Any) -> BatchRunner:
        chosen = replace(RunSettings(tick_seconds=0.01), **settings)
        return BatchRunner(EveryBatch(self.shelf), self.jobs.desk, self.announce, chosen, look_seconds=0.01)

    async def _tell(self, batch: Batch) -> None:
        self.told.append(batch)

    @asynccontextmanager
    async def running(self, **settings: Any) -> AsyncIterator[BatchRunner]:
        """Answer jobs and run batches."""
        async with self.jobs.running(), self.runs(**settings) as runner:
            yield runner

    @asynccontextmanager
    async def runs(self, **settings: Any) -> AsyncIterator[BatchRunner]:
        """Run batches."""
        runner = self.runner(**settings)
        task = asyncio.create_task(runner.run())
        try:
            yield runner
        finally:
            runner.drain()
            await task

    async def status(self, batch: Batch, *wanted: BatchStatus) -> Batch:
        """Return the batch once it has one of these statuses."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for each in self.batches.watch(batch.id):
                if each.status in wanted:
                    return each
        raise AssertionError(f"it ended otherwise: {await self.batches.get(batch.id)}")

    async def ended(self, batch: Batch) -> Batch:
        """Return the batch once it has ended and that is told."""
        await eventually(lambda: any(each.id == batch.id for each in self.told))
        return await eventually(lambda: self._told(batch.id))

    async def _told(self, batch_id: str) -> Batch | None:
        found = await self.batches.get(batch_id)
        return found[0] if found and found[0].told else None

    async def lines(self, file_id: str | None) -> list[dict[str, Any]]:
        """Return the lines of a file."""
        if file_id is None:
            return []
        content = b"".join([piece async for piece in self.files.read(file_id)])
        return [json.loads(line) for line in content.splitlines()]

    def runs_of_rows(self) -> Counter[str]:
        return Counter(job.id for job in self.jobs.jobs)
