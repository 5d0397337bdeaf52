"""Runs what stands beside dispatchers and the ledger's writer: a runner of batches, a gateway, a sender of webhooks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from benchmarks.alerts.stage import TENANT, Process, Stage, process_of
from fleet.app.batches import batch_metrics, batch_runner
from fleet.app.webhooks import event_deliverer, poster_of, webhook_metrics
from fleet.batches.settings import RunSettings
from fleet.gateway.serving import serving
from fleet.settings.environment import load
from fleet.webhooks.sending import WebhookSender
from fleet.webhooks.signing import Signer
from queues.jetstream.client.login import ANONYMOUS

KEY: Final = bytes(range(32))
"""An operator's key for webhooks, which nobody is sent here."""


async def batch_runner_on(stage: Stage) -> Process:
    """Start a runner of batches."""
    runner = batch_runner(stage.connection, ANONYMOUS, RunSettings())
    return await process_of(runner.run(), _calling(runner.drain), lambda: batch_metrics(runner))


async def webhook_sender_on(stage: Stage) -> Process:
    """Start what tells endpoints of events."""
    sender = WebhookSender(Signer(KEY), poster_of(load()), time.time)
    deliverer = event_deliverer(stage.connection, sender, lease_seconds=30.0)
    return await process_of(deliverer.run(), _calling(deliverer.drain), lambda: webhook_metrics(deliverer))


async def gateway_on(stage: Stage) -> Process:
    """Start a gateway, which shows its metrics at its own address as well."""
    free = {"gateway_port": 0, "metrics_port": 0}
    settings = load(nats_url=stage.server.url, tenant=TENANT, gateway_keys="none", **free)
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    ending = asyncio.Event()

    async def serve() -> None:
        async with serving(settings) as found:
            address.set_result(found)
            await ending.wait()

    running = asyncio.create_task(serve())
    await asyncio.wait((running, address), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
    port = int(address.result().rpartition(":")[2])
    return Process(running, _calling(ending.set), _nothing, port)


def _calling(drain: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def call() -> None:
        drain()

    return call


async def _nothing() -> None:
    """Close nothing: the gateway has closed what it served."""
