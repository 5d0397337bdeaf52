"""Webhooks with their real adapters: what the gateway does with endpoints, and the process that delivers events."""

from __future__ import annotations

import asyncio
import base64
import random
import secrets
from collections.abc import Iterator
from pathlib import Path

from fleet import logs
from fleet.app.broker import login_of
from fleet.app.metrics import metrics_of
from fleet.app.worker import SystemClock, unless_closed
from fleet.files import write_secret
from fleet.model.result import Result
from fleet.model.webhook import ExpectedResponse
from fleet.operator_keys import KEY_BYTES
from fleet.settings.environment import LOCAL_NATS_URL, Settings, networks_in
from fleet.signals import when_told_to_end
from fleet.telemetry.metrics import catalogue
from fleet.telemetry.metrics.families import Family, family
from fleet.webhooks.addresses import Permitted
from fleet.webhooks.deliverer import WebhookDeliverer
from fleet.webhooks.endpoints import WebhookEndpoints
from fleet.webhooks.posting import Poster, SystemResolver
from fleet.webhooks.sending import WebhookSender
from fleet.webhooks.signing import Signer
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.webhooks.endpoints import JetStreamEndpoints
from queues.jetstream.webhooks.events import JetStreamEvents

KEY_FILE = "webhook.key"
"""The name of the file with the key of a fleet on this machine."""


def local_key(data_dir: Path) -> str:
    """Return the key that a fleet on this machine signs with: made once, and kept for its owner alone."""
    path = data_dir / KEY_FILE
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        write_secret(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)))
    return path.read_text()


def poster_of(settings: Settings) -> Poster:
    """Return what sends requests to the addresses that these settings permit."""
    return Poster(Permitted(networks_in(settings.webhook_networks)), SystemResolver(), settings.webhook_ca_path)


def endpoints_on(connection: Connection, settings: Settings) -> WebhookEndpoints:
    """Return the endpoints of all tenants. Raises: ConfigError without the operator's key."""
    store, signer = JetStreamEndpoints(connection), Signer.from_environment()
    return WebhookEndpoints(store, signer, poster_of(settings), SystemClock().now)


async def run_webhooks(settings: Settings) -> None:
    """Deliver events until SIGTERM or SIGINT; then let the attempts that run end.

    Raises: QueueUnavailable if there is no broker; ConfigError without the operator's key.
    """
    logs.configure(settings.log_level.upper())
    sender = WebhookSender(Signer.from_environment(), poster_of(settings), SystemClock().now)
    closed, url = asyncio.Event(), settings.nats_url or LOCAL_NATS_URL
    connection = await connect(url, name="fleet-webhooks", login=login_of(settings), on_closed=closed.set)
    try:
        deliverer = event_deliverer(connection, sender, settings.lease_seconds)
        when_told_to_end(deliverer.drain)
        async with metrics_of("webhooks", lambda: webhook_metrics(deliverer), lambda: True, settings):
            await unless_closed(closed, deliverer.run())
    finally:
        await connection.close()


def event_deliverer(connection: Connection, sender: WebhookSender, lease_seconds: float) -> WebhookDeliverer:
    """Return what tells the endpoints of all tenants over this connection."""

    async def results(expected: ExpectedResponse) -> Result | None:
        return await JetStreamDesk(connection, expected.tenant).result(expected.job_id)

    feed, endpoints = JetStreamEvents(connection, lease_seconds), JetStreamEndpoints(connection)
    return WebhookDeliverer(feed, endpoints, sender, results, SystemClock().now, random.random, lease_seconds)


def webhook_metrics(deliverer: WebhookDeliverer) -> Iterator[Family]:
    """Yield the metrics of the process that delivers events."""
    yield family(catalogue.WEBHOOK_ATTEMPTS, {(outcome,): count for outcome, count in deliverer.attempts.items()})
    yield family(catalogue.WEBHOOKS_GIVEN_UP, {(reason,): count for reason, count in deliverer.given_up.items()})
    yield family(catalogue.WEBHOOKS_WAITING, {(): deliverer.waiting})
