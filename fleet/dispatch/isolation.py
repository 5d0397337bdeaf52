"""Keeps calls that are made alone apart from everything that came back and may have crashed a dispatcher before.

New jobs run beside them: a call alone takes as long as its target needs, and nothing new waits for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fleet.dispatch.step import Case


class Isolation:
    """A lock of one dispatcher: many may be in company at once, or one alone. Both take turns."""

    def __init__(self) -> None:
        self._alone = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._company = 0
        self._empty = asyncio.Event()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Wait for all that is in company to end; whoever comes next waits until this block ends."""
        async with self._alone, self._turn:  # one alone asks for its turn at a time: company gets in between two
            while self._company:
                self._empty.clear()
                await self._empty.wait()
            yield

    @asynccontextmanager
    async def in_company(self) -> AsyncIterator[None]:
        """Wait while somebody is alone."""
        async with self._turn:
            self._company += 1
        try:
            yield
        finally:
            self._company -= 1
            self._empty.set()

    @asynccontextmanager
    async def for_calls(self, cases: Iterable[Case]) -> AsyncIterator[None]:
        """In company, where one of the jobs has been handed out before; new ones wait for nobody."""
        if not any(map(_came_back, cases)):
            yield
            return
        async with self.in_company():
            yield

    def apart(self, cases: list[Case]) -> tuple[list[Case], list[Case]]:
        """The cases that need not wait now, and those that do."""
        if not self._alone.locked():
            return cases, []
        return [case for case in cases if not _came_back(case)], [case for case in cases if _came_back(case)]


def _came_back(case: Case) -> bool:
    return case.delivery.deliveries > 1
