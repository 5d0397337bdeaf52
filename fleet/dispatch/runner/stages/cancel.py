"""The first stage: jobs that need no answer any more leave before they cost anything."""

from __future__ import annotations

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.maintenance.cancelling import Cancelling
from fleet.dispatch.patience import ANSWER_SECONDS
from fleet.dispatch.runner.here import TargetDecider
from fleet.dispatch.runner.intents import IntentLog
from fleet.dispatch.runner.stages.passed import Passed
from fleet.dispatch.state.state import FleetState
from fleet.ports import Clock


class Cancel:
    """Removes jobs that have ended, asking the broker where this dispatcher may not know."""

    def __init__(
        self, cancelling: Cancelling, intents: IntentLog, decider: TargetDecider, state: FleetState, clock: Clock
    ) -> None:
        self._cancelling = cancelling
        self._intents = intents
        self._decider = decider
        self._state = state
        self._clock = clock

    async def __call__(self, jobs: list[InFlightJob]) -> Passed:
        """Pass on the jobs that still need an answer. Do nothing about those for which the broker has not answered."""
        found = await self._cancelling.look_up(jobs)
        if len(found.open) == len(jobs):
            return Passed(jobs)
        view, now = self._state.view(), self._clock.now()
        leaving = [self._decider.next_transition(each, view, now) for each in found.called_off]
        leaving += await self._intents.close(found.ended)
        return Passed(found.open, leaving, ANSWER_SECONDS if found.ended else 0.0)
