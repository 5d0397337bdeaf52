"""A process that delivers, with everything in memory, a clock that a test moves, and receivers that it scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from patience import eventually

from fleet.model.result import Result
from fleet.model.webhook import EventType, ExpectedResponse, WebhookEndpoint
from fleet.webhooks.deliverer import WebhookDeliverer
from fleet.webhooks.sending import WebhookSender
from fleet.webhooks.signing import Signer
from policies.webhooks import WebhookReply
from queues.memory.webhooks import MemoryEndpoints, MemoryEvents

NOW = 1_000_000.0
LEASE_SECONDS = 30.0
SIGNER = Signer(bytes(32))
OK = WebhookReply(204)

Scripted = Callable[[], Awaitable[WebhookReply]]


@dataclass(frozen=True, slots=True)
class Posted:
    url: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class Bench:
    """What a deliverer works on. `replies` say what comes back from a URL, in order; then the last one again."""

    now: float = NOW
    jitter: float = 0.0
    endpoints: MemoryEndpoints = field(default_factory=MemoryEndpoints)
    posted: list[Posted] = field(default_factory=list)
    replies: dict[str, list[WebhookReply | Exception | Scripted]] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outbox = MemoryEvents(lambda: self.now, LEASE_SECONDS)

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> WebhookReply:
        self.posted.append(Posted(url, headers, body, self.now))
        scripted = self.replies.get(url, [OK])
        reply = scripted[0] if len(scripted) == 1 else scripted.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, WebhookReply) else await reply()

    async def result(self, expected: ExpectedResponse) -> Result | None:
        return self.results.get(expected.job_id)

    async def endpoint(self, number: int = 1, tenant: str = "acme", *types: EventType) -> WebhookEndpoint:
        """Store an endpoint that wants these types, or all."""
        url = f"https://hooks.example/{tenant}/{number}"
        wanted = frozenset(types or EventType)
        made = WebhookEndpoint(f"we_{number:024x}", tenant, "nightly", url, wanted, "ab", NOW, NOW)
        assert await self.endpoints.put(made, 0)
        return made

    def deliverer(self) -> WebhookDeliverer:
        sender = WebhookSender(SIGNER, self, lambda: self.now)
        return WebhookDeliverer(
            self.outbox, self.endpoints, sender, self.result, lambda: self.now, lambda: self.jitter, LEASE_SECONDS
        )

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[WebhookDeliverer]:
        """Run a deliverer; end it as by SIGTERM."""
        deliverer = self.deliverer()
        running = asyncio.create_task(deliverer.run())
        try:
            yield deliverer
        finally:
            deliverer.drain()
            await running

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.outbox.wake()

    async def empty(self) -> None:
        """Wait until nothing is left in the outbox."""
        await eventually(self._is_empty)

    async def _is_empty(self) -> bool:
        return await self.outbox.stored() == 0
