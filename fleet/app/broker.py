"""The broker from a publisher's and an operator's point of view: each part of it on a connection of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pydantic import SecretStr

from fleet.settings.environment import Settings
from queues.batches import JetStreamShelf, TenantBatches, TenantFiles
from queues.jetstream.client.connection import connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.consuming.contents import JetStreamContents
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.maintenance.erasing import JetStreamErasing
from queues.jetstream.stores.cache import JetStreamCache
from queues.jetstream.stores.calibrations import JetStreamCalibrations
from queues.jetstream.stores.dead import JetStreamDeadLetters
from queues.jetstream.stores.journal import JetStreamJournal
from queues.jetstream.stores.keys import JetStreamKeys
from queues.jetstream.stores.ledger import JetStreamLedger
from queues.jetstream.stores.promises import JetStreamCachePromises
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import Change, apply

open_desk = JetStreamDesk.connect
"""Connects a publisher."""

open_dead_letters = JetStreamDeadLetters.connect
"""Connects to the dead letters of all tenants."""

open_journal = JetStreamJournal.connect
"""Connects to the ledger and the feedback of all tenants."""

open_ledger_feed = JetStreamLedger.connect
"""Connects to the accounts of all tenants, for the one process that writes them to a database."""

open_contents = JetStreamContents.connect
"""Connects to the contents that are to be stored, of all tenants."""

open_erasing = JetStreamErasing.connect
"""Connects to all streams, to erase what is in them about a tenant or a person."""

open_calibrations = JetStreamCalibrations.connect
"""Connects to the calibrations in force."""

open_cache = JetStreamCache.connect
"""Connects to the answers of all tenants that may be given again."""

open_cache_promises = JetStreamCachePromises.connect
"""Connects to what the semantic cache promises."""

open_keys = JetStreamKeys.connect
"""Connects to the API keys of all tenants."""


@asynccontextmanager
async def open_batches(
    nats_url: str, tenant: str, login: Login = ANONYMOUS
) -> AsyncIterator[tuple[TenantFiles, TenantBatches]]:
    """Open the files and the batches of a tenant. Raises: QueueUnavailable if no broker answers."""
    connection = await connect(nats_url, login=login)
    try:
        shelf = JetStreamShelf(connection)
        yield TenantFiles(shelf, tenant), TenantBatches(shelf, tenant)
    finally:
        await connection.close()


def login_of(settings: Settings) -> Login:
    """Return the NATS login that the settings ask for."""
    return Login(
        user=settings.nats_user,
        password=_clear(settings.nats_password),
        creds_path=settings.nats_creds_path,
        nkey_seed=_clear(settings.nats_nkey_seed),
        ca_path=settings.nats_ca_path,
        inbox_prefix=settings.nats_inbox_prefix,
    )


def _clear(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


async def apply_topology(nats_url: str, login: Login = ANONYMOUS, replicas: int | None = None) -> Sequence[Change]:
    """Create or update the streams and return what changed.

    `replicas` None leaves those of an existing stream.

    Raises: QueueUnavailable; ConfigError if the login or a change is refused.
    """
    connection = await connect(nats_url, login=login)
    try:
        return await apply(connection.nats.jetstream(), TopologySpec(replicas=replicas))
    finally:
        await connection.close()
