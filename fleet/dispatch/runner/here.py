"""Decisions on the work of one target: running here is preferred, and what waits for the target waits here."""

from __future__ import annotations

from collections.abc import Callable

from fleet.dispatch.containment import contained
from fleet.dispatch.decide import Decider
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.state.state import FleetState
from fleet.model.action import Action, Run, Wait
from fleet.model.delivery import Transition
from fleet.model.reason import Reason
from fleet.model.target import Target
from fleet.model.view import View
from fleet.ports import Clock
from policies.resilience.breaker import PROBE_SECONDS
from policies.resilience.cold import waits_for_replica

MOST_HOPS = 8
"""Hand-overs of a job without an attempt after which it stays where it is for a while."""

LEFT_SECONDS = 2.0
"""Seconds to leave a job to the other dispatchers that serve its target, where this one may not run it."""


class TargetDecider:
    """Decides on what was taken for one target."""

    def __init__(self, target: Target, decider: Decider, state: FleetState, clock: Clock) -> None:
        self._name = target.name
        self._decider = decider
        self._state = state
        self._clock = clock

    def action(self, inflight: InFlightJob, view: View, now: float) -> Action:
        """Return what to do with work taken for the target; `view` shows what any dispatcher serves.

        Running here is preferred: neither breaker nor replicas of a target elsewhere are known, and two dispatchers
        must not pass a job back and forth. A job that is still passed on often waits in between.
        """
        if not self._state.elsewhere:
            return self._decider.action(inflight, view, now)
        here = self._decider.action(inflight, self._state.view(here=True), now)
        if isinstance(here, Run):
            return here
        found = self._decider.action(inflight, view, now)
        if isinstance(found, Wait) and found.target == self._name and not isinstance(here, Wait):
            return self._left_to_others()  # it waits for another dispatcher's key, and must not wait here
        is_passed_on = isinstance(found, Run) and found.target != self._name
        if not isinstance(found, Run) or (is_passed_on and inflight.hop <= MOST_HOPS + len(inflight.attempts)):
            return found
        return here if isinstance(here, Wait) else self._left_to_others()

    def _left_to_others(self) -> Wait:
        return Wait(self._name, LEFT_SECONDS, Reason.TARGET_UNAVAILABLE)

    def runs_here(self, action: Action) -> bool:
        return isinstance(action, Run) and action.target == self._name

    def staying(self, inflight: InFlightJob, action: Action, now: float) -> InFlightJob | None:
        """Return the job as it waits for a slot or for the target's first replica; None where it does not stay."""
        if isinstance(action, Run) and action.target == self._name:
            return inflight.about_to_run(action, now)
        return inflight if self._waits_here(action) else None

    def _waits_here(self, action: Action) -> bool:
        """Return whether the job waits for a replica of this target, or for the call that shows if it works again."""
        if not isinstance(action, Wait) or action.target != self._name:
            return False
        # Where only the fleet's account is in question, what stays here would be sent out at once.
        is_probed = action.reason is Reason.BREAKER_OPEN and action.seconds <= PROBE_SECONDS
        return waits_for_replica(action) or (is_probed and self._state.shut(self._name, self._clock.now())[1])

    def sorted_by_want(self, jobs: list[InFlightJob], now: float) -> tuple[list[InFlightJob], list[InFlightJob]]:
        """Return the jobs for which a call is still useful, and those that were cancelled or are too late."""
        is_wanted = self._decider.is_wanted
        unwanted = [each for each in jobs if not is_wanted(each, now)]
        return ([each for each in jobs if is_wanted(each, now)], unwanted) if unwanted else (jobs, unwanted)

    def transition(self, inflight: InFlightJob, action: Action, now: float) -> Transition:
        """Return the transition that does what `action` says."""
        return self._decider.transition(inflight, action, now)

    def next_transition(self, inflight: InFlightJob, view: View, now: float) -> Transition:
        """Decide again, and return the transition that follows."""
        return self.contained(inflight, now, lambda: self.transition(inflight, self.action(inflight, view, now), now))

    def contained(self, inflight: InFlightJob, now: float, decide: Callable[[], Transition]) -> Transition:
        """Return what `decide` returns; a bug in it ends only this job."""
        with contained("decision_failed", inflight.delivery) as met:
            return decide()
        assert met.error is not None
        return self._decider.broken(inflight, met.error, now)

    def revised(self, inflight: InFlightJob, view: View, now: float) -> InFlightJob | Transition:
        """Decide again on a job that waits here; return it as it stays, or the transition with which it leaves."""
        with contained("decision_failed", inflight.delivery) as met:
            action = self.action(inflight, view, now)
            return self.staying(inflight, action, now) or self.transition(inflight, action, now)
        assert met.error is not None
        return self._decider.broken(inflight, met.error, now)
