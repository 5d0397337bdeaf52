"""The broker for a process that works for many tenants at once, such as the gateway: a desk for each of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fleet.app.broker import login_of
from fleet.app.webhooks import endpoints_on
from fleet.model.delivery import Depths
from fleet.settings.environment import LOCAL_NATS_URL, Settings
from fleet.webhooks.endpoints import WebhookEndpoints
from fleet.webhooks.signing import KEY_VARIABLE
from queues.batches import JetStreamShelf, TenantBatches, TenantFiles
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.stores.responses import JetStreamResponses
from queues.jetstream.webhooks.events import JetStreamOutbox
from queues.wire.subjects import JOBS, WORK, depths_of


class Tenants:
    """The desks and records of all tenants. `secret` as for `JetStreamDesk`."""

    def __init__(self, connection: Connection, secret: bytes = b"") -> None:
        self._connection = connection
        self._secret = secret
        self._shelf = JetStreamShelf(connection, by_leader=True)

    def desk(self, tenant: str) -> JetStreamDesk:
        """Return the tenant's desk. Raises: ConfigError if it cannot be a tenant."""
        return JetStreamDesk(self._connection, tenant, self._secret)

    def responses(self, tenant: str) -> JetStreamResponses:
        return JetStreamResponses(self._connection, tenant)

    def files(self, tenant: str) -> TenantFiles:
        return TenantFiles(self._shelf, tenant)

    def batches(self, tenant: str) -> TenantBatches:
        return TenantBatches(self._shelf, tenant)

    @property
    def outbox(self) -> JetStreamOutbox:
        return JetStreamOutbox(self._connection)

    def webhooks(self, settings: Settings) -> WebhookEndpoints | None:
        """Return the webhook endpoints of all tenants; None without the operator's key. Raises: ConfigError."""
        return endpoints_on(self._connection, settings) if os.environ.get(KEY_VARIABLE) else None

    async def depths(self) -> Depths:
        """Count what waits. Raises: QueueUnavailable."""
        jobs, work = await asyncio.gather(*(api.stream_info(self._connection, name, ">") for name in (JOBS, WORK)))
        return depths_of(jobs.subjects, work.subjects)


@asynccontextmanager
async def tenants_of(settings: Settings) -> AsyncIterator[Tenants]:
    """Connect to the broker for as long as the block lasts. Raises: QueueUnavailable; ConfigError for a bad login."""
    login = login_of(settings)
    connection = await connect(settings.nats_url or LOCAL_NATS_URL, name="fleet-gateway", login=login)
    try:
        yield Tenants(connection, login.secret())
    finally:
        await connection.close()
