"""What every store of answers that may be given again does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from cache_entries import KEY, OTHER, entry
from patience import PATIENCE_SECONDS
from queue_rigs import Rig

from fleet.model.cache_entry import UNTOLD, CacheEntry, CacheKey
from fleet.ports import CacheStore


@asynccontextmanager
async def following(store: CacheStore) -> AsyncIterator[asyncio.Queue[CacheEntry | CacheKey]]:
    seen: asyncio.Queue[CacheEntry | CacheKey] = asyncio.Queue()

    async def follow() -> None:
        async for changes in store.follow():
            for each in changes:
                seen.put_nowait(each)

    task = asyncio.create_task(follow())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def by_key(entries: Sequence[CacheEntry]) -> dict[CacheKey, CacheEntry]:
    return {(each.tenant, each.key): each for each in entries}


async def test_what_is_kept_is_read_as_it_was_put_by_all_and_by_tenant(rig: Rig) -> None:
    kept = [entry(), entry(OTHER), entry(tenant="globex", calibration=None)]
    await rig.cache().put(kept)
    assert by_key(await rig.cache().read_all()) == by_key(kept)
    assert await rig.cache().read_all("globex") == kept[2:]


async def test_only_the_latest_of_a_key_is_kept(rig: Rig) -> None:
    await rig.cache().put([entry(job=1)])
    await rig.cache().put([entry(job=2)])
    assert [each.job_id for each in await rig.cache().read_all()] == ["job-0000000000000002"]


async def test_what_is_dropped_is_gone_and_may_come_again(rig: Rig) -> None:
    store = rig.cache()
    await store.put([entry(), entry(OTHER)])
    await store.drop([("acme", KEY)])
    assert [each.key for each in await store.read_all()] == [OTHER]
    await store.put([entry(job=2)])
    assert len(await store.read_all()) == 2


async def test_a_follower_is_told_what_is_there_and_then_what_changes(rig: Rig) -> None:
    store, first, second = rig.cache(), entry(), entry(OTHER)
    await store.put([first])
    async with following(rig.cache()) as seen:
        assert await seen.get() == first
        await store.put([second])
        assert await seen.get() == second
        await store.drop([("acme", OTHER)])
        assert await seen.get() == ("acme", OTHER)


async def test_a_key_never_put_may_be_dropped(rig: Rig) -> None:
    await rig.cache().drop([("acme", KEY)])
    assert await rig.cache().read_all() == []


async def test_all_who_follow_are_told_to_drop_what_they_told_nobody_of(rig: Rig) -> None:
    await rig.cache().put([entry()])
    async with following(rig.cache()) as seen:
        assert isinstance(await seen.get(), CacheEntry)
        await rig.cache().drop([UNTOLD])
        assert await seen.get() == UNTOLD
    assert len(await rig.cache().read_all()) == 1
