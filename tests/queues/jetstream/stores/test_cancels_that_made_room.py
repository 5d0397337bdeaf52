"""A stream of wishes that is full forgets the oldest: whoever reads it is told since when it is complete."""

from __future__ import annotations

import asyncio

import pytest
from nats.js.errors import APIError
from patience import PATIENCE_SECONDS

from queues.jetstream.client.connection import connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.stores.cancels import NEVER_FULL, JetStreamCancels
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.shares import FLOORS, LARGEST_CANCEL
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer
from queues.wire.subjects import CANCELS, cancel_subject


async def test_it_is_told_since_when_every_wish_is_known(own_server: EmbeddedServer) -> None:
    connection = await connect(own_server.url)
    js = connection.nats.jetstream()
    await apply(js, TopologySpec())
    config = (await js.stream_info(CANCELS)).config
    await js.update_stream(config.evolve(max_msgs=NEVER_FULL + 10))
    desk = JetStreamDesk(connection, "acme")
    for number in range(NEVER_FULL + 30):
        await desk.cancel(f"job-{number:012d}")
    told: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()

    async def follow() -> None:
        async for _ in JetStreamCancels(connection).follow(
            lambda known_since: told.done() or told.set_result(known_since)
        ):
            pass

    following = asyncio.create_task(follow())
    async with asyncio.timeout(PATIENCE_SECONDS):
        known_since = await told
    following.cancel()
    state = (await js.stream_info(CANCELS)).state
    assert state.first_seq == state.last_seq - NEVER_FULL - 9, "some have made room"
    oldest = await js.get_msg(CANCELS, state.first_seq)
    assert known_since is not None and abs(known_since - oldest.time.timestamp()) < 0.001
    await connection.close()


async def test_the_smallest_stream_holds_as_many_as_are_taken_for_all(own_server: EmbeddedServer) -> None:
    """Whatever bodies strangers give them: a larger one is refused."""
    connection = await connect(own_server.url)
    js = connection.nats.jetstream()
    await apply(js, TopologySpec())
    config = (await js.stream_info(CANCELS)).config
    await js.update_stream(config.evolve(max_bytes=FLOORS[CANCELS]))
    for number in range(NEVER_FULL):
        await js.publish(cancel_subject("t" * 64, f"{number:064d}"), b"x" * LARGEST_CANCEL)
    assert (await js.stream_info(CANCELS)).state.messages == NEVER_FULL
    with pytest.raises(APIError, match="message size exceeds"):
        await js.publish(cancel_subject("acme", "job-000000000001"), b"x" * (LARGEST_CANCEL + 1))
    await connection.close()
