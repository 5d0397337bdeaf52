"""A reading that all visitors share: asked for again when it is old, and shown with its age where that takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from fleet.logs import get_logger
from fleet.model.errors import FleetError

log = get_logger(__name__)

Value = TypeVar("Value")

PATIENCE_SECONDS = 3.0
"""Seconds that a page waits for a reading where it has none, or one from before the last visitor left."""

OLD_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Reading(Generic[Value]):
    """The last value read, None if there was none so far, and why the last attempt to read failed, if it did."""

    value: Value | None
    trouble: str | None


class Shared(Generic[Value]):
    """Reads at most once at a time, and not at all while nobody looks. `now` is a monotonic clock."""

    def __init__(
        self, name: str, read: Callable[[], Awaitable[Value]], fresh_seconds: float, now: Callable[[], float]
    ) -> None:
        self._name = name
        self._read = read
        self._fresh_seconds = fresh_seconds
        self._now = now
        self._reading: Reading[Value] = Reading(None, None)
        self._read_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def latest(self) -> Reading[Value]:
        """Return a value that is fresh, or else the last one at once while the next is being read.

        A page waits only where the last value is missing or really old.
        """
        age = self._now() - self._read_at
        if age >= self._fresh_seconds:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._refresh())
            if age >= OLD_SECONDS:
                await asyncio.wait({self._task}, timeout=PATIENCE_SECONDS)
        return self._reading

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _refresh(self) -> None:
        try:
            self._reading = Reading(await self._read(), None)
        except FleetError as error:
            self._fail(str(error))
        except Exception:
            log.exception("console_reading_failed", reading=self._name)
            self._fail("this cannot be read: the console's log says why")
        self._read_at = self._now()

    def _fail(self, trouble: str) -> None:
        if trouble != self._reading.trouble:
            log.warning("console_reading_refused", reading=self._name, error=trouble)
        self._reading = Reading(self._reading.value, trouble)
