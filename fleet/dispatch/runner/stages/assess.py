"""The last stage: it judges outcomes, decides and sends off what follows, and only then frees the slots."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.dispatch.containment import contain, contained
from fleet.dispatch.decide import Decider
from fleet.dispatch.in_flight import InFlightJob, MicroBatch
from fleet.dispatch.patience import ANSWER_SECONDS
from fleet.dispatch.receiving.precedence import Precedence
from fleet.dispatch.runner.call import attempt_of, given_seconds
from fleet.dispatch.runner.cost_reservations import CostReservations, believed
from fleet.dispatch.runner.slots import Exit
from fleet.dispatch.runner.stages.diet import Diets
from fleet.dispatch.state.adapters import Adapters
from fleet.dispatch.state.knowledge import Knowledge
from fleet.dispatch.state.state import FleetState
from fleet.model.attempt import Answer, Attempt, Outcome
from fleet.model.delivery import Transition
from fleet.model.target import Target
from fleet.model.view import View
from fleet.ports import Clock
from policies.budget import own_key_for
from policies.rules.rules import Rules


class Assess:
    """Judges the outcomes of one target, and sends off what follows."""

    def __init__(
        self,
        target: Target,
        rules: Rules,
        clock: Clock,
        state: FleetState,
        reservations: CostReservations,
        knowledge: Knowledge,
        decider: Decider,
        leaving: Exit,
        precedence: Precedence,
        diets: Diets,
        adapters: Adapters,
    ) -> None:
        self._target = target
        self._rules = rules
        self._clock = clock
        self._state = state
        self._reservations = reservations
        self._knowledge = knowledge
        self._decider = decider
        self._exit = leaving
        self._precedence = precedence
        self._diets = diets
        self._adapters = adapters

    async def __call__(self, done: Sequence[tuple[InFlightJob, Outcome]], batch: MicroBatch) -> None:
        """Conclude jobs of one batch. A bug in one group leaves the others alone."""
        name, traffic, lane = self._target.name, self._state.traffic, done[0][0].job.lane
        if not traffic.is_short(name):  # if it is, the interactive jobs wait for these slots
            await self._precedence.give_way(lane)
        with self._precedence.step(lane), traffic.leaving(name, len(done)):
            jobs, transitions = [each for each, _ in done], list[Transition]()
            with contained("answers_not_concluded", target=name, jobs=len(done)):
                transitions = self._conclude(done, batch)
            await self._exit.leave(jobs, transitions, ANSWER_SECONDS)

    def _conclude(self, done: Sequence[tuple[InFlightJob, Outcome]], batch: MicroBatch) -> list[Transition]:
        now = self._clock.now()
        done = [(each, believed(each, outcome, self._target)) for each, outcome in done]
        for inflight, outcome in done:
            self._note(inflight, outcome, batch.started_at, now)
        view = self._state.view()
        return [self._judge(each, outcome, view, batch, now) for each, outcome in done]

    def _note(self, inflight: InFlightJob, outcome: Outcome, started_at: float, now: float) -> None:
        """Book what the call cost, and learn from it how the target is doing."""
        self._reservations.settle(inflight, outcome, self._target)
        if self._target.is_batched:  # how long a batch takes, and which of its rows fail, says nothing of the next
            return
        self._state.passed(self._target, inflight, outcome, started_at, now)
        has_own_key = own_key_for(inflight.job, self._target) is not None
        seconds = given_seconds(inflight, self._target, started_at, self._rules)
        self._state.record(self._target, outcome, seconds, now, has_own_key)
        self._adapters.observe(inflight, outcome, self._target, now)

    def _judge(self, inflight: InFlightJob, outcome: Outcome, view: View, batch: MicroBatch, now: float) -> Transition:
        try:
            attempt = self._diets.observed(inflight, self._attempt(inflight, outcome, batch, now))
            tried = inflight.after(attempt)
            return self._decider.transition(tried, self._decider.action_after(tried, view, now), now)
        except BaseException as error:  # a bug met by one job must not stop its neighbours
            contain(error, "judgement_failed", inflight.delivery)
            return self._decider.broken(inflight, error, now)

    def _attempt(self, inflight: InFlightJob, outcome: Outcome, batch: MicroBatch, now: float) -> Attempt:
        confidence, judged = None, None
        if isinstance(outcome, Answer):
            confidence, judged = self._knowledge.judge(inflight, outcome, self._target)
        return attempt_of(inflight, self._target, outcome, batch, now, confidence, judged)
