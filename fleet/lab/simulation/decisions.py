"""The decisions of production on simulated jobs.

`policies.plan.next_action` is a pure function that ignores most differences between simulated jobs. So it is called
once for every kind of job, band of prompt lengths, history, and rest of the time, as long as the view stays as it is.
It is called every time where a job's own id or clock matters: after a failure.

A band ends where a prompt no longer fits into some target's context; its longest prompt stands for all in it. So
lengths decide exactly as in production, and the money a call may need is estimated at its maximum.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fleet.lab.simulation.fleet_state import SimulatedFleetState
from fleet.lab.simulation.targets.provider import ANSWER
from fleet.lab.simulation.workload.ability import Answers
from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.scenario import Kind, Scenario
from fleet.model.action import Action, Run, Wait
from fleet.model.attempt import Attempt, Failure, FailureKind, Usage
from fleet.model.job import CLOUD_ALLOW, CLOUD_DENY, Job
from fleet.model.money import NanoUsd
from fleet.model.reason import Reason
from fleet.model.target import Target
from policies import money
from policies.budget import priced
from policies.features.needs import needs_of
from policies.plan import next_action
from policies.resilience.cold import at_rest, worth_starting_for
from policies.routing import overload
from policies.rules.rules import Rules

FAILED = 1 << 19
"""The lowest number of an outcome that is a failure."""

COLD_STEPS = 32
"""Steps of a mantissa: where the time left matters, one decision holds for jobs in which it agrees to a sixteenth."""

MOST_KNOWN = 200_000
"""Maximum remembered decisions, some 60 MB; with more they are all forgotten."""

_PER_TARGET = 1 << 20
_FAILURES = {kind: Failure(kind, "simulated") for kind in FailureKind}
_KINDS = tuple(FailureKind)


class Decisions:
    """Asks `next_action` on behalf of simulated jobs."""

    def __init__(
        self, scenario: Scenario, rules: Rules, state: SimulatedFleetState, answers: Mapping[str, Answers]
    ) -> None:
        self._rules = rules
        self._state = state
        self._names = tuple(rules.catalogue.targets)
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._verdicts = [answers[name].verdicts if name in answers else () for name in self._names]
        contexts = sorted({target.context_tokens for target in rules.catalogue.targets.values()})
        self._bands = [_bands(kind, contexts) for kind in scenario.mix]
        self._likenesses = [
            [_likeness(kind, tokens, rules) for tokens in bands]
            for kind, bands in zip(scenario.mix, self._bands, strict=True)
        ]
        self._prices: dict[tuple[int, int, str], tuple[bool, NanoUsd]] = {}
        self._known: dict[tuple[int, int, tuple[int, ...], int, tuple[int, str | None]], Action] = {}
        self._known_at = state.stamp
        self._wanted: dict[tuple[int, int, tuple[int, ...], str | None], str | None] = {}
        self._lanes = [kind.lane for kind in scenario.mix]
        self._escalation_seconds = rules.deadlines.escalation_seconds
        self.asked = 0

    def code(self, target: str, outcome: int) -> int:
        """Return the number that an attempt adds to the path of a job."""
        return self._numbers[target] * _PER_TARGET + outcome

    @staticmethod
    def has_answer(job: SimulatedJob) -> bool:
        """Return whether the job's last attempt was answered."""
        return bool(job.path) and job.path[-1] % _PER_TARGET < FAILED

    def target_of(self, code: int) -> str:
        return self._names[code // _PER_TARGET]

    def next(self, job: SimulatedJob, now: float) -> Action:
        """Return production's decision on the job now."""
        path = job.path
        if path and not self.has_answer(job):
            return self._ask(job, now)
        late = self._late(job, now)
        if self._known_at != self._state.stamp:
            self._known.clear()
            self._known_at = self._state.stamp
        key = (job.kind, self._band(job), path, self._time_left(job, now), late)
        action = self._known.get(key)
        if action is None:
            action = self._ask(job, now)
            if not isinstance(action, Wait) or action.reason is Reason.COLD:
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[key] = action
        return action

    def _time_left(self, job: SimulatedJob, now: float) -> int:
        """Classify the time left like `next_action`: over, too late to escalate, or enough.

        It is finer where a target is cold, or where a cheaper way to one takes longer.
        """
        left = job.deadline_at - now
        if left <= self._escalation_seconds:
            return -1 if left > 0 else -2
        if not self._state.cold and not self._rules.cheaper_ways:
            return 0
        mantissa, exponent = math.frexp(left)
        return exponent * COLD_STEPS + int(mantissa * COLD_STEPS)

    def _late(self, job: SimulatedJob, now: float) -> tuple[int, str | None]:
        """Return a bit for every target that is too slow for the job now, and where it has climbed already."""
        lane, left, climbed = self._lanes[job.kind], job.deadline_at - now, overload.climbed(job.sent)
        sojourns = self._state.sojourns
        seen = sojourns.at(now)
        if not sojourns.may_be_late(lane, left, self._rules.overload.return_at):
            return 0, climbed
        likeness, view = self._likenesses[job.kind][0], self._state.view(now)
        targets = self._rules.catalogue.targets
        late = 0
        for name in seen:
            if overload.too_late(targets[name], likeness, left, view.targets[name], now, self._rules, job.sent):
                late |= 1 << self._numbers[name]
        return late, climbed

    def is_late_here(self, job: SimulatedJob, now: float) -> bool:
        """Return whether the target that a job was sent to is too slow for it, now that its turn has come."""
        sent = job.sent
        return sent is not None and bool(self._late(job, now)[0] >> self._numbers[sent.target] & 1)

    def wanted(self, job: SimulatedJob, now: float) -> str | None:
        """Return the target that the job would run on if none was cold or overloaded."""
        key = (job.kind, self._band(job), job.path, overload.climbed(job.sent))
        if key not in self._wanted:
            asked, attempts = self._case(job)
            action = next_action(asked, attempts, at_rest(self._state.view(now)), now, self._rules, job.sent)
            self._wanted[key] = action.target if isinstance(action, Run) else None
        return self._wanted[key]

    def is_missed(self, job: SimulatedJob, wanted: str, instead: str) -> bool:
        """Return whether a job that runs on `instead` of the target it wants is a reason to start a replica there."""
        likeness = self._likenesses[job.kind][self._band(job)]
        return worth_starting_for(likeness, wanted, instead, self._rules)

    def price(self, job: SimulatedJob, target: Target) -> tuple[bool, NanoUsd]:
        """Return whether the fleet pays for a call, and the maximum cost of that call."""
        key = (job.kind, self._band(job), target.name)
        found = self._prices.get(key)
        if found is None:
            likeness = self._likenesses[key[0]][key[1]]
            needs = needs_of(likeness.request, self._rules.estimates)
            quote = money.quote(likeness.request, needs, None, target, self._rules)
            found = self._prices[key] = (money.fleet_pays(likeness, target), quote.cost)
        return found

    def cost(self, job: SimulatedJob, target: Target) -> NanoUsd:
        """Return the cost of the call that answers the job."""
        cost = money.cost_of(priced(Usage(job.input, job.output, job.cached), target))
        if job.again:
            cost += money.cost_of(priced(Usage(job.input - job.tools, job.output), target))
        return cost if job.price == 1.0 else round(cost * job.price)

    def _band(self, job: SimulatedJob) -> int:
        bands = self._bands[job.kind]
        return 0 if len(bands) == 1 else bisect_left(bands, job.input)

    def _ask(self, job: SimulatedJob, now: float) -> Action:
        self.asked += 1
        return next_action(*self._case(job), self._state.view(now), now, self._rules, job.sent)

    def _case(self, job: SimulatedJob) -> tuple[Job, tuple[Attempt, ...]]:
        likeness = self._likenesses[job.kind][self._band(job)]
        asked = replace(likeness, id=f"{job.bits:016x}", submitted_at=job.arrived_at, deadline_at=job.deadline_at)
        return asked, self.attempts(job)

    def attempts(self, job: SimulatedJob) -> tuple[Attempt, ...]:
        """Return the job's attempts as production sees them."""
        return tuple(self._attempt(number, code, job) for number, code in enumerate(job.path, 1))

    def _attempt(self, number: int, code: int, job: SimulatedJob) -> Attempt:
        target, outcome = divmod(code, _PER_TARGET)
        name, times = self._names[target], (job.started_at, job.ended_at)
        if outcome >= FAILED:
            return Attempt(number, name, Reason.ROUTED, *times, _FAILURES[_KINDS[outcome - FAILED]])
        verdict = self._verdicts[target][outcome]
        return Attempt(number, name, Reason.ROUTED, *times, ANSWER, verdict.confidence, 0.0, verdict.judged)


def failure_code(failure: Failure) -> int:
    return FAILED + _KINDS.index(failure.kind)


def _bands(kind: Kind, contexts: list[int]) -> list[int]:
    """Return the longest prompt of each band, in tokens."""
    longest = kind.input.most
    ends = [context - kind.output.most for context in contexts]
    return [*(end for end in ends if 0 < end < longest), longest]


def _likeness(kind: Kind, tokens: int, rules: Rules) -> Job:
    """Return a job of this kind with so long a prompt, for decisions that do not depend on its text."""
    text = "x" * int(tokens * rules.estimates.characters_per_token)
    content: Any = text
    if kind.image:
        content = [
            {"type": "text", "text": text},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
        ]
    return Job(
        id="simulated-job-like-many",
        tenant=kind.tenant,
        lane=kind.lane,
        task=kind.task,
        plan=kind.plan,
        request={"messages": [{"role": "user", "content": content}], "max_tokens": kind.output.most},
        submitted_at=0.0,
        tier=kind.tier,
        cloud=CLOUD_ALLOW if kind.cloud else CLOUD_DENY,
        own_key=kind.own_key,
    )
