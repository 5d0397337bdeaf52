"""The batch as seen through the gateway by OpenAI's SDK, which outlasts the gateway's death."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from openai import APIConnectionError, AsyncOpenAI, InternalServerError
from openai.types import Batch as BatchObject

from benchmarks.bulk.rows import ENDPOINT, LinesDigest, content_of
from fleet.bulk.reading.splitting import lines_in

POLL_SECONDS = 0.5
ENDED = ("completed", "failed", "expired", "cancelled")

Value = TypeVar("Value")


class Door:
    """A client of the gateway. Use it as a context manager."""

    def __init__(self, url: str) -> None:
        self._sdk = AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=600.0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sdk.close()

    async def submit(self, rows: int, path: Path) -> str:
        """Write a file of so many rows to `path`, upload it, and return the id of a batch of it."""
        with path.open("wb") as file:
            file.writelines(piece for piece, _ in content_of(rows))
        uploaded = await _answered(lambda: self._sdk.files.create(file=path, purpose="batch"))
        batch = await _answered(
            lambda: self._sdk.batches.create(input_file_id=uploaded.id, endpoint=ENDPOINT, completion_window="24h")
        )
        return batch.id

    async def ended(self, batch_id: str) -> BatchObject:
        """Ask for the batch every now and then, and return it once it has ended."""
        while True:
            batch = await _answered(lambda: self._sdk.batches.retrieve(batch_id))
            if batch.status in ENDED:
                return batch
            await asyncio.sleep(POLL_SECONDS)

    async def digest(self, batch: BatchObject) -> LinesDigest:
        """Return the digest of everything that the batch has written."""
        digest = LinesDigest()
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is not None:
                async with self._sdk.files.with_streaming_response.content(file_id) as response:
                    async for line in lines_in(response.iter_bytes()):
                        digest.add_line(json.loads(line.data))
        return digest


async def _answered(call: Callable[[], Awaitable[Value]]) -> Value:
    """Return the answer to a call, made again while no gateway is there, or none that reaches the broker."""
    while True:
        try:
            return await call()
        except (APIConnectionError, InternalServerError):
            await asyncio.sleep(POLL_SECONDS)
