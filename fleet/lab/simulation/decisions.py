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
from fleet.model.attempt import Attempt, Failure, FailureKind
from fleet.model.job import CLOUD_ALLOW, CLOUD_DENY, Job
from fleet.model.money import NanoUsd
from fleet.model.reason import Reason
from fleet.model.target import Target
from fleet.model.view import View
from policies import money
from policies.features.needs import needs_of
from policies.plan import next_action
from policies.resilience.cold import worth_starting_for
from policies.rules.rules import Rules

FAILED = 1 << 19
"""The lowest number of an outcome that is a failure."""

COLD_STEPS = 32
"""Steps of a mantissa: while a target is cold, one decision holds for jobs whose time left agrees to a sixteenth."""

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
        self._known: dict[tuple[int, int, tuple[int, ...], int], Action] = {}
        self._known_at = state.stamp
        self._warm: dict[tuple[int, int, tuple[int, ...], str], str | None] = {}
        self._escalation_seconds = rules.deadlines.escalation_seconds
        self.asked = 0

    def code(self, target: str, outcome: int) -> int:
        """Return the number that an attempt adds to the path of a job."""
        return self._numbers[target] * _PER_TARGET + outcome

    def target_of(self, code: int) -> str:
        return self._names[code // _PER_TARGET]

    def next(self, job: SimulatedJob, now: float) -> Action:
        """Return production's decision on the job now."""
        path = job.path
        if path and path[-1] % _PER_TARGET >= FAILED:
            return self._ask(job, now)
        if self._known_at != self._state.stamp:
            self._known.clear()
            self._known_at = self._state.stamp
        key = (job.kind, self._band(job), path, self._time_left(job, now))
        action = self._known.get(key)
        if action is None:
            action = self._ask(job, now)
            if not isinstance(action, Wait) or action.reason is Reason.COLD:
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[key] = action
        return action

    def _time_left(self, job: SimulatedJob, now: float) -> int:
        """Classify the time left like `next_action`: over, too late to escalate, or enough; finer for cold targets."""
        left = job.deadline_at - now
        if left <= self._escalation_seconds:
            return -1 if left > 0 else -2
        if not self._state.cold:
            return 0
        mantissa, exponent = math.frexp(left)
        return exponent * COLD_STEPS + int(mantissa * COLD_STEPS)

    def missed(self, job: SimulatedJob, instead: str, now: float) -> str | None:
        """Return the cold target whose job runs on `instead`, if that is a reason to start a replica."""
        key = (job.kind, self._band(job), job.path, instead)
        if key not in self._warm:
            asked, attempts = self._case(job)
            action = next_action(asked, attempts, all_warm(self._state.view(now)), now, self._rules)
            starts = isinstance(action, Run) and worth_starting_for(asked, action.target, instead, self._rules)
            self._warm[key] = action.target if isinstance(action, Run) and starts else None
        return self._warm[key]

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

    def cost_usd(self, job: SimulatedJob, target: Target) -> float:
        return (
            job.input * target.input_usd_per_million_tokens + job.output * target.output_usd_per_million_tokens
        ) / 1e6

    def _band(self, job: SimulatedJob) -> int:
        bands = self._bands[job.kind]
        return 0 if len(bands) == 1 else bisect_left(bands, job.input)

    def _ask(self, job: SimulatedJob, now: float) -> Action:
        self.asked += 1
        return next_action(*self._case(job), self._state.view(now), now, self._rules)

    def _case(self, job: SimulatedJob) -> tuple[Job, tuple[Attempt, ...]]:
        likeness = self._likenesses[job.kind][self._band(job)]
        asked = replace(likeness, id=f"{job.bits:016x}", submitted_at=job.arrived_at, deadline_at=job.deadline_at)
        return asked, tuple(self._attempt(number, code, job) for number, code in enumerate(job.path, 1))

    def _attempt(self, number: int, code: int, job: SimulatedJob) -> Attempt:
        target, outcome = divmod(code, _PER_TARGET)
        name, times = self._names[target], (job.started_at, job.ended_at)
        if outcome >= FAILED:
            return Attempt(number, name, Reason.ROUTED, *times, _FAILURES[_KINDS[outcome - FAILED]])
        verdict = self._verdicts[target][outcome]
        return Attempt(number, name, Reason.ROUTED, *times, ANSWER, verdict.confidence, 0.0, verdict.judged)


def all_warm(view: View) -> View:
    """Return the same view with no target cold."""
    return replace(view, targets={name: replace(each, capacity=None) for name, each in view.targets.items()})


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
