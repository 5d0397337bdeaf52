"""The heart of the fleet: decides what happens to a job next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fleet.model.action import Action, Finish, GiveUp, Reply, Run, Wait
from fleet.model.attempt import Answer, Attempt, Failure, FailureKind
from fleet.model.calibration import Probe
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status
from fleet.model.target import Target
from fleet.model.unguarded import unguarded
from fleet.model.view import Breaker, View
from policies import budget
from policies.caching import exact, patterns, semantic
from policies.confidence import acceptance, probes
from policies.diet.decision import lacks_tools
from policies.discounts.ladder import Moment, discounted
from policies.features.needs import needs_of
from policies.resilience import breaker, cold, retry
from policies.resilience.cold import Asleep
from policies.resilience.deadline import deadline_at
from policies.resilience.delivery import LONGEST_WAIT_SECONDS
from policies.routing import admission, foresight, overload, residency
from policies.routing import tiers as routing
from policies.routing.eligibility import Bar, Demand, bar, explain
from policies.routing.overload import Sent
from policies.rules.ladders import Ladder
from policies.rules.rules import Rules

_REFUSALS = (FailureKind.INVALID_REQUEST, FailureKind.CONTEXT_TOO_LONG)
_FIELD = re.compile(r"request\.[\w.]+(?=: )")
"""Pattern of the field that opens the detail of a request refused before it was sent."""


@unguarded
@dataclass(frozen=True, slots=True)
class _Situation:
    """A job at the moment of a decision, with what several steps of the decision read."""

    attempts: tuple[Attempt, ...]
    demand: Demand
    rungs: Ladder
    deadline_at: float
    view: View
    now: float
    rules: Rules
    sent: Sent | None = None

    @property
    def job(self) -> Job:
        return self.demand.job


def next_action(
    job: Job, attempts: tuple[Attempt, ...], view: View, now: float, rules: Rules, sent: Sent | None = None
) -> Action:
    """Decide what to do with `job` after `attempts` (oldest first), in the present state of the fleet.

    `sent` is the hand-over by which a job that has not run since came to where it is.

    Laws: the same arguments give the same action. Handing a job to the target of a `Run` and asking again with an
    unchanged view gives that `Run`, until too little time is left for it. No `Run` names a target outside the fleet
    that the job does not permit. A job ends after at most `rules.retry.max_attempts` attempts,
    not counting those that lacked their adapter, and second looks at an answer, of which there are at most two each.
    """
    if not attempts:
        return _admit(job, view, now, rules, sent)
    # The latest attempt that is no second look: if its answer was too long to be carried on, a look at it says nothing.
    made = next(attempt for attempt in reversed(attempts) if attempt.probe is None)
    match made.outcome:
        case Answer():
            return _after_answer(job, attempts, view, now, rules, sent)
        case Failure():
            if now >= deadline_at(job, rules):
                return _out_of_time(attempts)
            return _climb(_case(job, attempts, view, now, rules, sent), Reason.TARGET_FAILED)


def _admit(job: Job, view: View, now: float, rules: Rules, sent: Sent | None) -> Action:
    case = _case(job, (), view, now, rules, sent)
    problem = admission.problem_with(job, case.demand.needs, rules)
    if problem is not None:
        return GiveUp(Status.REJECTED, Reason.INVALID, problem, dead=True)
    if now >= case.deadline_at:
        return _out_of_time(())
    if (delayed := _delay(case)) is not None:
        return delayed
    if (known := _known_answer(case)) is not None:
        return known
    if (batched := _in_batch(case)) is not None:
        return batched
    if foresight.passes_over(job, case.rungs, view, rules):
        return _start_above(case)
    return _climb(case, Reason.ROUTED if routing.pinned_target(job) is None else Reason.PINNED)


def _known_answer(case: _Situation) -> Reply | None:
    """Return the answer that needs no call, if there is one; where a model is named, only one that it gave before."""
    job, rules = case.job, case.rules
    written = patterns.answer_to(job, rules.patterns)
    if written is not None and routing.pinned_target(job) is None:
        return patterns.reply(job.request, written, rules.estimates)
    found = exact.known_answer(job, case.rungs, case.view, case.now, rules)
    return found or semantic.known_answer(job, case.view, case.now, rules)


def _in_batch(case: _Situation) -> Run | None:
    """Leave a job with the batches that it was handed to while there is time: it may be in one, and paid."""
    sent = case.sent
    target = None if sent is None else next((each for each in case.rungs if each.name == sent.target), None)
    if sent is None or target is None or not target.is_batched or not case.view.targets[target.name].available:
        return None
    return Run(target.name, sent.reason)


def _delay(case: _Situation) -> Wait | None:
    """Let a job that may not run yet wait at the first rung where its content may go; without one it ends at once."""
    seconds = (case.job.not_before_at or 0.0) - case.now
    if seconds <= 0:
        return None
    first = next((rung for rung in case.rungs if residency.permits(case.job, rung, case.rules)), None)
    if first is None:
        return None
    return Wait(first.name, min(seconds, LONGEST_WAIT_SECONDS), Reason.DELAYED)


def _start_above(case: _Situation) -> Action:
    """Start on the second rung; run the first one only if no other is available."""
    first, *above = case.rungs
    action = _climb(replace(case, rungs=(*above, first)), Reason.PREDICTED)
    return Run(first.name, Reason.ROUTED) if isinstance(action, Run) and action.target == first.name else action


def _after_answer(
    job: Job, attempts: tuple[Attempt, ...], view: View, now: float, rules: Rules, sent: Sent | None
) -> Action:
    in_time = now + rules.deadlines.escalation_seconds < deadline_at(job, rules)
    if in_time and lacks_tools(job, attempts):
        restored = _with_all_tools(_case(job, attempts, view, now, rules))
        if restored is not None:
            return restored
    verdict = acceptance.verdict_on(job, attempts, rules)
    if verdict.probe is not None and in_time:
        look = _second_look(_case(job, attempts, view, now, rules), verdict.answer, verdict.probe)
        if look is not None:
            return look
    if verdict.accepted is not None:
        return Finish(verdict.answer.number, Status.SUCCEEDED, verdict.accepted)
    return _climb(_case(job, attempts, view, now, rules, sent), verdict.doubt) if in_time else _out_of_time(attempts)


def _with_all_tools(case: _Situation) -> Run | None:
    """Run the last target once more with all tools, if it is open to this job now; else its answer counts as it is."""
    last = case.attempts[-1].target
    target = next((rung for rung in case.rungs if rung.name == last), None)
    if target is None or not retry.has_attempt_left(case.attempts, case.rules):
        return None
    is_ready = cold.ready(target, case.demand, case.view, case.now, case.rules)
    return Run(target.name, Reason.TOOLS_RESTORED) if is_ready else None


def _second_look(case: _Situation, answer: Attempt, probe: Probe) -> Run | None:
    """Run the probe if the target that takes it is open to this job now; a probe is never worth waiting for."""
    names = [target.name for target in case.rungs]
    if answer.target not in names or not isinstance(answer.outcome, Answer) or case.job.own_key is not None:
        return None  # a tenant's own key is for its answers
    rung = names.index(answer.target)
    target = probes.runs_on(probe, case.rungs[rung], next(iter(case.rungs[rung + 1 :]), None))
    if target is None:
        return None
    demand = replace(case.demand, needs=probes.needs_of_probe(probe, case.demand.needs, answer.outcome))
    is_ready = cold.ready(target, demand, case.view, case.now, case.rules)
    return Run(target.name, Reason.GREY_BAND, probe) if is_ready else None


def _case(
    job: Job, attempts: tuple[Attempt, ...], view: View, now: float, rules: Rules, sent: Sent | None = None
) -> _Situation:
    needs = needs_of(job.request, rules.estimates)
    left_usd = None if job.max_cost_usd is None else job.max_cost_usd - budget.spent_usd(attempts)
    due_at = deadline_at(job, rules)
    moment = Moment(due_at - now, view, None if attempts else sent)
    return _Situation(
        attempts=tuple(attempt for attempt in attempts if attempt.probe is None),
        demand=Demand(job, needs, left_usd),
        rungs=discounted(routing.ladder(job, needs, rules), job, needs, attempts, moment, rules),
        deadline_at=due_at,
        view=view,
        now=now,
        rules=rules,
        sent=sent,
    )


def _climb(case: _Situation, reason: Reason) -> Action:
    """Run the weakest rung left, open and in time; wait where all are shut or cold, or a cold one is worth it.

    Where all that are open would be late, run the weakest of them. Without any rung left, conclude.
    """
    shut: list[Target] = []
    asleep: list[Asleep] = []
    late: tuple[Target, Reason] | None = None
    climbed, rungs = overload.climbed(case.sent), _rungs_left(case)  # why a job climbed to where it is stays its reason
    for target in rungs if climbed is None else overload.beginning_at(climbed, rungs):
        if bar(target, case.demand, case.view, case.rules) is not None:
            continue
        if not breaker.allows(_breaker(case, target), case.now):
            reason = reason if shut or asleep or late else Reason.TARGET_UNAVAILABLE
            shut.append(target)
        elif (found := cold.asleep(target, case.view, case.now)) is not None:
            reason = reason if shut or asleep or late else Reason.TARGET_COLD
            asleep.append(found)
        elif _is_too_late(case, target):
            late, reason = late or (target, reason), reason if shut or asleep or late else Reason.OVERLOADED
        else:
            return _run(case, target, asleep, Reason.OVERLOADED if target.name == climbed else reason)
    if late is not None:
        return _run(case, late[0], asleep, Reason.OVERLOADED if late[0].name == climbed else late[1])
    return _wait_for_first(case, shut, asleep)


def _is_too_late(case: _Situation, target: Target) -> bool:
    view = case.view.targets[target.name]
    return overload.too_late(target, case.job, case.deadline_at - case.now, view, case.now, case.rules, case.sent)


def _breaker(case: _Situation, target: Target) -> Breaker:
    return breaker.facing(case.view.targets[target.name], budget.own_key_for(case.job, target) is not None)


def _run(case: _Situation, target: Target, asleep: list[Asleep], reason: Reason) -> Action:
    """Run on the first rung that is open, unless one of those `asleep` below it is worth a wait."""
    for each in asleep:
        if cold.worth_waiting_for(each, target, case.demand, case.deadline_at, case.rules):
            return cold.wait_for(each, case.deadline_at, case.now)
    if case.attempts and target.name == case.attempts[-1].target:
        return Run(target.name, Reason.ADAPTER_FAILED) if _has_failed_adapter(case) else _retry(case, target)
    cheaper = reason is Reason.ROUTED and target.same_as in {rung.name for rung in case.rungs}
    return Run(target.name, Reason.CHEAPER if cheaper else reason)


def _rungs_left(case: _Situation) -> Iterator[Target]:
    """Yield the rungs still worth an attempt: the one to retry first, then the untried ones above every answer.

    Below an answer there is nothing to gain. An untried rung below a failure was skipped while its
    breaker was open, and may work now.
    """
    if not case.attempts:
        yield from case.rungs
        return
    if not retry.has_attempt_left(case.attempts, case.rules):
        return
    tried = {attempt.target for attempt in case.attempts}
    answers = (attempt.target for attempt in case.attempts if isinstance(attempt.outcome, Answer))
    answered = case.rules.catalogue.same(answers)
    lowest = max((rung + 1 for rung, target in enumerate(case.rungs) if target.name in answered), default=0)
    last = case.attempts[-1].target
    if _retry_pays(case) or _has_failed_adapter(case):
        yield from (target for target in case.rungs[lowest:] if target.name == last)
    yield from (target for target in case.rungs[lowest:] if target.name not in tried)


def _has_failed_adapter(case: _Situation) -> bool:
    return retry.failed_adapter(case.attempts[-1])


def _retry_pays(case: _Situation) -> bool:
    return retry.may_retry(case.attempts, case.rules) and _retry_at(case) < case.deadline_at


def _retry_at(case: _Situation) -> float:
    return case.attempts[-1].ended_at + retry.backoff_seconds(case.attempts, case.job.id, case.rules)


def _retry(case: _Situation, target: Target) -> Action:
    seconds = _retry_at(case) - case.now
    if seconds > 0:
        return Wait(target.name, seconds, Reason.BACKOFF)
    return Run(target.name, Reason.RETRY)


def _wait_for_first(case: _Situation, shut: list[Target], asleep: list[Asleep]) -> Action:
    """Wait for the first of these breakers to close or targets to be warm, at most until the deadline.

    A target that an operator keeps cold is waited for only where there is no answer in hand.
    """
    if _best(case.attempts) is not None:
        asleep = [each for each in asleep if not each.held]
    opens_at = {target.name: breaker.opens_at(_breaker(case, target), case.now) for target in shut}
    first = min(opens_at, key=opens_at.__getitem__, default=None)
    warm = min(asleep, key=lambda each: each.warm_at, default=None)
    if warm is not None and (first is None or warm.warm_at < opens_at[first]):
        return cold.wait_for(warm, case.deadline_at, case.now)
    if first is not None and opens_at[first] >= case.deadline_at and _account_fails(case, shut):
        return _conclude(case)
    if first is not None:
        return Wait(first, min(opens_at[first], case.deadline_at) - case.now, Reason.BREAKER_OPEN)
    return _conclude(case)


def _account_fails(case: _Situation, shut: list[Target]) -> bool:
    """Return whether the fleet's account is why all these are shut: waiting up to the deadline then mends nothing."""
    return all(case.view.targets[target.name].account_fault for target in shut)


