"""The slots of one target, and how jobs leave them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.outbox import Outbox
from fleet.dispatch.runner.cost_reservations import CostReservations
from fleet.dispatch.runner.here import TargetDecider
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.state.state import FleetState
from fleet.dispatch.state.traffic import Traffic
from fleet.model.delivery import Transition
from fleet.model.target import Target


class Slots:
    """The slots of one target. A job keeps its slot and the lease of its delivery until freed, which happens once."""

    def __init__(self, target: Target, traffic: Traffic, leases: Leases, freed: Callable[[], None]) -> None:
        """Set up; `freed` is called whenever a slot may have come free."""
        self._name = target.name
        self._traffic = traffic
        self._leases = leases
        self._freed = freed
        self._taken: set[int] = set()

    def take(self, jobs: Sequence[InFlightJob]) -> None:
        self._traffic.started(self._name, jobs)
        self._taken.update([id(each.delivery) for each in jobs])

    def free(self, jobs: Sequence[InFlightJob]) -> None:
        """Free the slots of the jobs that still have one."""
        here = [each for each in jobs if id(each.delivery) in self._taken]
        if not here:
            return
        self._taken.difference_update([id(each.delivery) for each in here])
        self._leases.release([each.delivery for each in here])
        self._traffic.ended(self._name, here)
        self._freed()


class Exit:
    """Lets jobs leave a target, whether their call was made or not: what follows is sent, then their slots are free."""

    def __init__(
        self, outbox: Outbox, slots: Slots, reservations: CostReservations, decider: TargetDecider, state: FleetState
    ) -> None:
        self._outbox = outbox
        self._slots = slots
        self._reservations = reservations
        self._decider = decider
        self._state = state

    async def leave(
        self, jobs: Sequence[InFlightJob], transitions: Sequence[Transition], patience_seconds: float = 0.0
    ) -> None:
        """Send the transitions of these jobs. A job without a transition comes back when its lease ends."""
        await self._outbox.send(transitions, patience_seconds)
        self._slots.free(jobs)

    async def drop(self, jobs: Sequence[InFlightJob], now: float) -> None:
        """Send off jobs whose call has become pointless: no money is spent on them, and they are decided on again."""
        jobs, view = self._reservations.release(jobs), self._state.view()
        await self.leave(jobs, [self._decider.next_transition(each, view, now) for each in jobs])

    def leave_alone(self, jobs: Sequence[InFlightJob]) -> None:
        """Let jobs come back when their leases end; their money stays set aside, for it may have been spent."""
        self._slots.free(jobs)

    def abandon(self, jobs: Sequence[InFlightJob]) -> None:
        """Let jobs come back when their leases end, with no money spent on them."""
        self._slots.free(self._reservations.release(jobs))
