"""Keeps calls that are made alone apart from all jobs that came back and may have crashed a dispatcher before.

New jobs run beside them: a call made alone takes as long as its target needs, and no new job waits for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Isolation:
    """A lock of one dispatcher: many holders may be in company at once, or one alone. Both kinds take turns."""

    def __init__(self) -> None:
        self._alone = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Future[None]] = set()

    @property
    def is_taken(self) -> bool:
        """Return whether a holder is alone, or waits to be."""
        return self._alone.locked()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Wait for all holders that run to end; company that comes next waits until this block ends."""
        async with self._alone, self._turn:  # only one alone asks for its turn at a time: company gets in
            if self._running:
                await asyncio.wait(self._running)
            yield

    @asynccontextmanager
    async def in_company(self) -> AsyncIterator[None]:
        """Wait while a holder is alone."""
        async with self._turn:
            running = self._begin()
        try:
            yield
        finally:
            self._end(running)

    @asynccontextmanager
    async def at_once(self) -> AsyncIterator[None]:
        """Wait for nobody. The next holder alone waits for this block to end."""
        running = self._begin()
        try:
            yield
        finally:
            self._end(running)

    def _begin(self) -> asyncio.Future[None]:
        running = asyncio.get_running_loop().create_future()
        self._running.add(running)
        return running

    def _end(self, running: asyncio.Future[None]) -> None:
        self._running.discard(running)
        running.set_result(None)
