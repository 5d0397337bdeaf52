"""Receives messages that were taken: places jobs, turns down messages without one, opens sealed ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fleet.dispatch.containment import contain, fields_of
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.outbox import Outbox
from fleet.dispatch.receiving.isolation import Isolation
from fleet.dispatch.receiving.opening import Opening, Place
from fleet.dispatch.receiving.precedence import Precedence
from fleet.dispatch.state.experiments import Experiments
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.transition import failing, turned_down
from fleet.logs import get_logger
from fleet.model.delivery import Ack, AnyDelivery, Transition
from fleet.model.result import Malformed, Sealed
from fleet.ports import Clock, JobQueue
from policies.rules.rules import Rules

log = get_logger(__name__)

SLICE = 32
"""Jobs decided on before other tasks get their turn: about two milliseconds."""

Placing = Callable[[], Place]
"""Called for every slice, so that its jobs are decided on with a fresh view."""


class Receiver:
    """Decides on every message that a dispatcher takes, one by one."""

    def __init__(
        self,
        queue: JobQueue,
        clock: Clock,
        rules: Rules,
        leases: Leases,
        isolation: Isolation,
        outbox: Outbox,
        precedence: Precedence,
        experiments: Experiments,
    ) -> None:
        self._queue = queue
        self._experiments = experiments
        self._clock = clock
        self._rules = rules
        self._leases = leases
        self._outbox = outbox
        self._precedence = precedence
        self._opening = Opening(queue, clock, leases, isolation, outbox, self._handle)

    def waiting_of(self, tenant: str) -> int:
        """Return how many messages of the tenant are in hand here and not opened yet."""
        return self._opening.waiting_of(tenant)

    async def finish(self) -> None:
        """Wait for messages that are still being opened."""
        await self._opening.finish()

    async def receive(self, deliveries: Sequence[AnyDelivery], placing: Placing, opened: Placing | None = None) -> None:
        """Place each delivery's job, and send off what follows. Malformed messages are answered and never placed.

        The jobs of sealed messages are placed by `opened`, where it is given, once they are known. All deliveries are
        of one lane.
        """
        self._leases.hold(deliveries)
        if deliveries:
            with self._precedence.step(deliveries[0].source.lane):
                await self._receive(deliveries, placing, opened)

    async def _receive(self, deliveries: Sequence[AnyDelivery], placing: Placing, opened: Placing | None) -> None:
        sealed = [delivery for delivery in deliveries if isinstance(delivery.body, Sealed)]
        if sealed:
            deliveries = [delivery for delivery in deliveries if not isinstance(delivery.body, Sealed)]
        transitions: list[Transition] = []
        for start in range(0, len(deliveries), SLICE):
            await self._precedence.give_way(deliveries[0].source.lane)
            async with self._queue.reading:
                place = placing()
                made = [self._handle(delivery, place) for delivery in deliveries[start : start + SLICE]]
            transitions += [each for each in made if each is not None]
            await asyncio.sleep(0)
        await self._outbox.send(transitions)
        if sealed:
            await self._opening.run(sealed, lambda inflight: (opened or placing)()(inflight))

    def _handle(self, delivery: AnyDelivery, place: Place) -> Transition | None:
        """Return what follows from one message; a bug it meets must not affect the messages beside it."""
        try:
            opened = self._queue.read(delivery)
            if isinstance(opened.body, Malformed):
                return self._turned_down(opened, opened.body)
            transition = place(self._experiments.enrol(InFlightJob.of(opened)))
            if opened is not delivery:
                self._leases.hold([opened])
            return transition
        except BaseException as error:
            contain(error, "decision_failed", delivery)
            return failing(delivery, error, self._clock.now(), self._rules)

    def _turned_down(self, delivery: AnyDelivery, bad: Malformed) -> Transition:
        transition = turned_down(delivery, bad, self._clock.now())
        if bad.is_comparison and isinstance(transition.settlement, Ack):
            log.warning("comparison_unreadable", problem=bad.problem.message, **fields_of(delivery))
        return transition
