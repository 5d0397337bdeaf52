"""What becomes of a job on arrival, whichever lane it comes from."""

from __future__ import annotations

from fleet.dispatch.office import Errand, Office
from fleet.dispatch.runner.cold import note_missed, waits_for_replica
from fleet.dispatch.step import Case, reject
from fleet.model.action import Action, GiveUp, Run, Wait
from fleet.model.delivery import AnyDelivery, WorkOf
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Malformed, Work
from fleet.model.view import View
from policies.resilience.deadline import out_of_reach
from policies.routing.eligibility import wants_for_a_target
from policies.routing.tiers import pinned_target

LOOK_SECONDS = 0.1
"""How long a job waits for news of the other dispatchers, which are asked for at once; longer each time."""


class Reception:
    def __init__(self, office: Office) -> None:
        self._office = office

    def look(self, case: Case, view: View, now: float) -> Action | Exception:
        """What to do with the job; one that has no chance where it would go ends here.

        One that waits for a replica waits at its target, where it is counted as the target's: so one is started.
        """
        if (known := self._known_elsewhere(case.job)) is not None:
            return known
        action = self._office.look(case, view, now)
        if wants_for_a_target(action) and not self._has_looked_around(case):
            self._office.peers.want()
            target = _named(case.job) or next(iter(self._office.rules.catalogue.targets))
            return Wait(target, LOOK_SECONDS * 2.0 ** min(case.delivery.deliveries, 6), Reason.TARGET_UNAVAILABLE)
        if waits_for_replica(action):
            return Run(action.target, action.reason)
        if isinstance(action, Run):
            return out_of_reach(case.job, action.target, view, now, self._office.rules) or action
        return action

    def _known_elsewhere(self, job: Job) -> Run | None:
        """A job that names a target of another dispatcher's catalogue goes there."""
        name = _named(job)
        if name is None or name in self._office.rules.catalogue.targets or name not in self._office.state.elsewhere:
            return None
        return Run(name, Reason.PINNED)

    def _has_looked_around(self, case: Case) -> bool:
        """No job ends for the want of a target on older knowledge of the other dispatchers than the job itself."""
        read_at = self._office.peers.read_at
        return read_at is not None and read_at > case.delivery.stored_at

    def first_look(self, case: Case, view: View, now: float) -> Action | Exception:
        """The same for a job that has just come in: the target it wants is reported, whether it gets it now or not."""
        action = self.look(case, view, now)
        is_new = case.delivery.deliveries == 1 or case.job.not_before_at is not None
        if not is_new or not isinstance(action, Run | Wait) or action.reason is Reason.DELAYED:
            return action
        if action.target in view.targets:  # another dispatcher's catalogue may know more
            self._office.state.loads.wanted(case.job, action.target, now)
        return action

    def errand(self, case: Case, action: Action | Exception, now: float) -> Errand:
        """The step that does what `action` says. What goes to a target counts from now on."""
        note_missed(self._office, case, action, now)
        step = self._office.carry_out(case, action, now)
        for letter in step.letters:
            if isinstance(letter, Work):
                self._office.state.traffic.sending(WorkOf(letter.target, letter.job.lane), case.job.tenant)
                self._office.state.traffic.brought(len(case.delivery.raw))
        delivery = case.delivery
        return Errand(step, self._office.spans.intake(delivery, now, self._office.clock.now()))

    def rejection(self, delivery: AnyDelivery, bad: Malformed, now: float) -> Errand:
        return Errand(reject(delivery, bad, now), self._office.spans.intake(delivery, now, self._office.clock.now()))

    def refuse(self, delivery: AnyDelivery, refusal: GiveUp, now: float) -> Errand:
        """The errand of a job that is not wanted, whatever it is."""
        found = case_of(delivery)
        if isinstance(found, Malformed):
            return self.rejection(delivery, found, now)
        return self.errand(found, refusal, now)


def _named(job: Job) -> str | None:
    """The target the job names, as the one to run on or the one to be better than."""
    return pinned_target(job) or job.above


def case_of(delivery: AnyDelivery) -> Case | Malformed:
    match delivery.body:
        case Malformed() as bad:
            return bad
        case Job() as job:
            return Case.of_job(delivery, job)
        case Work():
            raise TypeError("the JOBS stream carries jobs, not work")
