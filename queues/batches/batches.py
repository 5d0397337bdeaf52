"""The batches of a tenant, and of all tenants."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence

from fleet.logs import get_logger
from fleet.model.batch import BATCH_ID, Batch
from fleet.model.errors import LoginRefused, QueueUnavailable
from queues.batches.files import ENTRIES_AT_ONCE, TenantFiles
from queues.batches.lists import add_to_list, ids_in_list
from queues.batches.shelf import Shelf, wait_for
from queues.wire.batches.records import decode_batch, encode_batch
from queues.wire.subjects import batch_key

POLL_SECONDS = 1.0
"""Seconds between looks of a watcher to whom nothing is announced."""

SETTLE_SECONDS = 0.02
"""Seconds from an announcement to a look: the broker announces an entry before it stores it."""

log = get_logger(__name__)


class TenantBatches:
    """Implements `fleet.ports.BatchStore`."""

    def __init__(self, shelf: Shelf, tenant: str, poll_seconds: float = POLL_SECONDS) -> None:
        self._shelf = shelf
        self._tenant = tenant
        self._poll_seconds = poll_seconds

    async def create(self, batch: Batch) -> bool:
        await add_to_list(self._shelf, self._tenant, "batch", batch.id, batch.created_at)
        return await self._shelf.write(self._key(batch.id), encode_batch(batch), 0) is not None

    async def get(self, batch_id: str) -> tuple[Batch, int] | None:
        if BATCH_ID.fullmatch(batch_id) is None:
            return None
        [cell] = await self._shelf.entries([self._key(batch_id)])
        batch = readable(self._key(batch_id), cell.value)
        return None if batch is None else (batch, cell.revision)

    async def update(self, batch: Batch, revision: int) -> int | None:
        return await self._shelf.write(self._key(batch.id), encode_batch(batch), revision)

    async def list(self, limit: int | None = None, after: str | None = None) -> Sequence[Batch]:
        ids = await ids_in_list(self._shelf, self._tenant, "batch")
        if after is not None:
            ids = ids[ids.index(after) + 1 :] if after in ids else []
        found: list[Batch] = []
        while ids and (limit is None or len(found) < limit):
            wanted = ENTRIES_AT_ONCE if limit is None else min(limit - len(found), ENTRIES_AT_ONCE)
            keys, ids = [self._key(each) for each in ids[:wanted]], ids[wanted:]
            cells = await self._shelf.entries(keys)
            read = (readable(key, cell.value) for key, cell in zip(keys, cells, strict=True))
            found += [batch for batch in read if batch is not None]
        return found

    async def watch(self, batch_id: str) -> AsyncIterator[Batch]:
        seen = 0
        while True:
            try:
                async with self._shelf.watching(self._key(batch_id)) as changed:
                    while True:
                        changed.clear()
                        found = await self.get(batch_id)
                        if found is None:
                            return
                        batch, revision = found
                        if revision != seen:
                            yield batch
                            seen = revision
                        if batch.status.is_final:
                            return
                        await wait_for(changed, self._poll_seconds)
                        await asyncio.sleep(SETTLE_SECONDS)
            except LoginRefused:
                raise
            except QueueUnavailable as error:
                log.debug("batch_not_read", batch=batch_id, error=str(error))
                await asyncio.sleep(self._poll_seconds)

    def _key(self, batch_id: str) -> str:
        return batch_key(self._tenant, batch_id)


class EveryBatch:
    """Implements `fleet.ports.AllBatches`. `now` gives unix seconds."""

    def __init__(self, shelf: Shelf, now: Callable[[], float] = time.time) -> None:
        self._shelf = shelf
        self._now = now
        self._ended: set[str] = set()

    async def unfinished(self) -> Sequence[tuple[Batch, int]]:
        keys = await self._shelf.keys(batch_key("*", "*").partition(".")[2])
        self._ended &= set(keys)
        keys = [key for key in keys if key not in self._ended]
        found: list[tuple[Batch, int]] = []
        for start in range(0, len(keys), ENTRIES_AT_ONCE):
            some = keys[start : start + ENTRIES_AT_ONCE]
            for key, cell in zip(some, await self._shelf.entries(some), strict=True):
                batch = readable(key, cell.value)
                if batch is None or (batch.status.is_final and batch.told):
                    self._ended.add(key)  # no entry of these changes any more
                else:
                    found.append((batch, cell.revision))
        return sorted(found, key=lambda each: each[0].created_at)

    async def changed(self, timeout_seconds: float) -> None:
        async with self._shelf.watching(batch_key("*", "*")) as changed:
            await wait_for(changed, timeout_seconds)

    async def known(self, tenant: str, job_ids: Collection[str]) -> Collection[str]:
        return await self._shelf.known(tenant, job_ids)

    def files(self, tenant: str) -> TenantFiles:
        return TenantFiles(self._shelf, tenant, self._now)

    def batches(self, tenant: str) -> TenantBatches:
        return TenantBatches(self._shelf, tenant)


def readable(key: str, body: bytes) -> Batch | None:
    """Return the batch; None where there is none, or where the entry is of another key."""
    if not body:
        return None
    try:
        batch = decode_batch(body)
    except ValueError as error:
        log.warning("batch_left_out", entry=key, problem=str(error))
        return None
    return batch if batch_key(batch.tenant, batch.id) == key else None