def _out_of_time(attempts: tuple[Attempt, ...]) -> Action:
    best = _best(attempts)
    if best is not None:
        return Finish(best.number, Status.BEST_EFFORT, Reason.OUT_OF_TIME)
    problem = Problem("the deadline passed before there was an answer", field="deadline")
    return GiveUp(Status.EXPIRED, Reason.DEADLINE_PASSED, problem)


def _conclude(case: _Situation) -> Action:
    """End the job, as no rung is left: with the best answer there is, or with the reason why there is none."""
    barred = [
        (target, reason)
        for target in _rungs_left(case)
        if (reason := bar(target, case.demand, case.view, case.rules)) is not None
    ]
    short_of_money = any(reason in (Bar.MONEY, Bar.BUDGET) for _, reason in barred)
    best = _best(case.attempts)
    if best is not None:
        why = Reason.OUT_OF_MONEY if short_of_money else Reason.LADDER_EXHAUSTED
        return Finish(best.number, Status.BEST_EFFORT, why)
    if case.attempts:
        return _all_failed(case)
    return _no_target(case, barred)


def _best(attempts: tuple[Attempt, ...]) -> Attempt | None:
    """Return the likeliest answer if all are calibrated, else that of the strongest model; unusable ones come last.

    Jobs only climb, so the latest answer is the strongest model's. Raw confidences of different models are not
    on one scale and are not compared. Confidence 0 marks an unusable answer.
    """
    answers = [attempt for attempt in attempts if attempt.probe is None and isinstance(attempt.outcome, Answer)]
    usable = [attempt for attempt in answers if attempt.confidence != 0.0]
    if all(attempt.judged is not None and attempt.judged.calibration is not None for attempt in usable):
        return max(usable or answers, key=lambda attempt: (attempt.confidence or 0.0, attempt.number), default=None)
    return max(usable, key=lambda attempt: attempt.number, default=None)


