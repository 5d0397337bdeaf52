"""Decides what happens to a job on arrival, whichever lane it comes from."""

from __future__ import annotations

from dataclasses import replace

from fleet.dispatch.decide import Decider
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.semantic.lookups import LookUps
from fleet.dispatch.state.answers import Answers
from fleet.dispatch.state.peers import Peers
from fleet.dispatch.state.state import FleetState
from fleet.model.action import Action, Run, Wait
from fleet.model.delivery import Transition, WorkOf
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Work
from fleet.model.target import EXACT, SEMANTIC
from fleet.model.view import View
from policies.caching.exact import key_of, waits_for_another
from policies.resilience.cold import waits_for_replica
from policies.resilience.deadline import out_of_reach
from policies.routing.eligibility import wants_for_a_target
from policies.routing.tiers import pinned_target
from policies.rules.rules import Rules

LOOK_SECONDS = 0.1
"""Half the first wait of a job for news of the other dispatchers, requested at once; waits double, up to 6.4 s."""


class Admission:
    """Admits the jobs of one dispatcher."""

    def __init__(
        self, rules: Rules, state: FleetState, peers: Peers, decider: Decider, answers: Answers, similar: LookUps
    ) -> None:
        self._rules = rules
        self._state = state
        self._peers = peers
        self._decider = decider
        self._answers = answers
        self._similar = similar

    @property
    def landings(self) -> int:
        """How many times something has come that jobs may wait for: an answer to the same request, or to one alike."""
        return self._answers.landings + self._similar.landings

    def look(self, inflight: InFlightJob, view: View, now: float) -> Action:
        """Return what to do with the job; end one that cannot succeed at the target it would go to.

        A job that needs a replica waits at its target, where it counts as the target's work, so that one is started.
        """
        if (known := self._known_elsewhere(inflight.job)) is not None:
            return known
        action = self._decider.action(inflight, view, now)
        if wants_for_a_target(action) and not self._has_looked_around(inflight):
            self._peers.want()
            target = _named(inflight.job) or next(iter(self._rules.catalogue.targets))
            return Wait(target, LOOK_SECONDS * 2.0 ** min(inflight.delivery.deliveries, 6), Reason.TARGET_UNAVAILABLE)
        if waits_for_replica(action):
            return Run(action.target, action.reason)
        if isinstance(action, Run):
            return self._late_or_led(inflight, action, view, now) or action
        return action

    def _late_or_led(self, inflight: InFlightJob, run: Run, view: View, now: float) -> Action | None:
        """Return what ends the job early, or lets it wait for a job that asks the same; None where it is to run."""
        job = inflight.job
        if (ended := out_of_reach(job, run.target, view, now, self._rules)) is not None:
            return ended
        if self._similar.waits(job):
            return Wait(SEMANTIC, LOOK_SECONDS, Reason.COMPARING)
        key = key_of(job, self._decider.rules_for(inflight))
        if key is None or self._answers.leads((job.tenant, key), inflight.call_id, now):
            return None
        if not waits_for_another(job, now, self._rules):
            return None
        return Wait(EXACT, LOOK_SECONDS, Reason.COALESCED)

    def _known_elsewhere(self, job: Job) -> Run | None:
        """Return the run of a job that names a target only another dispatcher's catalogue knows; else None."""
        name = _named(job)
        if name is None or name in self._rules.catalogue.targets or name not in self._state.elsewhere:
            return None
        return Run(name, Reason.PINNED)

    def _has_looked_around(self, inflight: InFlightJob) -> bool:
        """Return whether peers were read after the job was stored; it must not end for lack of a target before that."""
        read_at = self._peers.read_at
        return read_at is not None and read_at > inflight.delivery.stored_at

    def going_on(self, inflight: InFlightJob) -> InFlightJob:
        """Return a job that leaves the lane, with what the cache had nearest to its question."""
        near = self._similar.take(inflight.job)
        return inflight if near is None else replace(inflight, near=near)

    def first_look(self, inflight: InFlightJob, view: View, now: float) -> Action:
        """Return what to do with a job that has just come in, and report the target it wants even if it must wait."""
        action = self.look(inflight, view, now)
        is_new = inflight.delivery.deliveries == 1 or inflight.job.not_before_at is not None
        if not is_new or not isinstance(action, Run | Wait) or action.reason is Reason.DELAYED:
            return action
        if action.target in view.targets:  # another dispatcher's catalogue may know more
            self._state.loads.wanted(inflight.job, action.target, now)
        return action

    def transition(self, inflight: InFlightJob, action: Action, now: float) -> Transition:
        """Return the transition that does what `action` says, and count what goes to a target from now on."""
        delivery, traffic = inflight.delivery, self._state.traffic
        transition = self._decider.transition(inflight, action, now)
        for each in transition.everything:
            if isinstance(each, Work):
                traffic.sending(WorkOf(each.target, each.job.lane), inflight.job.tenant)
                traffic.brought(len(delivery.raw))
        return transition


def _named(job: Job) -> str | None:
    """Return the target the job names, as the one to run on or the one to be better than."""
    return pinned_target(job) or job.above
