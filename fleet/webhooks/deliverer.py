"""Delivers events: takes them from the outbox, tells every endpoint that wants them, and tries again by the schedule.

What is known of a delivery lies in the outbox, so that the end of this process at any moment costs nothing but a
repeated attempt. Receivers know a repetition by its id.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from time import monotonic

from fleet.logs import get_logger
from fleet.model.errors import LoginRefused, QueueUnavailable
from fleet.model.result import Result
from fleet.model.webhook import ExpectedResponse, TakenEvent, WebhookDelivery, WebhookEndpoint, WebhookEvent
from fleet.webhooks.pacing import Pace
from fleet.webhooks.ports import EndpointStore, EventFeed
from fleet.webhooks.responses import event_of
from fleet.webhooks.sending import WebhookSender
from policies.webhooks import (
    Arrived,
    EndpointGone,
    NextAttempt,
    NoMoreAttempts,
    Verdict,
    WebhookReply,
    after_attempt,
    look_again_seconds,
)

MOST_IN_HAND = 1000
"""Messages in hand at once, attempts that run included."""

BATCH = 100
WAIT_SECONDS = 1.0
"""Seconds to wait for a message; so long it takes to notice that the process should end."""

PAUSE_SECONDS = 1.0
"""Seconds between tries while the broker is away."""

BUG_SECONDS = 60.0
"""Seconds until a message that met a bug is taken again."""

MOST_WAITING = 10_000
"""Maximum deliveries that wait for one endpoint. Further events are not sent to it, and that is logged."""

MOST_PACES = 4096
"""Endpoints remembered before those that have nothing to do are forgotten."""

EXPECTED_SECONDS = 26 * 3600.0
"""Seconds after which a response can have no result any more: results are kept for a day."""

REASONS = ("attempts_exhausted", "endpoint_gone", "not_wanted", "backlog_full", "no_result")
"""Why a delivery is given up."""

OUTCOMES = ("delivered", "failed", "gone")
"""What an attempt brought."""

log = get_logger(__name__)

Results = Callable[[ExpectedResponse], Awaitable[Result | None]]
"""Returns the result of a response's job, or None while there is none. Raises: QueueUnavailable."""


