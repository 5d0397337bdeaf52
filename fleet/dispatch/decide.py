"""Decides what to do with a job in flight, and builds the transition that does it."""

from __future__ import annotations

from dataclasses import replace

from fleet.dispatch.comparing import noted_aside
from fleet.dispatch.containment import contain, contained
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.maintenance.cancelling import Cancelling
from fleet.dispatch.semantic.labelling import explored, labelled
from fleet.dispatch.semantic.promises import Promises
from fleet.dispatch.state.answers import Answers
from fleet.dispatch.state.experiments import Experiments
from fleet.dispatch.state.knowledge import Knowledge
from fleet.dispatch.state.state import FleetState
from fleet.dispatch.transition import answered_by, internal_error, transition_for
from fleet.model.action import Action, Finish, GiveUp, Reply, Run, Wait
from fleet.model.delivery import Transition
from fleet.model.reason import Reason
from fleet.model.result import Outbound
from fleet.model.view import View
from policies import shadow
from policies.caching.exact import entry_of, key_of
from policies.caching.questions import question_in
from policies.plan import next_action
from policies.resilience.cancellation import CANCELLED
from policies.resilience.cold import at_rest, worth_starting_for
from policies.resilience.deadline import deadline_at
from policies.resilience.delivery import enough
from policies.routing.eligibility import wants_for_a_target
from policies.rules.rules import Rules

AWAY_LOOK_SECONDS = 15.0
"""Interval between two looks at a job that could only run on a target that is away."""


class Decider:
    """Decides for one dispatcher, by the cancellations it knows and by its rules."""

    def __init__(
        self,
        rules: Rules,
        state: FleetState,
        cancelling: Cancelling,
        knowledge: Knowledge,
        answers: Answers,
        promises: Promises,
        experiments: Experiments,
    ) -> None:
        self._rules = rules
        self._experiments = experiments
        self._state = state
        self._cancelling = cancelling
        self._knowledge = knowledge
        self._answers = answers
        self._promises = promises

    def action(self, inflight: InFlightJob, view: View, now: float) -> Action:
        """Return what to do next with a job that was taken; end one whose message was handed out too often."""
        action, rules = self.action_after(inflight, view, now), self.rules_for(inflight)
        return enough(action, inflight.delivery.deliveries, inflight.job, inflight.attempts, rules) or action

    def rules_for(self, inflight: InFlightJob) -> Rules:
        """Return the rules that the job is decided by: those of its arm, if it is in an experiment."""
        return self._experiments.rules(inflight.assigned)

    def action_after(self, inflight: InFlightJob, view: View, now: float) -> Action:
        """Return what to do next with a job that has just run."""
        if self._cancelling.holds(inflight):
            return CANCELLED
        job, attempts, rules = inflight.job, inflight.attempts, self.rules_for(inflight)
        if inflight.shadow is not None:
            return shadow.next_action(inflight.shadow, job, attempts, view, now, rules)
        action = next_action(job, attempts, view, now, rules, inflight.sent)
        if not self._state.away or not wants_for_a_target(action):
            return action
        back = next_action(job, attempts, self._state.with_away(view), now, rules, inflight.sent)
        if isinstance(back, Run | Wait) and back.target in self._state.away:
            return Wait(back.target, AWAY_LOOK_SECONDS, Reason.TARGET_UNAVAILABLE)
        return action

    def is_wanted(self, inflight: InFlightJob, now: float) -> bool:
        """Return whether a call is still useful: the job is neither cancelled nor too late."""
        return not self._cancelling.holds(inflight) and now < deadline_at(inflight.job, self._rules)

    def transition(self, inflight: InFlightJob, action: Action, now: float) -> Transition:
        """Return the transition that does what `action` says, and count what that says about targets and answers."""
        self.note_run(inflight, action, now)
        with contained("answer_not_remembered"):
            self._remember(inflight, action, now)
        if inflight.near is not None or inflight.shadow is not None:
            with contained("cached_answer_not_compared"):
                inflight = self._labelled(inflight, action)
        transition = transition_for(inflight, action, now, self._rules)
        return self._with_aside(transition, inflight, action, now) if isinstance(action, Finish | Reply) else transition

    def _labelled(self, inflight: InFlightJob, action: Action) -> InFlightJob:
        """Return the job with what its model's answer says of the semantic cache, and count that."""
        found = labelled(inflight, action, self._state.entries)
        if found is not inflight and found.fresh is not None and found.fresh.near is not None:
            self._promises.count(found.job.tenant, found.job.task, found.fresh.near)
        return found

    def _with_aside(
        self, transition: Transition, inflight: InFlightJob, action: Finish | Reply, now: float
    ) -> Transition:
        """Add what is stored to learn from the end of a job. A bug in this costs no job its answer."""
        try:
            if isinstance(action, Reply):
                answered, view = answered_by(inflight, action, now), self._state.view
                aside: tuple[Outbound, ...] = explored(answered, action, view, now, self._rules)
            else:
                aside = noted_aside(inflight, action, self._state.view, self._knowledge, now, self._rules)
        except BaseException as error:
            contain(error, "comparison_failed", inflight.delivery)
            return transition
        return replace(transition, aside=(*transition.aside, *aside)) if aside else transition

    def _remember(self, inflight: InFlightJob, action: Action, now: float) -> None:
        """Keep the answer of a job that has ended where the rules allow it, and let go those who wait for one."""
        if inflight.shadow is not None or not isinstance(action, Finish | GiveUp | Reply):
            return
        job, rules = inflight.job, self.rules_for(inflight)
        if isinstance(action, Reply) and action.cached is None:
            return
        if (key := key_of(job, rules)) is None:
            return
        if isinstance(action, Reply):
            self._answers.given((job.tenant, key if action.near is None else action.near.entry))
        if self._answers.land((job.tenant, key), inflight.call_id):
            self._state.announce()
        if isinstance(action, Finish):
            # What an arm on trial answers is given to nobody else, and questions alike are looked for among all.
            question = question_in(job, rules) if rules.arm is None else None
            entry = entry_of(job, key, action, inflight.attempts, now, rules, question)
            if entry is None:
                self._answers.not_kept((job.tenant, key))
            else:
                self._answers.keep(entry)

    def broken(self, inflight: InFlightJob, error: BaseException, now: float) -> Transition:
        """Return the transition of a job that hit a bug of ours."""
        return transition_for(inflight, internal_error(error), now, self._rules)

    def note_run(self, inflight: InFlightJob, action: Action, now: float) -> None:
        """Note what a run says of targets. One that is cold or overloaded misses a job that goes to a dearer one.

        A target held cold misses nothing: nobody starts it, and Serve retries one that it gave up once it is idle.
        """
        if not isinstance(action, Run):
            return
        lane, sojourns = inflight.job.lane, self._state.sojourns
        if action.reason is not Reason.TARGET_COLD and action.reason is not Reason.OVERLOADED:
            sojourns.turn_away(action.target, lane, False)
            return
        wanted = self.action(inflight, at_rest(self._state.view()), now)
        if not isinstance(wanted, Run) or wanted.target == action.target:
            return
        if action.reason is Reason.OVERLOADED:
            sojourns.turn_away(wanted.target, lane, True)
        capacity = self._state.replicas.of(wanted.target)
        is_held = capacity is not None and capacity.held
        if not is_held and worth_starting_for(inflight.job, wanted.target, action.target, self._rules):
            self._state.loads.missed(inflight.job, wanted.target)
