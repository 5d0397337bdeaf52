"""The entry of a batch in the hands of the one process that runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from fleet.logs import get_logger
from fleet.model.batch import Batch
from fleet.model.errors import LoginRefused, PartMissing, QueueUnavailable
from fleet.ports import BatchStore

PAUSE_SECONDS = 1.0
"""Seconds until the next try where the broker does not answer."""

Value = TypeVar("Value")

log = get_logger(__name__)


class LeaseLost(Exception):
    """Raised if another process runs the batch now, or it is gone."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that runs batches. After `seconds` without a word of it another one may. `now` gives unix seconds."""

    owner: str
    seconds: float
    now: Callable[[], float]

    def may_take(self, batch: Batch) -> bool:
        """Return whether nobody else runs the batch."""
        # It is ours already where nobody knew whether the lease was stored.
        return batch.progress.owner in (None, self.owner) or batch.progress.leased_until <= self.now()

    def leased(self, batch: Batch) -> Batch:
        progress = replace(batch.progress, owner=self.owner, leased_until=self.now() + self.seconds)
        return replace(batch, progress=progress)


class Entry:
    """A leased entry.

    Only cancelling changes it from outside, so what is saved is told as what it shall be: saving it again, where nobody
    knows whether it was stored, changes nothing.
    """

    def __init__(self, store: BatchStore, batch: Batch, revision: int, holder: Holder) -> None:
        self.batch = batch
        self._store = store
        self._revision = revision
        self._holder = holder
        self._saving = asyncio.Lock()

    @classmethod
    async def lease(cls, store: BatchStore, batch: Batch, revision: int, holder: Holder) -> Entry | None:
        """Return the entry, leased to the holder; None if another process was first. Raises: QueueUnavailable."""
        leased = holder.leased(batch)
        taken = await store.update(leased, revision)
        return None if taken is None else cls(store, leased, taken, holder)

    async def save(self, change: Callable[[Batch], Batch]) -> Batch:
        """Store the batch as `change` makes it, and renew the lease; return it. Outages are waited out.

        Raises: LeaseLost, LoginRefused.
        """
        async with self._saving:
            while True:
                wanted = self._holder.leased(change(self.batch))
                revision = await self._update(wanted)
                if revision is not None:
                    self.batch, self._revision = wanted, revision
                    return wanted
                await self._read_again()

    async def keep(self) -> None:
        """Renew the lease if a third of it is over. Raises: LeaseLost, LoginRefused."""
        if self.batch.progress.leased_until - self._holder.now() < self._holder.seconds * 2 / 3:
            await self.save(lambda batch: batch)

    async def release(self) -> None:
        """Let another process run the batch at once. Raises: LoginRefused."""
        async with self._saving:
            progress = replace(self.batch.progress, owner=None, leased_until=0.0)
            await self._update(replace(self.batch, progress=progress))

    async def _update(self, wanted: Batch) -> int | None:
        """Return the new revision; None if somebody else has stored one, or if nobody knows."""
        try:
            return await self._store.update(wanted, self._revision)
        except LoginRefused:
            raise
        except QueueUnavailable as error:
            log.warning("batch_waits_for_broker", error=str(error))
            return None

    async def _read_again(self) -> None:
        found = await outlasting(lambda: self._store.get(self.batch.id))
        if found is None or found[0].progress.owner != self._holder.owner:
            raise LeaseLost
        self.batch, self._revision = found


async def outlasting(call: Callable[[], Awaitable[Value]]) -> Value:
    """Return what the call returns, made again while the broker does not answer. Raises: LoginRefused, PartMissing."""
    while True:
        try:
            return await call()
        except (LoginRefused, PartMissing):
            raise
        except QueueUnavailable as error:
            log.warning("batch_waits_for_broker", error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)
