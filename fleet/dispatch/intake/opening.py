"""Messages that came back too often: reading one, or deciding on it, may crash this process.

They are opened on record, and beside nothing else that is read or decided on: first in company, and those that were
in a crash then, each alone. The record is closed as soon as the message is decided on; what it was left open for
twice, alone, is the one that crashes whoever opens it, and is ended unread. It costs three round trips for all that
came together, once in the life of a dispatcher for each message: what has been opened here before is known to be safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from fleet.dispatch.office import Errand, Office, job_fields
from fleet.dispatch.patience import POLL_SECONDS
from fleet.dispatch.step import failing
from fleet.interruption import raise_own
from fleet.model.delivery import AnyDelivery
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Malformed, Sealed
from policies.resilience.delivery import MOST_READINGS

log = structlog.get_logger(__name__)

MOST_KNOWN = 65_536
MOST_OWED = 4096

Place = Callable[[AnyDelivery], Errand | None]
"""Decides on a message that was opened: the errand that follows, or None where it is in other hands now."""


def apart(deliveries: Sequence[AnyDelivery]) -> tuple[Sequence[AnyDelivery], list[AnyDelivery]]:
    """Those that are open, and those that are sealed."""
    sealed = [delivery for delivery in deliveries if isinstance(delivery.body, Sealed)]
    if not sealed:
        return deliveries, sealed
    return [delivery for delivery in deliveries if not isinstance(delivery.body, Sealed)], sealed


class Opening:
    """Of one loop that takes."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._known: dict[object, None] = {}
        self._owed: list[AnyDelivery] = []
        """Whose record is to be closed, and the broker did not answer."""
        self._one_at_a_time = asyncio.Lock()
        self._begun: set[asyncio.Task[None]] = set()

    async def run(self, sealed: Sequence[AnyDelivery], place: Place) -> None:
        """Open them all and send off what follows, or end those that crashed whoever opened them.

        What takes long, while a call alone runs, goes on by itself: nothing that is new shall wait for it.
        """
        if not sealed:
            return
        self._office.leases.hold(sealed)
        task = asyncio.create_task(self._open_all(sealed, place))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        await asyncio.wait((task,), timeout=POLL_SECONDS)

    async def finish(self) -> None:
        """Wait for what goes on by itself."""
        await asyncio.gather(*self._begun)

    async def _open_all(self, sealed: Sequence[AnyDelivery], place: Place) -> None:
        async with self._one_at_a_time:
            await self._open_on_record(sealed, place)

    async def _open_on_record(self, sealed: Sequence[AnyDelivery], place: Place) -> None:
        try:
            strange = [delivery for delivery in sealed if _name(delivery) not in self._known]
            begun = await self._office.queue.begun(strange) if strange else []
            before = {id(delivery): readings for delivery, readings in zip(strange, begun, strict=True) if readings}
            await self._open([delivery for delivery in sealed if id(delivery) not in before], 1, place)
            # Whoever was alone in a crash comes last: the others need not come back once more for it.
            for delivery in sorted((each for each in sealed if id(each) in before), key=lambda each: before[id(each)]):
                await self._open_alone(delivery, before[id(delivery)] + 1, place)
        except QueueUnavailable as error:  # nothing is opened off the record; they come back when their leases end
            log.warning("messages_not_opened", messages=len(sealed), error=str(error))
        except BaseException as error:  # a bug ends this opening; its messages come back when their leases end
            raise_own(error)
            log.exception("messages_not_opened", messages=len(sealed))
        finally:
            self._office.leases.release(sealed)

    async def _open_alone(self, delivery: AnyDelivery, reading: int, place: Place) -> None:
        fields = job_fields(delivery, delivery.traceparent)
        if reading <= MOST_READINGS:
            log.warning("message_opened_alone", reading=reading, **fields)
            await self._open([delivery], reading, place)
        else:
            log.error("message_crashes_dispatchers", **fields)
            step = failing(delivery, None, self._office.clock.now())
            await self._office.send([Errand(step, delivery.traceparent)])

    async def _open(self, deliveries: Sequence[AnyDelivery], reading: int, place: Place) -> None:
        queue, guarded, opening = self._office.queue, self._office.guarded, partial(self._place, place=place)
        async with self._office.isolation.in_company(), queue.reading:
            strange = [delivery for delivery in deliveries if _name(delivery) not in self._known]
            if strange:
                await queue.note_begun(strange, reading)
            errands = [errand for delivery in deliveries if (errand := guarded(opening, delivery)) is not None]
            if strange:
                await self._close(strange)
        if errands:
            await self._office.send(errands)

    def _place(self, delivery: AnyDelivery, place: Place) -> Errand | None:
        opened = self._office.queue.read(delivery)
        errand = place(opened)
        self._office.leases.hold([opened])
        return errand

    async def _close(self, deliveries: Sequence[AnyDelivery]) -> None:
        """Put on record that they are safe: nothing has crashed. What cannot be said now is said with the next ones."""
        self._known |= dict.fromkeys(map(_name, deliveries))
        for name in list(self._known)[: max(0, len(self._known) - MOST_KNOWN)]:
            del self._known[name]
        self._owed = [*self._owed, *deliveries][-MOST_OWED:]
        try:
            await self._office.queue.note_begun(self._owed, 0)
        except QueueUnavailable as error:
            log.warning("openings_not_closed", messages=len(self._owed), error=str(error))
        else:
            self._owed = []


def _name(delivery: AnyDelivery) -> object:
    """Tells the messages of one process apart, however often each is handed out."""
    body = delivery.body
    return delivery.source, delivery.stored_at, body.job_id if isinstance(body, Malformed) else None
