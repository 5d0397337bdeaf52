"""Leases: the delivery of a job in hand is extended again and again, so that only a dead dispatcher loses it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from fleet import faults
from fleet.dispatch.patience import pause
from fleet.dispatch.state.direct import DirectJobs
from fleet.logs import get_logger
from fleet.model.delivery import AnyDelivery, WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.ports import JobQueue

log = get_logger(__name__)

EXTENSIONS_PER_LEASE = 3
"""Two extensions may get lost before a lease ends."""


def _target_of(delivery: AnyDelivery) -> str | None:
    source = delivery.source
    return source.target if isinstance(source, WorkOf) else None


class Leases:
    """The deliveries in hand, extended all together."""

    def __init__(self, queue: JobQueue, lease_seconds: float, direct: DirectJobs) -> None:
        self._queue = queue
        self._direct = direct
        self._interval_seconds = lease_seconds / EXTENSIONS_PER_LEASE
        self._held: dict[int, AnyDelivery] = {}
        self._bytes: Counter[str | None] = Counter()

    def hold(self, deliveries: Iterable[AnyDelivery]) -> None:
        for delivery in deliveries:
            if id(delivery) not in self._held:
                self._held[id(delivery)] = delivery
                self._bytes[_target_of(delivery)] += len(delivery.raw)

    def release(self, deliveries: Iterable[AnyDelivery]) -> None:
        for delivery in deliveries:
            if self._held.pop(id(delivery), None) is not None:
                self._bytes[_target_of(delivery)] -= len(delivery.raw)
                self._direct.released(delivery)

    def exchange(self, delivery: AnyDelivery, direct: AnyDelivery) -> None:
        """Hold the delivery as that of a direct job from now on."""
        self.release((delivery,))
        self.hold((direct,))
        self._direct.held(direct)

    @property
    def jobs_bytes(self) -> int:
        """Bytes, as sent, of the jobs in hand that have no target yet."""
        return self._bytes[None]

    @property
    def work_bytes(self) -> int:
        """Bytes, as sent, of the work in hand for all targets."""
        return sum(self._bytes.values()) - self._bytes[None]

    def bytes_for(self, target: str) -> int:
        """Return the bytes, as sent, of the work in hand for one target."""
        return self._bytes[target]

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
