"""Messages that came back too often: reading one, or deciding on it, may crash this process.

They are opened on record, and beside nothing else that is read or decided on: first in company, then those that were
in a crash, each alone. The record is closed as soon as the message is decided on; a message whose record was left open
twice while alone crashes its dispatchers, and is ended unread. This costs three round trips for all that came
together, once in the life of a dispatcher for each message: one that was opened here before is known to be safe.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from fleet.dispatch.containment import contained, fields_of
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.outbox import Outbox
from fleet.dispatch.patience import POLL_SECONDS
from fleet.dispatch.receiving.isolation import Isolation
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.transition import deadly
from fleet.logs import get_logger
from fleet.model.delivery import AnyDelivery, Transition
from fleet.model.errors import QueueUnavailable
from fleet.ports import Clock, JobQueue
from policies.resilience.delivery import MOST_READINGS

log = get_logger(__name__)

MOST_KNOWN = 65_536
MOST_OWED = 4096

Place = Callable[[InFlightJob], Transition | None]
"""Decides on a job: the transition that follows, or None where the job is in other hands now."""

Handle = Callable[[AnyDelivery, Place], Transition | None]
"""Reads a message and places its job, whatever it holds."""


class Opening:
    """Opens the sealed messages of one loop that takes, and hands each to `handle`."""

    def __init__(
        self, queue: JobQueue, clock: Clock, leases: Leases, isolation: Isolation, outbox: Outbox, handle: Handle
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._leases = leases
        self._isolation = isolation
        self._outbox = outbox
        self._handle = handle
        self._known: dict[object, None] = {}
        self._owed: list[AnyDelivery] = []
        """The deliveries whose record is still to be closed, because the broker did not answer."""
        self._one_at_a_time = asyncio.Lock()
        self._begun: set[asyncio.Task[None]] = set()
        self._waiting: Counter[str] = Counter()

    def waiting_of(self, tenant: str) -> int:
        """Return how many messages of the tenant are in hand here and not opened yet."""
        return self._waiting[tenant]

    async def run(self, sealed: Sequence[AnyDelivery], place: Place) -> None:
        """Open the messages and send off what follows, or end those that crashed their dispatchers.

        An opening that takes long, while a call runs alone, continues by itself: no new message must wait for it.
        """
        self._leases.hold(sealed)
        task = asyncio.create_task(self._open_all(sealed, place))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        tenants = Counter(each.body.ref.tenant for each in sealed)
        self._waiting += tenants
        task.add_done_callback(lambda _: self._waiting.subtract(tenants))
        await asyncio.wait((task,), timeout=POLL_SECONDS)

    async def finish(self) -> None:
        """Wait for the openings that continue by themselves."""
        await asyncio.gather(*self._begun)

    async def _open_all(self, sealed: Sequence[AnyDelivery], place: Place) -> None:
        """Open the messages. Any error ends this opening: its messages come back when their leases end."""
        try:
            async with self._one_at_a_time:
                # Nothing is opened off the record.
                with contained("messages_not_opened", outage="messages_not_opened", deliveries=len(sealed)):
                    await self._open_on_record(sealed, place)
        finally:
            self._leases.release(sealed)

    async def _open_on_record(self, sealed: Sequence[AnyDelivery], place: Place) -> None:
        strange = [delivery for delivery in sealed if _name(delivery) not in self._known]
        begun = await self._queue.begun(strange) if strange else []
        before = {id(delivery): readings for delivery, readings in zip(strange, begun, strict=True) if readings}
        await self._open([delivery for delivery in sealed if id(delivery) not in before], 1, place)
        # Messages that were alone in a crash come last: the others need not come back once more for them.
        for delivery in sorted((each for each in sealed if id(each) in before), key=lambda each: before[id(each)]):
            await self._open_alone(delivery, before[id(delivery)] + 1, place)

    async def _open_alone(self, delivery: AnyDelivery, reading: int, place: Place) -> None:
        if reading <= MOST_READINGS:
            log.warning("message_opened_alone", reading=reading, **fields_of(delivery))
            await self._open([delivery], reading, place)
        else:
            log.error("message_crashes_dispatchers", **fields_of(delivery))
            await self._outbox.send([deadly(delivery, self._clock.now())])

    async def _open(self, deliveries: Sequence[AnyDelivery], reading: int, place: Place) -> None:
        async with self._isolation.in_company(), self._queue.reading:
            strange = [delivery for delivery in deliveries if _name(delivery) not in self._known]
            if strange:
                await self._queue.note_begun(strange, reading)
            transitions = [made for each in deliveries if (made := self._handle(each, place)) is not None]
            if strange:
                await self._close(strange)
        await self._outbox.send(transitions)

    async def _close(self, deliveries: Sequence[AnyDelivery]) -> None:
        """Record that the messages are safe: nothing has crashed. What cannot be stored now is stored with the next."""
        self._known |= dict.fromkeys(map(_name, deliveries))
        for name in list(self._known)[: max(0, len(self._known) - MOST_KNOWN)]:
            del self._known[name]
        self._owed = [*self._owed, *deliveries][-MOST_OWED:]
        try:
            await self._queue.note_begun(self._owed, 0)
        except QueueUnavailable as error:
            log.warning("openings_not_closed", deliveries=len(self._owed), error=str(error))
        else:
            self._owed = []


def _name(delivery: AnyDelivery) -> object:
    """Return a name that tells the messages of one process apart, however often each is handed out."""
    body = delivery.body
    return delivery.source, delivery.stored_at, body.ref.id
