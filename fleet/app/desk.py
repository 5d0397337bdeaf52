"""The broker as a publisher and an operator use it."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.ports import JobDesk
from fleet.settings.environment import DEFAULT_LEASE_SECONDS
from queues.connection import connect
from queues.desk import JetStreamDesk
from queues.topology import TopologySpec, apply


@dataclass(frozen=True, slots=True)
class TopologyChange:
    stream: str
    change: str


async def open_desk(nats_url: str, tenant: str) -> JobDesk:
    """The publisher's side, connected. Raises `QueueUnavailable`."""
    return await JetStreamDesk.connect(nats_url, tenant)


async def apply_topology(nats_url: str, lease_seconds: float = DEFAULT_LEASE_SECONDS) -> list[TopologyChange]:
    """Create or update the streams; what changed. `lease_seconds` shall be the dispatchers' own.

    Raises `QueueUnavailable`, `ConfigError` where a stream refuses the change.
    """
    connection = await connect(nats_url)
    try:
        changes = await apply(connection.nats.jetstream(), TopologySpec(ack_wait_seconds=lease_seconds))
    finally:
        await connection.close()
    return [TopologyChange(change.stream, change.kind.value) for change in changes]
