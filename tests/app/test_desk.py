"""The broker as an operator sets it up."""

from __future__ import annotations

import nats

from fleet.app import apply_topology


async def test_the_streams_are_made_with_the_lease_that_was_asked_for(broker):
    first = await apply_topology(broker.url, lease_seconds=7.0)
    again = await apply_topology(broker.url, lease_seconds=7.0)
    connection = await nats.connect(broker.url)
    consumers = await connection.jetstream().consumers_info("JOBS")
    await connection.close()
    assert {change.change for change in first} == {"created"}
    assert {change.change for change in again} == {"unchanged"}
    assert {consumer.config.ack_wait for consumer in consumers} == {7.0}
