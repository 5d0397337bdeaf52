"""Takes contents off their stream into the store, and deletes those that are too old."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from fleet.content.store import ContentStore
from fleet.logs import get_logger
from fleet.model.content import Content
from fleet.model.errors import LedgerUnavailable, LoginRefused, QueueUnavailable

BATCH = 100
WAIT_SECONDS = 1.0
"""Seconds to wait for a content; so long it takes to notice that the process should end."""

PAUSE_SECONDS = 5.0
TIDY_SECONDS = 3600.0
DAY_SECONDS = 86_400.0

log = get_logger(__name__)


class ContentFeed(Protocol):
    """The contents that dispatchers have sent and nobody has stored yet."""

    async def take(self, limit: int, wait_seconds: float) -> Sequence[Content]:
        """Return up to `limit` contents; none if none comes within `wait_seconds`. Raises: QueueUnavailable."""

    async def stored(self) -> None:
        """Have the broker forget what the last `take` returned. Raises: QueueUnavailable."""

    async def close(self) -> None: ...


class ContentCollector:
    """Stores contents until drained; what fails is tried again, and meanwhile the stream keeps them."""

    def __init__(
        self,
        feed: ContentFeed,
        store: ContentStore,
        keep_days: int,
        now: Callable[[], float] = time.time,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._feed = feed
        self._store = store
        self._keep_days = keep_days
        self._now = now
        self._pause_seconds = pause_seconds
        self._draining = asyncio.Event()
        self._tidied_at = -TIDY_SECONDS

    def drain(self) -> None:
        """Have `run` end once there is nothing to take."""
        self._draining.set()

    async def run(self) -> None:
        """Store contents until drained. Raises: LoginRefused."""
        while not self._draining.is_set():
            try:
                await asyncio.to_thread(self._store.open)
                await self._collect()
            except LoginRefused:
                raise
            except (QueueUnavailable, LedgerUnavailable) as error:
                log.error("content_not_stored", error=str(error))
                await self._pause()

    async def _collect(self) -> None:
        while True:
            found = await self._feed.take(BATCH, WAIT_SECONDS)
            if found:
                await asyncio.to_thread(self._store.write, found)
                await self._feed.stored()
            elif self._draining.is_set():
                return
            await self._tidy()

    async def _tidy(self) -> None:
        if time.monotonic() - self._tidied_at < TIDY_SECONDS:
            return
        self._tidied_at = time.monotonic()
        deleted = await asyncio.to_thread(self._store.forget, self._now() - self._keep_days * DAY_SECONDS)
        if deleted:
            log.info("content_deleted", contents=deleted)

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._draining.wait(), self._pause_seconds)
        except TimeoutError:
            return
