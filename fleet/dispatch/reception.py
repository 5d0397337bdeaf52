"""What becomes of a job on arrival, whichever lane it comes from."""

from __future__ import annotations

from fleet.dispatch.cold import note_missed, waits_for_replica
from fleet.dispatch.office import Errand, Office
from fleet.dispatch.step import Case, reject
from fleet.model.action import Action, GiveUp, Run, Wait
from fleet.model.delivery import AnyDelivery, WorkOf
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Malformed, Work
from fleet.model.view import View
from policies.deadline import out_of_reach


class Reception:
    def __init__(self, office: Office) -> None:
        self._office = office

    def look(self, case: Case, view: View, now: float) -> Action | Exception:
        """What to do with the job; one that has no chance where it would go ends here.

        One that waits for a replica waits at its target, where it is counted as the target's: so one is started.
        """
        action = self._office.look(case, view, now)
        if waits_for_replica(action):
            return Run(action.target, action.reason)
        if isinstance(action, Run):
            return out_of_reach(case.job, action.target, view, now, self._office.rules) or action
        return action

    def first_look(self, case: Case, view: View, now: float) -> Action | Exception:
        """The same for a job that has just come in: the target it wants is reported, whether it gets it now or not."""
        action = self.look(case, view, now)
        is_new = case.delivery.deliveries == 1 or case.job.not_before_at is not None
        if is_new and isinstance(action, Run | Wait) and action.reason is not Reason.DELAYED:
            self._office.state.loads.wanted(case.job, action.target, now)
        return action

    def errand(self, case: Case, action: Action | Exception, now: float) -> Errand:
        """The step that does what `action` says. What goes to a target counts from now on."""
        note_missed(self._office, case, action, now)
        step = self._office.carry_out(case, action, now)
        for letter in step.letters:
            if isinstance(letter, Work):
                self._office.state.traffic.handed_over(WorkOf(letter.target, letter.job.lane), case.job.tenant)
        delivery = case.delivery
        return Errand(step, self._office.spans.intake(delivery, now, self._office.clock.now()))

    def rejection(self, delivery: AnyDelivery, bad: Malformed, now: float) -> Errand:
        return Errand(reject(delivery, bad, now), self._office.spans.intake(delivery, now, self._office.clock.now()))

    def answer(self, delivery: AnyDelivery, view: View, now: float) -> Errand:
        """The errand of a job that is not held back."""
        found = case_of(delivery)
        if isinstance(found, Malformed):
            return self.rejection(delivery, found, now)
        return self.errand(found, self.first_look(found, view, now), now)

    def refuse(self, delivery: AnyDelivery, refusal: GiveUp, now: float) -> Errand:
        """The errand of a job that is not wanted, whatever it is."""
        found = case_of(delivery)
        if isinstance(found, Malformed):
            return self.rejection(delivery, found, now)
        return self.errand(found, refusal, now)


def case_of(delivery: AnyDelivery) -> Case | Malformed:
    match delivery.body:
        case Malformed() as bad:
            return bad
        case Job() as job:
            return Case.of_job(delivery, job)
        case Work():
            raise TypeError("the JOBS stream carries jobs, not work")
