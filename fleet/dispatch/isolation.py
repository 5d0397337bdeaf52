"""Keeps calls that are made alone apart from everything that came back and may have crashed a dispatcher before.

New jobs run beside them: a call alone takes as long as its target needs, and nothing new waits for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Isolation:
    """A lock of one dispatcher: many may be in company at once, or one alone. Both take turns."""

    def __init__(self) -> None:
        self._alone = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Future[None]] = set()

    @property
    def is_taken(self) -> bool:
        """Whether somebody is alone, or waits for that."""
        return self._alone.locked()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Wait for all that came back and runs to end; company that comes next waits until this block ends."""
        async with self._alone, self._turn:  # one alone asks for its turn at a time: company gets in between two
            if self._running:
                await asyncio.wait(self._running)
            yield

    @asynccontextmanager
    async def in_company(self) -> AsyncIterator[None]:
        """Wait while somebody is alone."""
        async with self._turn:
            running = self._begin()
        try:
            yield
        finally:
            self._end(running)

    @asynccontextmanager
    async def at_once(self) -> AsyncIterator[None]:
        """Wait for nobody. Whoever is alone next waits for this block to end."""
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
