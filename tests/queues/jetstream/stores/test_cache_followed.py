"""What a dispatcher learns from the cache's bucket where somebody purges, deletes or poisons it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from cache_entries import KEY, OTHER, entry
from nats.js import JetStreamContext
from patience import PATIENCE_SECONDS
from structlog.testing import capture_logs

from fleet.model.cache_entry import UNTOLD, CacheEntry, CacheKey
from fleet.model.errors import QueueRefused
from queues.jetstream.client.connection import connect
from queues.jetstream.stores.cache import JetStreamCache
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer
from queues.wire.cache import LARGEST_BYTES, encode_cache_entry
from queues.wire.subjects import cache_subject

Changes = AsyncGenerator[Sequence[CacheEntry | CacheKey], None]


async def next_of(following: Changes) -> Sequence[CacheEntry | CacheKey]:
    return await asyncio.wait_for(anext(following), PATIENCE_SECONDS)


async def tenants_in(following: Changes) -> set[str]:
    """Return whose entries come next."""
    return {each.tenant for each in await next_of(following) if isinstance(each, CacheEntry)}


@asynccontextmanager
async def followed(url: str, poll_seconds: float) -> AsyncIterator[tuple[JetStreamContext, JetStreamCache, Changes]]:
    """Yield streams, a store that holds an entry of two tenants each, and one that follows it and has read them."""
    connection = await connect(url)
    js = connection.nats.jetstream()
    await apply(js, TopologySpec())
    store = JetStreamCache(connection, poll_seconds)
    await store.put([entry(tenant="acme"), entry(tenant="globex")])
    following = store.follow()
    assert await tenants_in(following) == {"acme", "globex"}
    yield js, store, following
    await following.aclose()
    await connection.close()


async def test_what_is_purged_is_told_as_gone_and_the_rest_is_not(own_server: EmbeddedServer) -> None:
    async with followed(own_server.url, poll_seconds=0.05) as (js, _, following):
        await js.purge_stream("KV_cache", subject="$KV.cache.acme.*")
        assert list(await next_of(following)) == [("acme", KEY)]


async def test_who_purges_can_say_so_and_then_nobody_has_to_wait(own_server: EmbeddedServer) -> None:
    async with followed(own_server.url, poll_seconds=2 * PATIENCE_SECONDS) as (js, store, following):
        await js.purge_stream("KV_cache", subject="$KV.cache.acme.*")
        await store.drop([UNTOLD])
        assert list(await next_of(following)) == [UNTOLD]
        assert list(await next_of(following)) == [("acme", KEY)]


async def test_where_the_bucket_is_deleted_all_is_forgotten_and_kept_again_once_it_is_made(
    own_server: EmbeddedServer,
) -> None:
    async with followed(own_server.url, poll_seconds=0.05) as (js, store, following):
        await js.delete_stream("KV_cache")
        with pytest.raises(QueueRefused, match="an operator runs `fleet topology apply`"):
            await store.put([entry()])
        await apply(js, TopologySpec())
        assert set(await next_of(following)) == {("acme", KEY), ("globex", KEY)}
        await store.put([entry(tenant="initech")])
        assert await tenants_in(following) == {"initech"}


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON \xff",
        b"{}",
        encode_cache_entry(entry(tenant="globex")),
        encode_cache_entry(entry(OTHER)),
        encode_cache_entry(entry(message={"role": "assistant", "content": "y" * LARGEST_BYTES})),
    ],
    ids=["garbage", "empty", "another tenant's", "another request's", "huge"],
)
async def test_a_poisoned_entry_is_named_and_drops_what_was_there(own_server: EmbeddedServer, body: bytes) -> None:
    async with followed(own_server.url, poll_seconds=0.05) as (js, store, following):
        with capture_logs() as lines:
            await js.publish(cache_subject("acme", KEY), body)
            assert list(await next_of(following)) == [("acme", KEY)]
            await store.drop([("globex", KEY)])
            assert list(await next_of(following)) == [("globex", KEY)]
        [warning] = [each for each in lines if each["log_level"] == "warning"]
        named = {"entries": 1, "subject": cache_subject("acme", KEY)}
        assert warning == {"event": "cache_entries_unreadable", "log_level": "warning", **named}
