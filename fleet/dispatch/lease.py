"""Leases: while a job is in hand its delivery is extended, so that only a dead dispatcher loses it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from fleet import faults
from fleet.dispatch.patience import pause
from fleet.model.delivery import AnyDelivery
from fleet.model.errors import QueueUnavailable
from fleet.ports import JobQueue

log = structlog.get_logger(__name__)

EXTENSIONS_PER_LEASE = 3
"""Two extensions may get lost before a lease ends."""


class Leases:
    """The deliveries in hand, extended all together."""

    def __init__(self, queue: JobQueue, lease_seconds: float) -> None:
        self._queue = queue
        self._interval_seconds = lease_seconds / EXTENSIONS_PER_LEASE
        self._held: dict[int, AnyDelivery] = {}

    def hold(self, deliveries: Iterable[AnyDelivery]) -> None:
        for delivery in deliveries:
            self._held[id(delivery)] = delivery

    def release(self, deliveries: Iterable[AnyDelivery]) -> None:
        for delivery in deliveries:
            self._held.pop(id(delivery), None)

    def __len__(self) -> int:
        return len(self._held)

    async def keep(self, stop: asyncio.Event) -> None:
        """Extend everything held, again and again, until `stop` is set."""
        while not await pause(stop, self._interval_seconds):
            await self.extend()

    async def extend(self) -> None:
        try:
            if faults.point("lease.extending"):
                return
            await self._queue.extend(list(self._held.values()))
        except QueueUnavailable as error:
            log.warning("lease_not_extended", held=len(self._held), error=str(error))
