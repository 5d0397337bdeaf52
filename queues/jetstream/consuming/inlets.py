"""Keeps the consumers one dispatcher pulls from, and removes some when others are wanted.

A stream has 1,000 consumers at most, and beyond some hundreds everything on it is slow. So a tenant's consumer is
made when there is something to take, and the least recently used are removed: those that nobody waits at and whose
deliveries are all acknowledged. Their messages stay in the stream, and the tenant's next consumer hands them out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from weakref import WeakValueDictionary

from fleet.logs import get_logger
from fleet.model.delivery import AnyDelivery, Retry, Source
from fleet.model.errors import QueueUnavailable
from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.jetstream.consuming.consumers import of_a_tenant
from queues.jetstream.consuming.inlet import Inlet, hand_over_of
from queues.wire.subjects import consumer_of, stream_of

MOST_OF_TENANTS = 192
"""Maximum tenants' consumers of one dispatcher, over all lanes. Five that serve different tenants stay within 1,000."""

CLEARED_AT_ONCE = 32
"""Consumers asked about at once, which takes two round trips, however many there are."""

LONG_DELAY_SECONDS = 60.0
"""A job delayed this long keeps no consumer for itself; the tenant's next consumer then delivers it early."""

MOST_HANDED_OUT_AGAIN = 32
"""Maximum handed-back jobs of a consumer that is removed early: a new one would hand out all of them."""

PULL_BYTES = 1024 * 1024
"""Bytes of one pull: many sources are asked at the same time, and what they bring is in hand all at once."""

log = get_logger(__name__)


class Inlets:
    """The inlets by source; tenants' in the order of their last use."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inlets: dict[Source, Inlet] = {}
        self._tenants: dict[Source, None] = {}
        self._locks: WeakValueDictionary[Source, asyncio.Lock] = WeakValueDictionary()
        self._handed_back: Counter[Source] = Counter()
        self._delayed: set[Source] = set()
        self._unfinished: set[Source] = set()
        self._clearing = asyncio.Lock()

    def lock(self, source: Source) -> asyncio.Lock:
        """Return the source's lock, which lives as long as somebody holds it or waits for it."""
        return self._locks.setdefault(source, asyncio.Lock())

    def get(self, source: Source) -> Inlet | None:
        return self._inlets.get(source)

    def open(self, source: Source) -> Inlet:
        if of_a_tenant(source):
            self._tenants[source] = None
        inlet = self._inlets[source] = Inlet(self._connection, stream_of(source), consumer_of(source), PULL_BYTES)
        return inlet

    def drop(self, source: Source) -> None:
        self._inlets.pop(source, None)
        self._tenants.pop(source, None)
        self._delayed.discard(source)
        self._unfinished.discard(source)

    def took(self, source: Source, deliveries: Sequence[AnyDelivery]) -> None:
        """Note that the source was used, and which jobs came back of those handed back."""
        if source not in self._tenants:
            return
        self._tenants[source] = self._tenants.pop(source)
        more = bool(deliveries) and hand_over_of(str(deliveries[-1].token)).left > 0
        (self._unfinished.add if more else self._unfinished.discard)(source)
        if self._handed_back.get(source):
            self._handed_back[source] -= sum(delivery.deliveries > 1 for delivery in deliveries)
            self._handed_back = +self._handed_back

    async def handed_back(self, settlements: Sequence[Retry]) -> None:
        """Note jobs that stay unacknowledged though nobody has them in hand; for a long delay no consumer is kept."""
        of_tenants = [each for each in settlements if each.delivery.source in self._tenants]
        self._handed_back.update(each.delivery.source for each in of_tenants)
        self._delayed |= {each.delivery.source for each in of_tenants if each.delay_seconds >= LONG_DELAY_SECONDS}
        await self.clear_delayed()

    async def clear_delayed(self) -> None:
        """Remove consumers that only delayed jobs would keep, once the jobs behind these have been handed out.

        A new consumer begins with the delayed jobs, and would never get to the others.
        """
        if not self._delayed:
            return
        async with self._clearing:
            done = [each for each in self._delayed - self._unfinished if not self.lock(each).locked()]
            self._delayed.difference_update(done)
            few = [each for each in done if self._handed_back[each] <= MOST_HANDED_OUT_AGAIN]
            if few:
                await self._clear(few)

    async def make_room(self, source: Source, at_once: bool = False) -> None:
        """Remove the consumers used longest ago if the tenants have too many; with `at_once` in any case."""
        if not of_a_tenant(source):
            return
        async with self._clearing:
            if at_once or len(self._tenants) >= MOST_OF_TENANTS:
                await self._clear([each for each in self._tenants if not self.lock(each).locked()][:CLEARED_AT_ONCE])

    async def _clear(self, idle: Sequence[Source]) -> None:
        locks = [self.lock(each) for each in idle]
        for lock in locks:
            await lock.acquire()  # none waits: they were free a moment ago, and nothing has come between
        try:
            states = await api.consumer_info(self._connection, idle)
            done = [each for each, state in zip(idle, states, strict=True) if self._is_done(each, state)]
            await api.delete_consumers(self._connection, done)
            for each, state in zip(idle, states, strict=True):
                await self._leave(each, state)
        except QueueUnavailable as error:
            log.debug("consumers_not_cleared", error=str(error))
        finally:
            for lock in locks:
                lock.release()

    def _is_done(self, source: Source, state: api.ConsumerInfo | None) -> bool:
        """Return whether nobody uses the consumer; jobs that this dispatcher handed back are in nobody's hands."""
        if state is None:
            return True
        return state.num_ack_pending <= self._handed_back.get(source, 0) and not state.num_waiting

    async def _leave(self, source: Source, state: api.ConsumerInfo | None) -> None:
        """Forget the inlet, or keep it, as the last to be asked about again, if its deliveries are in hand."""
        inlet = self._inlets[source]
        if state is None or state.num_waiting or self._is_done(source, state):
            self.drop(source)
            del self._handed_back[source]
            await inlet.close()
        else:
            self._tenants[source] = self._tenants.pop(source)
