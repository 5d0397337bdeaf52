"""A dispatcher forgets what was purged from the bucket, of which the server tells nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from cache_entries import KEY, entry
from nats.js import JetStreamContext
from patience import PATIENCE_SECONDS

from fleet.model.cache_entry import UNTOLD, CacheEntry, CacheKey
from queues.jetstream.client.connection import connect
from queues.jetstream.stores.cache import JetStreamCache
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer

Changes = AsyncGenerator[Sequence[CacheEntry | CacheKey], None]


@asynccontextmanager
async def followed(url: str, poll_seconds: float) -> AsyncIterator[tuple[JetStreamContext, JetStreamCache, Changes]]:
    """Yield streams, a store that holds an entry of two tenants each, and one that follows it and has read them."""
    connection = await connect(url)
    js = connection.nats.jetstream()
    await apply(js, TopologySpec())
    store = JetStreamCache(connection, poll_seconds)
    await store.put([entry(tenant="acme"), entry(tenant="globex")])
    following = store.follow()
    found = {each.tenant for each in await anext(following) if isinstance(each, CacheEntry)}
    assert found == {"acme", "globex"}
    yield js, store, following
    await following.aclose()
    await connection.close()


async def test_what_is_purged_is_told_as_gone_and_the_rest_is_not(own_server: EmbeddedServer) -> None:
    async with followed(own_server.url, poll_seconds=0.05) as (js, _, following):
        await js.purge_stream("KV_cache", subject="$KV.cache.acme.*")
        assert list(await asyncio.wait_for(anext(following), PATIENCE_SECONDS)) == [("acme", KEY)]


async def test_who_purges_can_say_so_and_then_nobody_has_to_wait(own_server: EmbeddedServer) -> None:
    async with followed(own_server.url, poll_seconds=2 * PATIENCE_SECONDS) as (js, store, following):
        await js.purge_stream("KV_cache", subject="$KV.cache.acme.*")
        await store.drop([UNTOLD])
        assert list(await asyncio.wait_for(anext(following), PATIENCE_SECONDS)) == [UNTOLD]
        assert list(await asyncio.wait_for(anext(following), PATIENCE_SECONDS)) == [("acme", KEY)]
