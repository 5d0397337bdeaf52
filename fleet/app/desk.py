"""The broker from a publisher's and an operator's point of view."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from fleet.ports import DeadLetters, JobDesk
from fleet.settings.environment import Settings
from queues.jetstream.client.connection import connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.stores.dead import JetStreamDeadLetters
from queues.jetstream.topology import TopologySpec, apply


@dataclass(frozen=True, slots=True)
class TopologyChange:
    stream: str
    change: str


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


async def open_desk(nats_url: str, tenant: str, login: Login = ANONYMOUS) -> JobDesk:
    """Connect the publisher's side.

    Raises: QueueUnavailable; ConfigError if the login is refused.
    """
    return await JetStreamDesk.connect(nats_url, tenant, login)


async def open_dead_letters(nats_url: str, login: Login = ANONYMOUS) -> DeadLetters:
    """Connect to the dead letters of all tenants.

    Raises: QueueUnavailable; ConfigError if the login is refused.
    """
    return await JetStreamDeadLetters.connect(nats_url, login)


async def apply_topology(nats_url: str, login: Login = ANONYMOUS, replicas: int | None = None) -> list[TopologyChange]:
    """Create or update the streams and return what changed.

    `replicas` None leaves those of an existing stream.

    Raises: QueueUnavailable; ConfigError if the login or a change is refused.
    """
    connection = await connect(nats_url, login=login)
    try:
        changes = await apply(connection.nats.jetstream(), TopologySpec(replicas=replicas))
    finally:
        await connection.close()
    return [TopologyChange(change.stream, change.kind.value) for change in changes]
