"""Takes contents off their stream into the store, and deletes those that are too old."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(slots=True)
class ContentProgress:
    """The contents that the collector has stored since it started, and whether more wait: the numbers of its metrics.

    `waiting_since` is the unix time since when contents wait, or may wait; None while none does.
    """

    stored: int = 0
    errors: int = 0
    waiting_since: float | None = None

    def waits(self, since: float) -> None:
        """Note that contents wait, or that nobody can say whether they do."""
        self.waiting_since = self.waiting_since or since


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
        self.progress = ContentProgress()
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
            self.progress.waits(self._now())
            try:
                await asyncio.to_thread(self._store.open)
                log.info("content_collecting", keep_days=self._keep_days)
                await self._collect()
            except LoginRefused:
                raise
            except (QueueUnavailable, LedgerUnavailable) as error:
                self.progress.errors += 1
                log.error("content_not_stored", error=str(error))
                await self._pause()

    async def _collect(self) -> None:
        while True:
            found = await self._feed.take(BATCH, WAIT_SECONDS)
            if found:
                self.progress.waits(found[0].at)
                await asyncio.to_thread(self._store.write, found)
                await self._feed.stored()
                self.progress.stored += len(found)
            # As many as may come at once: more wait, and are as old as the last of these.
            self.progress.waiting_since = found[-1].at if len(found) == BATCH else None
            if not found and self._draining.is_set():
                return
            await self._tidy()

    async def _tidy(self) -> None:
        if time.monotonic() - self._tidied_at < TIDY_SECONDS:
            return
        self._tidied_at = time.monotonic()
        await asyncio.to_thread(self._store.forget_erasures, self._now())
        deleted = await asyncio.to_thread(self._store.forget, self._now() - self._keep_days * DAY_SECONDS)
        if deleted:
            log.info("content_deleted", contents=deleted)

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._draining.wait(), self._pause_seconds)
        except TimeoutError:
            return
