"""The broker as an operator sets it up."""

from __future__ import annotations

from fleet.app import apply_topology
from fleet.model.delivery import JobsOf
from fleet.model.job import Lane
from queues.jetstream.client.connection import connect
from queues.jetstream.queue import JetStreamQueue


async def test_the_streams_are_made_once(broker):
    first = await apply_topology(broker.url)
    again = await apply_topology(broker.url)
    assert {change.kind.value for change in first} == {"created"}
    assert {change.kind.value for change in again} == {"unchanged"}


async def test_a_consumer_hands_out_with_the_lease_that_its_dispatcher_asks_for(broker):
    await apply_topology(broker.url)
    connection = await connect(broker.url)
    await JetStreamQueue(connection, ack_wait_seconds=7.0).take(JobsOf(Lane.BULK, "acme"), 1, 0.0)
    consumers = await connection.nats.jetstream().consumers_info("JOBS")
    await connection.close()
    assert [consumer.config.ack_wait for consumer in consumers] == [7.0]
