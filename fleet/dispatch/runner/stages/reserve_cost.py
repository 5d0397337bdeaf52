"""The second stage: jobs that the fleet pays for continue once their money is set aside."""

from __future__ import annotations

from functools import partial

from fleet.dispatch.containment import contained
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.runner.cost_reservations import CostReservations, wait_for_money
from fleet.dispatch.runner.here import TargetDecider
from fleet.dispatch.runner.stages.passed import Passed
from fleet.dispatch.state.state import FleetState
from fleet.model.attempt import Attempt, Failure, FailureKind
from fleet.model.delivery import Transition
from fleet.model.money import Refusal
from fleet.model.target import Target
from fleet.model.view import View
from fleet.ports import Clock
from policies import shadow

NO_SECOND_LOOK = Failure(FailureKind.RATE_LIMITED, "no money is left, or free, for a second look")


class ReserveCost:
    """Sets money aside for jobs. Those that get none wait for it, or go where none is needed."""

    def __init__(
        self, target: Target, reservations: CostReservations, decider: TargetDecider, state: FleetState, clock: Clock
    ) -> None:
        self._target = target
        self._reservations = reservations
        self._decider = decider
        self._state = state
        self._clock = clock

    async def __call__(self, jobs: list[InFlightJob]) -> Passed:
        admitted, refused = await self._reserve(jobs)
        if not refused:
            return Passed(admitted)
        view, now = self._state.view(), self._clock.now()
        leaving = [
            self._decider.contained(each, now, partial(self._refused, each, why, view, now)) for each, why in refused
        ]
        return Passed(admitted, leaving)

    async def _reserve(self, jobs: list[InFlightJob]) -> tuple[list[InFlightJob], list[tuple[InFlightJob, Refusal]]]:
        """Reserve the jobs' money. A bug in a price must neither spend money nor keep slots."""
        with contained("money_not_reserved", target=self._target.name):
            return await self._reservations.reserve(jobs, self._target)
        return [], [(each, Refusal.BUSY) for each in jobs]

    def _refused(self, inflight: InFlightJob, why: Refusal, view: View, now: float) -> Transition:
        decider = self._decider
        if inflight.shadow is not None:
            return decider.transition(inflight, shadow.not_to_be_had(), now)
        if inflight.probe is not None:  # a second look is not worth a wait: the job continues without it
            return decider.next_transition(self._without_second_look(inflight, now), view, now)
        action = decider.action(inflight, view, now)
        # The view may be older than the refusal, and then say that the job still runs here.
        if why is Refusal.BUSY or decider.runs_here(action):
            action = wait_for_money(inflight, self._target)
        return decider.transition(inflight, action, now)

    def _without_second_look(self, inflight: InFlightJob, now: float) -> InFlightJob:
        number, name, probe = len(inflight.attempts) + 1, self._target.name, inflight.probe
        return inflight.after(Attempt(number, name, inflight.reason, now, now, NO_SECOND_LOOK, probe=probe))