class WebhookDeliverer:
    """Delivers until drained. `now` gives unix seconds, `draw` the jitter, from 0 to 1."""

    def __init__(
        self,
        feed: EventFeed,
        endpoints: EndpointStore,
        sender: WebhookSender,
        results: Results,
        now: Callable[[], float],
        draw: Callable[[], float],
        lease_seconds: float,
    ) -> None:
        self._feed = feed
        self._endpoints = endpoints
        self._sender = sender
        self._results = results
        self._now = now
        self._draw = draw
        self._lease_seconds = lease_seconds
        self._in_hand: dict[asyncio.Task[None], TakenEvent] = {}
        self._paces: dict[str, Pace] = {}
        self._full: set[str] = set()
        self._draining = asyncio.Event()
        self.attempts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self.given_up: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.waiting = 0
        """Messages in the outbox when it was last looked at."""

    def drain(self) -> None:
        """Have `run` end once the attempts that run have ended."""
        self._draining.set()

    async def run(self) -> None:
        """Deliver until drained. Raises: LoginRefused."""
        keeping = asyncio.create_task(self._keep())
        try:
            while not self._draining.is_set():
                try:
                    await self._take()
                except LoginRefused:
                    raise
                except QueueUnavailable as error:
                    log.warning("webhooks_not_taken", error=str(error))
                    await self._pause(PAUSE_SECONDS)
            if self._in_hand:
                await asyncio.wait(self._in_hand)
        finally:
            for task in (keeping, *self._in_hand):
                task.cancel()

    async def _take(self) -> None:
        while (room := MOST_IN_HAND - len(self._in_hand)) <= 0:
            await asyncio.wait(self._in_hand, return_when=asyncio.FIRST_COMPLETED)
        for taken in await self._feed.take(min(BATCH, room), WAIT_SECONDS):
            task = asyncio.create_task(self._handle(taken))
            self._in_hand[task] = taken
            task.add_done_callback(self._in_hand.pop)

    async def _keep(self) -> None:
        """Renew the leases of what is in hand, and look how much waits."""
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            try:
                await self._feed.extend(list(self._in_hand.values()))
                self.waiting = await self._feed.stored()
            except QueueUnavailable as error:
                log.debug("webhook_leases_not_renewed", error=str(error))

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._draining.wait(), seconds)
        except TimeoutError:
            return

    async def _handle(self, taken: TakenEvent) -> None:
        """Carry one message on. Whatever fails, it is taken again when its lease ends."""
        try:
            match taken.body:
                case WebhookEvent() as event:
                    await self._fan_out(taken, event)
                case ExpectedResponse() as expected:
                    await self._expect(taken, expected)
                case WebhookDelivery() as delivery:
                    await self._deliver(taken, delivery)
        except QueueUnavailable as error:
            log.debug("webhook_not_carried_on", error=str(error))
        except Exception:
            log.exception("webhook_met_a_bug", tenant=_tenant_of(taken))
            with suppress(QueueUnavailable):
                await self._feed.postpone(taken, BUG_SECONDS)

    async def _fan_out(self, taken: TakenEvent, event: WebhookEvent) -> None:
        wanting = [each for each in await self._endpoints.list(event.tenant) if each.wants(event)]
        deliveries = [WebhookDelivery(event, each.id, 1, self._now()) for each in wanting if await self._has_room(each)]
        await self._feed.fan_out(taken, deliveries)

    async def _has_room(self, endpoint: WebhookEndpoint) -> bool:
        if await self._feed.waiting(endpoint.tenant, endpoint.id) < MOST_WAITING:
            self._full.discard(endpoint.id)
            return True
        self.given_up["backlog_full"] += 1
        if endpoint.id not in self._full:
            log.warning("webhook_backlog_full", tenant=endpoint.tenant, endpoint=endpoint.id)
        self._full.add(endpoint.id)
        return False

    async def _expect(self, taken: TakenEvent, expected: ExpectedResponse) -> None:
        result = await self._results(expected)
        waited_seconds = self._now() - expected.at
        if result is not None:
            await self._fan_out(taken, event_of(expected, result))
        elif waited_seconds < EXPECTED_SECONDS:
            await self._feed.postpone(taken, look_again_seconds(waited_seconds))
        else:
            self.given_up["no_result"] += 1
            await self._feed.done(taken)

    async def _deliver(self, taken: TakenEvent, delivery: WebhookDelivery) -> None:
        now = self._now()
        if delivery.due_at > now:
            await self._feed.postpone(taken, delivery.due_at - now)
            return
        began = monotonic()
        pace = self._pace(delivery.endpoint_id, began)
        if (seconds := pace.begin(began)) > 0:
            await self._feed.postpone(taken, seconds)
            return
        reply = WebhookReply(problem="interrupted")
        try:
            found = await self._endpoints.get(delivery.event.tenant, delivery.endpoint_id)
            if found is None or not found[0].wants(delivery.event):
                self.given_up["not_wanted"] += 1
                await self._feed.done(taken)
                return
            reply = await self._attempt(delivery, found[0])
        finally:
            pace.end(reply, monotonic() - began)
        await self._conclude(taken, delivery, reply, pace)

    async def _attempt(self, delivery: WebhookDelivery, endpoint: WebhookEndpoint) -> WebhookReply:
        try:
            return await self._sender.send(delivery.event, endpoint)
        except Exception:  # or it would be tried for ever, outside its schedule
            log.exception("webhook_attempt_met_a_bug", tenant=endpoint.tenant, endpoint=endpoint.id)
            return WebhookReply(problem="internal_error")

    async def _conclude(self, taken: TakenEvent, delivery: WebhookDelivery, reply: WebhookReply, pace: Pace) -> None:
        verdict = after_attempt(delivery.attempt, reply, self._now(), self._draw())
        self._count(verdict)
        match verdict:
            case Arrived():
                await self._feed.done(taken)
            case NextAttempt(due_at, pause_seconds):
                pace.pause(monotonic() + pause_seconds)
                log.info("webhook_attempt_failed", **_about(delivery), attempt=delivery.attempt, problem=reply.reason)
                await self._feed.attempt_again(taken, replace(delivery, attempt=delivery.attempt + 1, due_at=due_at))
            case NoMoreAttempts():
                log.warning("webhook_given_up", **_about(delivery), attempts=delivery.attempt, problem=reply.reason)
                await self._feed.done(taken)
            case EndpointGone():
                await self._end(delivery)
                await self._feed.done(taken)

    def _count(self, verdict: Verdict) -> None:
        match verdict:
            case Arrived():
                self.attempts["delivered"] += 1
            case NextAttempt():
                self.attempts["failed"] += 1
            case NoMoreAttempts():
                self.attempts["failed"] += 1
                self.given_up["attempts_exhausted"] += 1
            case EndpointGone():
                self.attempts["gone"] += 1
                self.given_up["endpoint_gone"] += 1

    async def _end(self, delivery: WebhookDelivery) -> None:
        """Send an endpoint nothing any more, unless somebody changes it at this moment."""
        found = await self._endpoints.get(delivery.event.tenant, delivery.endpoint_id)
        if found is not None and await self._endpoints.put(replace(found[0], ended_at=self._now()), found[1]):
            log.warning("webhook_endpoint_ended", tenant=delivery.event.tenant, endpoint=delivery.endpoint_id)

    def _pace(self, endpoint_id: str, now: float) -> Pace:
        if len(self._paces) > MOST_PACES:
            self._paces = {key: pace for key, pace in self._paces.items() if not pace.is_idle(now)}
        return self._paces.setdefault(endpoint_id, Pace())


def _about(delivery: WebhookDelivery) -> dict[str, str]:
    return {
        "tenant": delivery.event.tenant,
        "endpoint": delivery.endpoint_id,
        "event_id": delivery.event.id,
        "type": str(delivery.event.type),
    }


def _tenant_of(taken: TakenEvent) -> str:
    return taken.body.event.tenant if isinstance(taken.body, WebhookDelivery) else taken.body.tenant
