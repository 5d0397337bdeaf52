"""Connects a command to a running fleet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from fleet.client import FleetClient
    from fleet.ports import BatchStore, FileStore, JobDesk
    from fleet.settings.environment import Settings
    from queues.jetstream.client.login import Login


class Closing(Protocol):
    async def close(self) -> None: ...


Opened = TypeVar("Opened", bound=Closing)


def settings_for(
    nats_url: str | None, tenant: str | None = None, ledger_url: str | None = None, content_url: str | None = None
) -> Settings:
    """Return the settings for a command that talks to a running fleet: by default the local one.

    Raises: ConfigError if a setting is not valid.
    """
    from fleet.settings.environment import LOCAL_NATS_URL, load

    settings = load(nats_url=nats_url, tenant=tenant, ledger_url=ledger_url, content_url=content_url)
    return settings if settings.nats_url else settings.model_copy(update={"nats_url": LOCAL_NATS_URL})


@asynccontextmanager
async def opened(settings: Settings, opening: Callable[[str, Login], Awaitable[Opened]]) -> AsyncIterator[Opened]:
    """Open a part of the broker with the login of `settings`, and close it at the end.

    Raises: QueueUnavailable if no broker answers.
    """
    from fleet.app import login_of

    assert settings.nats_url is not None, "settings_for or a started fleet gave the address"
    part = await opening(settings.nats_url, login_of(settings))
    try:
        yield part
    finally:
        await part.close()


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[JobDesk]:
    """Open a desk for the tenant of `settings`.

    Raises: QueueUnavailable if no broker answers.
    """
    from fleet.app import login_of, open_desk

    assert settings.nats_url is not None, "settings_for or a started fleet gave the address"
    desk = await open_desk(settings.nats_url, settings.tenant, login_of(settings))
    try:
        yield desk
    finally:
        await desk.close()


@asynccontextmanager
async def open_batches(settings: Settings) -> AsyncIterator[tuple[FileStore, BatchStore]]:
    """Open the files and the batches of the tenant of `settings`.

    Raises: QueueUnavailable if no broker answers.
    """
    from fleet.app import login_of, open_batches

    assert settings.nats_url is not None, "settings_for gave the address"
    async with open_batches(settings.nats_url, settings.tenant, login_of(settings)) as stores:
        yield stores


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[FleetClient]:
    """Open a client for the tenant of `settings`.

    Raises: QueueUnavailable if no broker answers.
    """
    from fleet.bulk.inbox import Inbox
    from fleet.client import FleetClient

    async with open_desk(settings) as desk, Inbox(desk) as inbox:
        yield FleetClient(desk, inbox)
