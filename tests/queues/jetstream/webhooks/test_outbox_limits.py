"""The outbox on NATS: one tenant's events leave room for those of others, and too many of them are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet.model.errors import QueueRefused
from fleet.model.webhook import EventType, WebhookDelivery, WebhookEvent
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.streams.configs import MOST_EVENTS, TopologySpec
from queues.jetstream.streams.topology import apply
from queues.jetstream.webhooks.events import JetStreamEvents, JetStreamOutbox
from queues.server.embedded import EmbeddedServer


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    with EmbeddedServer(tmp_path / "nats") as server:
        connected = await connect(server.url)
        await apply(connected.nats.jetstream(), TopologySpec())
        yield connected
        await connected.close()


def events(count: int, tenant: str = "acme") -> list[WebhookEvent]:
    return [WebhookEvent(tenant, EventType.BATCH_FAILED, f"batch_{number}", 1.0) for number in range(count)]


async def test_a_tenant_beyond_its_share_is_refused_and_no_other(connection: Connection) -> None:
    js = connection.nats.jetstream()
    config = (await js.stream_info("EVENTS")).config
    assert config.max_msgs_per_subject == MOST_EVENTS
    await js.update_stream(config.evolve(max_msgs_per_subject=3))
    outbox = JetStreamOutbox(connection)
    await outbox.announce(events(3))

    with pytest.raises(QueueRefused):
        await outbox.announce(events(4))
    await outbox.announce(events(3, "beta"))

    assert await JetStreamEvents(connection, 30.0).stored() == 6


async def test_deliveries_have_room_of_their_own(connection: Connection) -> None:
    js = connection.nats.jetstream()
    config = (await js.stream_info("EVENTS")).config
    await js.update_stream(config.evolve(max_msgs_per_subject=1))
    await JetStreamOutbox(connection).announce(events(1))
    feed = JetStreamEvents(connection, 30.0)
    [taken] = await feed.take(1, 30.0)
    endpoints = [f"we_{number:024x}" for number in range(5)]
    await feed.fan_out(taken, [WebhookDelivery(events(1)[0], endpoint, 1, 1.0) for endpoint in endpoints])
    assert await feed.stored() == 5
