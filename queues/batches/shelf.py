"""The seam below files and batches: entries that change by compare-and-set, and chunks that never change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Protocol

from queues.jetstream.stores.cells import NOTHING, Cell
from queues.memory import MemoryBroker
from queues.wire.letters import Message
from queues.wire.record import fields_in
from queues.wire.subjects import result_subject

PAUSE_SECONDS = 0.02
"""Seconds until the next try after another writer was first."""


class Shelf(Protocol):
    """Every method raises `QueueUnavailable`. An entry that was removed has an empty value."""

    async def entries(self, keys: Sequence[str]) -> list[Cell]:
        """Return the entry under each key."""

    async def write(self, key: str, value: bytes, revision: int) -> int | None:
        """Return the new revision, or None if `revision` is not the latest. If this raises, it may be stored."""

    async def store(self, chunks: Sequence[Message]) -> None: ...

    async def chunks(self, subjects: Sequence[str]) -> list[bytes | None]:
        """Return the chunk under each subject, None where there is none."""

    async def keys(self, ending: str) -> Sequence[str]:
        """Return the keys of all tenants that end in these tokens, `*` standing for any one."""

    def watching(self, key: str) -> AbstractAsyncContextManager[asyncio.Event]:
        """Provide an event that is set whenever an entry whose key matches is written, unless an outage hides it."""

    async def known(self, tenant: str, job_ids: Collection[str]) -> Collection[str]:
        """See `fleet.ports.AllBatches`."""


async def rewrite(shelf: Shelf, key: str, change: Callable[[bytes], bytes | None]) -> bool:
    """Replace an entry by what `change` makes of it, however many write to it; return False if that is None."""
    while True:
        [cell] = await shelf.entries([key])
        value = change(cell.value)
        if value is None:
            return False
        if await shelf.write(key, value, cell.revision) is not None:
            return True
        await asyncio.sleep(PAUSE_SECONDS)


class MemoryShelf:
    """A shelf in this process, shared by its holders, beside the jobs of a MemoryBroker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._cells: dict[str, Cell] = {}
        self._chunks: dict[str, bytes] = {}
        self._watched: set[tuple[str, asyncio.Event]] = set()

    async def entries(self, keys: Sequence[str]) -> list[Cell]:
        await asyncio.sleep(0)
        return [self._cells.get(key, NOTHING) for key in keys]

    async def write(self, key: str, value: bytes, revision: int) -> int | None:
        await asyncio.sleep(0)
        if self._cells.get(key, NOTHING).revision != revision:
            return None
        self._cells[key] = Cell(value, revision + 1)
        for watched, event in self._watched:
            if _matches(watched, key):
                event.set()
        return revision + 1

    async def store(self, chunks: Sequence[Message]) -> None:
        self._chunks |= {chunk.subject: chunk.data for chunk in chunks}

    async def chunks(self, subjects: Sequence[str]) -> list[bytes | None]:
        await asyncio.sleep(0)
        return [self._chunks.get(subject) for subject in subjects]

    def lose_chunks(self) -> None:
        """Forget every chunk, as a broker does with what is too old."""
        self._chunks.clear()

    async def keys(self, ending: str) -> Sequence[str]:
        return sorted(key for key, cell in self._cells.items() if cell.value and _matches(f"*.{ending}", key))

    @asynccontextmanager
    async def watching(self, key: str) -> AsyncIterator[asyncio.Event]:
        watched = (key, asyncio.Event())
        self._watched.add(watched)
        try:
            yield watched[1]
        finally:
            self._watched.discard(watched)

    async def known(self, tenant: str, job_ids: Collection[str]) -> Collection[str]:
        waiting = {fields_in(body).get("id") for body in self._broker.waiting(tenant)}
        return {each for each in job_ids if each in waiting or self._broker.last(result_subject(tenant, each))}


def _matches(pattern: str, key: str) -> bool:
    asked, tokens = pattern.split("."), key.split(".")
    return len(asked) == len(tokens) and all(a in ("*", t) for a, t in zip(asked, tokens, strict=True))


async def wait_for(event: asyncio.Event, timeout_seconds: float) -> None:
    """Wait for the event, or for the timeout."""
    # Not asyncio.wait_for: in Python 3.11 it loses a cancellation that comes together with the event.
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            await event.wait()
