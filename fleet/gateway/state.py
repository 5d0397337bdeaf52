"""What the doors of a gateway share."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Annotated, Protocol

from fastapi import Depends, Request

from fleet.bulk.inbox import Inbox
from fleet.client import FleetClient
from fleet.gateway.access.limits import Limits
from fleet.gateway.access.repeats import SentBefore
from fleet.gateway.caller import Keys
from fleet.model.delivery import Depths, JobsOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Job, Lane
from fleet.model.webhook import ExpectedResponse
from fleet.ports import BatchStore, EventOutbox, FileStore, JobDesk, ResponseStore
from fleet.webhooks.announcing import announce
from fleet.webhooks.endpoints import WebhookEndpoints
from policies.rules.rules import Rules

MAX_FILE_BYTES = 16 * 2**30
"""Maximum bytes of an uploaded file: some fifty million rows."""

DEPTHS_SECONDS = 5.0
"""How long a count of what waits is good enough for a comment."""


class Broker(Protocol):
    """The broker as the gateway uses it: for every tenant, over one connection."""

    def desk(self, tenant: str) -> JobDesk: ...

    def responses(self, tenant: str) -> ResponseStore: ...

    def files(self, tenant: str) -> FileStore: ...

    def batches(self, tenant: str) -> BatchStore: ...

    @property
    def outbox(self) -> EventOutbox: ...

    async def depths(self) -> Depths:
        """Count what waits. Raises: QueueUnavailable."""


class Doors:
    """The broker, the rules and the keys. `keys` None: whoever comes is `development_tenant`.

    `webhooks` None: no endpoint is told of anything.
    """

    def __init__(
        self,
        broker: Broker,
        rules: Rules,
        keys: Keys | None,
        development_tenant: str,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        webhooks: WebhookEndpoints | None = None,
    ) -> None:
        self.broker = broker
        self.rules = rules
        self.keys = keys
        self.development_tenant = development_tenant
        self.now = now
        self.monotonic = monotonic
        self.max_file_bytes = MAX_FILE_BYTES
        self.limits = Limits(rules)
        self.sent_before = SentBefore()
        self.webhooks = webhooks
        self._depths: Depths | None = None
        self._counted_until = 0.0
        self._inboxes: dict[str, Inbox] = {}
        self._open = AsyncExitStack()

    def desk(self, tenant: str) -> JobDesk:
        return self.broker.desk(tenant)

    def responses(self, tenant: str) -> ResponseStore:
        return self.broker.responses(tenant)

    def files(self, tenant: str) -> FileStore:
        return self.broker.files(tenant)

    def batches(self, tenant: str) -> BatchStore:
        return self.broker.batches(tenant)

    async def expect(self, tenant: str, job_id: str) -> None:
        """Have the tenant's endpoints told once the job of a response has its result. Raises: QueueUnavailable."""
        if self.webhooks is not None:
            await announce(self.broker.outbox, ExpectedResponse(tenant, job_id, self.now()))

    def inbox(self, tenant: str) -> Inbox:
        """Return the tenant's inbox, open from its first use until the gateway ends."""
        inbox = self._inboxes.get(tenant)
        if inbox is None:
            inbox = self._inboxes[tenant] = Inbox(self.desk(tenant))
            inbox.open()
            self._open.push_async_exit(inbox)
        return inbox

    def client(self, tenant: str) -> FleetClient:
        return FleetClient(self.desk(tenant), self.inbox(tenant))

    async def waiting(self, tenant: str, lane: Lane) -> int | None:
        """Return how many jobs of the tenant wait in the lane, as counted a moment ago; None if nobody can tell."""
        if self.monotonic() >= self._counted_until:
            self._counted_until = self.monotonic() + DEPTHS_SECONDS  # nobody else counts meanwhile
            try:
                self._depths = await self.broker.depths()
            except QueueUnavailable:
                self._depths = None
        return None if self._depths is None else self._depths.jobs.get(JobsOf(lane, tenant), 0)

    async def admit(self, job: Job, request: Request) -> None:
        """Count a new job against its tenant's quota; the answer says what is left of it. Raises: ApiError, 429."""
        if self.sent_before.may_be_there(job.id):
            return
        is_bounded = self.rules.quotas.of(job.tenant).queued is not None
        waiting = await self.waiting(job.tenant, job.lane) if is_bounded else None
        request.state.headers = self.limits.admit(job, waiting, self.now())

    async def close(self) -> None:
        """Close every inbox."""
        await self._open.aclose()


def doors_of(request: Request) -> Doors:
    doors: Doors = request.app.state.doors
    return doors


TheDoors = Annotated[Doors, Depends(doors_of)]
