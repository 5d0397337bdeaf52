"""Follows a store in a test, and keeps what it tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from patience import PATIENCE_SECONDS

Told = TypeVar("Told")
Tells = TypeVar("Tells", covariant=True)


class Watched(Protocol[Tells]):
    """A store that tells whoever watches it of what it holds."""

    def watch(self, on_change: Callable[[Tells], None]) -> Coroutine[Any, Any, None]: ...


@asynccontextmanager
async def watching(store: Watched[Told]) -> AsyncIterator[asyncio.Queue[Told]]:
    """Watch the store, and give what it tells in order."""
    seen: asyncio.Queue[Told] = asyncio.Queue()
    task = asyncio.create_task(store.watch(seen.put_nowait))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
