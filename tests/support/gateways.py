"""A gateway over HTTP in front of a fleet in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from ipaddress import ip_network

from fleet.gateway.app import application
from fleet.gateway.caller import Keys
from fleet.gateway.state import Doors
from fleet.model.delivery import Depths
from fleet.settings.documents import load_rules
from fleet.testing import MemoryFleet
from fleet.web import served_on
from fleet.webhooks.addresses import Permitted
from fleet.webhooks.endpoints import WebhookEndpoints
from fleet.webhooks.posting import Poster, SystemResolver
from fleet.webhooks.signing import Signer
from queues.batches import MemoryShelf, TenantBatches, TenantFiles
from queues.jetstream.stores.responses import MemoryResponses
from queues.memory import MemoryBroker, MemoryDesk
from queues.memory.webhooks import MemoryEndpoints, MemoryEvents

RULES = load_rules(None, None, "local")

TENANT = "acme"

POSTER = Poster(Permitted([ip_network("127.0.0.0/8")]), SystemResolver())
"""One for all: it reads every certificate authority of the machine when it is made."""

TEXT_EVENTS = [
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
"""The events of a response that is one text, in order."""


class MemoryTenants:
    """`fleet.gateway.state.Broker` in this process. `refuses`: what it raises in place of an answer."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.shelf = MemoryShelf(broker)
        self.outbox = MemoryEvents()
        self.refuses: Exception | None = None

    def desk(self, tenant: str) -> MemoryDesk:
        self._check()
        return MemoryDesk(self.broker, tenant)

    def responses(self, tenant: str) -> MemoryResponses:
        self._check()
        return MemoryResponses(self.broker, tenant)

    def files(self, tenant: str) -> TenantFiles:
        self._check()
        return TenantFiles(self.shelf, tenant)

    def batches(self, tenant: str) -> TenantBatches:
        self._check()
        return TenantBatches(self.shelf, tenant)

    async def depths(self) -> Depths:
        self._check()
        return self.broker.depths()

    def _check(self) -> None:
        if self.refuses is not None:
            raise self.refuses


def broker_of(fleet: MemoryFleet) -> MemoryBroker:
    return fleet._broker


def doors_to(fleet: MemoryFleet, keys: Keys | None = None) -> Doors:
    webhooks = WebhookEndpoints(MemoryEndpoints(), Signer(bytes(32)), POSTER, time.time)
    return Doors(MemoryTenants(broker_of(fleet)), RULES, keys, TENANT, webhooks=webhooks)


@asynccontextmanager
async def gateway(doors: Doors) -> AsyncIterator[str]:
    """Serve the doors, and provide the address."""
    async with served_on(application(nullcontext(doors)), "127.0.0.1", 0) as port:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await doors.close()