def _all_failed(case: _Situation) -> GiveUp:
    """End a job whose attempts all failed. Where all targets refused the request itself, it is the request's fault."""
    attempts = case.attempts
    failures = [attempt.outcome for attempt in attempts if isinstance(attempt.outcome, Failure)]
    last = failures[-1]
    message = f"{attempts[-1].target} failed last: {last.kind}: {last.detail}"
    if all(failure.kind in _REFUSALS for failure in failures):
        rule = "must be a request that at least one target accepts"
        named = _FIELD.match(last.detail)
        field = "request" if named is None else named[0]
        return GiveUp(Status.REJECTED, Reason.INVALID, Problem(message, field=field, rule=rule), dead=True)
    target = case.rules.catalogue.targets.get(attempts[-1].target)
    own_key = target is not None and budget.own_key_for(case.job, target) is not None
    if own_key and retry.is_of_account(last):
        rule = "must name a key whose account may use the model"
        return GiveUp(Status.FAILED, Reason.ALL_FAILED, Problem(message, field="own_key", rule=rule), dead=True)
    return GiveUp(Status.FAILED, Reason.ALL_FAILED, Problem(message), dead=True)


def _without_account(case: _Situation) -> Iterator[Target]:
    for target in _rungs_left(case):
        if bar(target, case.demand, case.view, case.rules) is None and case.view.targets[target.name].account_fault:
            yield target


