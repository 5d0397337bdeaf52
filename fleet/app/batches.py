"""The process that runs batches, on NATS."""

from __future__ import annotations

import asyncio
import signal

from fleet import logs
from fleet.app.broker import login_of
from fleet.batches.runner import BatchRunner
from fleet.batches.settings import RunSettings
from fleet.model.batch import Batch
from fleet.model.errors import LoginRefused
from fleet.settings.environment import Settings
from queues.batches import EveryBatch, JetStreamShelf
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import Login
from queues.jetstream.desk import JetStreamDesk


async def run_batches(settings: Settings) -> None:
    """Run batches in this process until SIGTERM or SIGINT, then hand them over.

    Raises: QueueUnavailable if no broker answers; LoginRefused, so that a supervisor starts the process again.
    """
    logs.configure(settings.log_level.upper())
    assert settings.nats_url is not None, "settings_for gave the address"
    login, closed = login_of(settings), asyncio.Event()
    connection = await connect(settings.nats_url, name="fleet-batches", login=login, on_closed=closed.set)
    try:
        runner = _runner(connection, login, settings.lease_seconds)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, runner.drain)
        ending = asyncio.create_task(_end_when_closed(runner, closed))
        await runner.run()
        ending.cancel()
    finally:
        await connection.close()


def _runner(connection: Connection, login: Login, lease_seconds: float) -> BatchRunner:
    batches = EveryBatch(JetStreamShelf(connection, by_leader=True))
    secret = login.secret()
    return BatchRunner(
        batches,
        lambda tenant: JetStreamDesk(connection, tenant, secret),
        _tell_nobody,
        RunSettings(lease_seconds=lease_seconds),
    )


async def _end_when_closed(runner: BatchRunner, closed: asyncio.Event) -> None:
    await closed.wait()
    runner.refuse(LoginRefused("NATS ended the connection for good, as where a login is changed or expires"))


async def _tell_nobody(batch: Batch) -> None:
    """Announce nothing."""
