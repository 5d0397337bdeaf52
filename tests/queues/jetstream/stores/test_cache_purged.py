"""A dispatcher forgets what was purged from the bucket, of which the server tells nobody."""

from __future__ import annotations

import asyncio
import time

from patience import PATIENCE_SECONDS

from fleet.model.attempt import Usage
from fleet.model.cache_entry import CacheEntry
from queues.jetstream.client.connection import connect
from queues.jetstream.stores.cache import JetStreamCache
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer


def entry(tenant: str) -> CacheEntry:
    at = time.time()
    told = ({"role": "assistant", "content": "yes"}, "stop", "invented/8b", Usage(1, 1))
    return CacheEntry(tenant, "0f" * 32, "job-0123456789abcdef", "chat", "llama-8b", at, at + 60.0, *told)


async def test_what_is_purged_is_told_as_gone_and_the_rest_is_not(own_server: EmbeddedServer) -> None:
    connection = await connect(own_server.url)
    js = connection.nats.jetstream()
    await apply(js, TopologySpec())
    store = JetStreamCache(connection, poll_seconds=0.05)
    await store.put([entry("acme"), entry("globex")])
    following = store.follow()
    found = {each.tenant for each in await anext(following) if isinstance(each, CacheEntry)}
    assert found == {"acme", "globex"}
    await js.purge_stream("KV_cache", subject="$KV.cache.acme.*")
    assert list(await asyncio.wait_for(anext(following), PATIENCE_SECONDS)) == [("acme", "0f" * 32)]
    await following.aclose()
    await connection.close()
