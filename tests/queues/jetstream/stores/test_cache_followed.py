"""What a dispatcher learns from the cache's bucket where somebody purges, deletes or poisons it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from cache_entries import KEY, OTHER, entry
from nats.js import JetStreamContext
from patience import PATIENCE_SECONDS
from structlog.testing import capture_logs

from fleet.model.attempt import Answer, Attempt, Cached, Usage
from fleet.model.cache_entry import UNTOLD, CacheEntry, CacheKey
from fleet.model.caching import DisownedHit
from fleet.model.errors import QueueRefused
from fleet.model.feedback import Feedback, Verdict
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from queues.jetstream.client.connection import connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue
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


@pytest.mark.parametrize(("target", "task"), [("semantic", "classify.sentiment"), ("exact", None), ("llama-8b", None)])
async def test_an_answer_called_bad_is_told_with_whose_it_was_and_which_cache_gave_it(
    own_server: EmbeddedServer, target: str, task: str | None
) -> None:
    async with followed(own_server.url, poll_seconds=0.05) as (_, store, _):
        job_id, before = "job-0000000000000002", "job-0000000000000001"
        answer = Answer({"content": "positive"}, "stop", Usage(), "m")
        cached = None if target == "llama-8b" else Cached(before, "llama-8b", 1.0, Usage(10, 2))
        attempt = Attempt(1, target, Reason.SIMILAR, 1.0, 1.0, answer, cached=cached)
        given = Result(job_id, "acme", Status.SUCCEEDED, Reason.SIMILAR, 2.0, "classify.sentiment", target=target)
        desk = await JetStreamDesk.connect(own_server.url, "acme")
        await JetStreamQueue(desk._connection).publish([replace(given, answer=answer, attempts=(attempt,))])
        await desk.give_feedback(Feedback(job_id, "acme", Verdict.BAD, 0.0, id="feedback-00000001"))
        told = await asyncio.wait_for(anext(store.disowned()), PATIENCE_SECONDS)
        await desk.close()
    hit = None if task is None else DisownedHit(job_id, task, attempt.ended_at)
    assert told == ("acme", {job_id} if cached is None else {job_id, before}, hit)
