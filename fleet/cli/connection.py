"""Connects a command to a running fleet."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
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


OUTAGES = {
    "broker_lost": "the broker is away: waiting for it (what was submitted is kept; Ctrl-C ends only this command)",
    "broker_found_again": "the broker is there again",
}
"""What a waiting command says of the events of its connection."""


class _TellsOutages(logging.Handler):
    """Tells whoever waits, on stderr, that it is the broker that everything waits for."""

    def emit(self, record: logging.LogRecord) -> None:
        if (told := OUTAGES.get(record.getMessage())) is not None:
            sys.stderr.write(f"· {told}\n")
            sys.stderr.flush()


@contextmanager
def _outages_told() -> Iterator[None]:
    logger, handler = logging.getLogger("queues.jetstream.client.connection"), _TellsOutages()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


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
    with _outages_told():
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
    with _outages_told():
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