def _no_target(case: _Situation, barred: list[tuple[Target, Bar]]) -> GiveUp:
    """End a job that no target may run.

    If it is too long for every target it could reach, the request breaks a rule; else the fleet lacks a target.
    """
    clauses = "; ".join(
        [explain(reason, target, case.demand, case.view, case.rules) for target, reason in barred]
        + [f"{target.name}: the fleet's account there cannot be used" for target in _without_account(case)]
    )
    message = f"no target may run this job: {clauses}"
    reasons = {reason for _, reason in barred}
    if any(_without_account(case)):
        return GiveUp(Status.FAILED, Reason.NO_TARGET, Problem(message), dead=True)
    if Bar.RESIDENCY in reasons and reasons <= {Bar.RESIDENCY, Bar.CLOUD}:
        return GiveUp(Status.FAILED, Reason.RESIDENCY, Problem(message), dead=True)
    if Bar.CONTEXT in reasons and reasons <= {Bar.CONTEXT, Bar.CLOUD, Bar.RESIDENCY, Bar.UNAVAILABLE}:
        largest = max(target.context_tokens for target, reason in barred if reason is Bar.CONTEXT)
        rule = f"must fit {largest} tokens; prompt and requested output need about {case.demand.needs.context_tokens}"
        return GiveUp(Status.REJECTED, Reason.INVALID, Problem(message, "request.messages", rule), dead=True)
    if Bar.MONEY in reasons:
        return GiveUp(Status.FAILED, Reason.OUT_OF_MONEY, Problem(message, field="max_cost_usd"), dead=True)
    if Bar.BUDGET in reasons:
        return GiveUp(Status.FAILED, Reason.OUT_OF_MONEY, Problem(message), dead=True)
    return GiveUp(Status.FAILED, Reason.NO_TARGET, Problem(message), dead=True)
