"""What holds of money, whatever is asked for and whatever it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from fleet.model.action import Finish, GiveUp, Run, Wait
from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Usage
from fleet.model.job import Job, Lane, Plan
from fleet.model.money import Account, MoneyView, Refusal
from fleet.model.view import TargetView, View
from fleet.settings.documents import load_rules
from policies import money
from policies.budget import cost_usd
from policies.features.needs import needs_of
from policies.plan import next_action
from policies.rules.rules import Rules

RULES = load_rules(None, None, "gpu")
START = 1_795_132_800.0
TARGETS = RULES.catalogue.targets
CLOUDS = [target for target in TARGETS.values() if target.is_cloud]

calls = st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1), st.integers(0, 400)), max_size=40)
"""What is reserved, the share of it that it comes to, and how many seconds later the next one asks."""


@given(calls=calls, limit=st.integers(0, 200), data=st.data())
def test_spent_and_open_money_never_exceed_the_limit_and_nothing_stays_open(calls, limit, data):
    account, now = Account(), START
    held: list[tuple[int, int, int]] = []
    for wanted, share, seconds in calls:
        now += seconds
        answer = money.reserve(account, wanted, limit, now, 600.0)
        if isinstance(answer, Account):
            account = answer
            held.append((wanted, int(wanted * share), money.minute_of(now)))
        elif answer is Refusal.EMPTY:
            assert money.spent(account, now, 600.0) + wanted > limit
        if held and data.draw(st.booleans()):
            account = money.settle(account, *held.pop(data.draw(st.integers(0, len(held) - 1))))
        assert account.spent + sum(account.open.values()) <= limit
    for each in held:
        account = money.settle(account, *each)
    assert account.open == {}


@given(
    most=st.integers(1, 100),
    costs=st.lists(st.integers(0, 100), min_size=1, max_size=30),
    at_once=st.integers(1, 30),
)
def test_a_burst_that_fits_is_never_refused(most, costs, at_once):
    """However many calls are open at once: with room for the last one's reservation, each gets its money in time."""
    costs = [min(cost, most) for cost in costs]
    limit = sum(costs) + most
    account, waiting, running = Account(), list(costs), []
    while waiting or running:
        answer = money.reserve(account, most, limit, START, 600.0) if waiting and len(running) < at_once else None
        assert answer is not Refusal.EMPTY
        if isinstance(answer, Account):
            account = answer
            running.append(waiting.pop())
        else:
            account = money.settle(account, most, running.pop(0), money.minute_of(START))
    assert account == Account(sum(costs), {})


texts = st.builds(lambda text, times: text * times, st.text(max_size=100), st.integers(1, 60))
parts = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), min_size=1, max_size=3)
requests = st.fixed_dictionaries(
    {"messages": st.lists((texts | parts).map(lambda said: {"role": "user", "content": said}), min_size=1, max_size=3)},
    optional={"max_tokens": st.integers(1, 9_000)},
)


def content_bytes(request):
    contents = [message["content"] for message in request["messages"]]
    said = [text for c in contents for text in ([c] if isinstance(c, str) else [part["text"] for part in c])]
    return sum(len(text.encode()) for text in said)


@given(request=requests, target=st.sampled_from(CLOUDS), data=st.data())
def test_a_call_never_comes_to_more_than_was_set_aside_for_it(request, target, data):
    quote = money.quote(request, needs_of(request, RULES.estimates), None, target, RULES)
    read = data.draw(st.integers(0, min(content_bytes(request), target.context_tokens)))
    written = data.draw(st.integers(0, quote.output_tokens))
    answer = Answer({"content": "Yes."}, "stop", Usage(read, written), target.model)
    assert money.charged(answer, quote.cost, target) <= quote.cost


prices = st.none() | st.decimals(0, 25, places=6).map(float)


@given(request=requests, target=st.sampled_from(CLOUDS), stated=st.tuples(prices, prices, prices), data=st.data())
def test_what_is_set_aside_covers_every_mix_of_cached_written_and_thought_tokens(request, target, stated, data):
    names = ("cached_input", "cache_write", "cache_write_1h")
    target = replace(
        target, **{f"{name}_usd_per_million_tokens": price for name, price in zip(names, stated, strict=True)}
    )
    quote = money.quote(request, needs_of(request, RULES.estimates), None, target, RULES)
    read = data.draw(st.integers(1, quote.input_tokens))
    cached_tokens = data.draw(st.integers(0, read))
    written = data.draw(st.integers(0, read - cached_tokens))
    # What nobody marks is not written for an hour, and nothing is marked so whose price is not stated.
    kept = 0 if stated[2] is None else data.draw(st.integers(0, written))
    details = (cached_tokens, written, data.draw(st.integers(0, 1)), kept)
    answer = Answer({"content": "Yes."}, "stop", Usage(read, quote.output_tokens, *details), target.model)
    assert money.charged(answer, quote.cost, target) <= quote.cost


@given(usage=st.tuples(*[st.integers(0, 10**6)] * 5), of=st.tuples(*[st.decimals(0, 100, places=6)] * 5))
def test_a_charge_is_the_exact_sum_of_its_parts_rounded_once(usage, of):
    plain, read, written, said, kept = usage
    target = replace(
        CLOUDS[0],
        input_usd_per_million_tokens=float(of[0]),
        cached_input_usd_per_million_tokens=float(of[1]),
        cache_write_usd_per_million_tokens=float(of[2]),
        output_usd_per_million_tokens=float(of[3]),
        cache_write_1h_usd_per_million_tokens=float(of[4]),
    )
    answer = Answer({}, "stop", Usage(plain + read + written + kept, said, read, written + kept, 0, kept), "m")
    exact = sum(Fraction(price) * tokens * 1000 for price, tokens in zip(of, usage, strict=True))
    assume(answer.usage.input_tokens)
    assert abs(money.charged(answer, 0, target) - exact) <= Fraction(1, 2)


# --- more money never gives fewer answers


def ladder_end(job: Job, outcomes: Mapping[str, Attempt], spent: int, rules: Rules) -> tuple[bool, tuple[Attempt, ...]]:
    """Whether the job ends with an answer, if each target always does the same; and all its attempts."""
    view = View({name: TargetView() for name in TARGETS}, money=MoneyView(spent))
    attempts: tuple[Attempt, ...] = ()
    now = START
    while True:
        match next_action(job, attempts, view, now, rules):
            case Run(target=name, reason=reason):
                needs, target = needs_of(job.request, rules.estimates), TARGETS[name]
                left = None if job.max_cost_usd is None else job.max_cost_usd - sum(a.cost_usd for a in attempts)
                made = replace(outcomes[name], number=len(attempts) + 1, reason=reason, started_at=now, ended_at=now)
                if isinstance(made.outcome, Answer):
                    most = money.quote(job.request, needs, left, target, rules).output_tokens
                    usage = Usage(needs.input_tokens, min(made.outcome.usage.output_tokens, most))
                    made = replace(made, outcome=replace(made.outcome, usage=usage), cost_usd=cost_usd(usage, target))
                attempts = (*attempts, made)
            case Wait(seconds=seconds):
                now += seconds
            case Finish():
                return True, attempts
            case GiveUp():
                return False, attempts


def answer_of(name: str, output_tokens: int, confidence: float | None) -> Attempt:
    answer = Answer({"role": "assistant", "content": "Yes."}, "stop", Usage(0, output_tokens), name)
    return Attempt(1, name, None, START, START, answer, confidence)


def failure_of(name: str) -> Attempt:
    return Attempt(1, name, None, START, START, Failure(FailureKind.INVALID_REQUEST, "no"))


outcomes = st.fixed_dictionaries(
    {
        name: st.builds(answer_of, st.just(name), st.integers(1, 5_000), st.none() | st.floats(0, 1))
        | st.just(failure_of(name))
        for name in TARGETS
    }
)
jobs = st.builds(
    Job,
    id=st.just("job-0123456789abcdef"),
    tenant=st.just("acme"),
    lane=st.just(Lane.STANDARD),
    task=st.sampled_from(list(RULES.tasks)),
    plan=st.sampled_from([Plan.FREE, Plan.PAID]),
    request=requests,
    submitted_at=st.just(START),
)
dollars = st.floats(1e-7, 0.5)


@given(job=jobs, outcomes=outcomes, budgets=st.tuples(dollars, dollars))
def test_a_job_with_more_money_never_ends_without_an_answer_it_had_with_less(job, outcomes, budgets):
    ends = [ladder_end(replace(job, max_cost_usd=budget), outcomes, 0, RULES) for budget in sorted(budgets)]
    assert ends[0][0] <= ends[1][0]


@given(job=jobs, model=st.sampled_from(CLOUDS), outcomes=outcomes, budget=st.floats(1e-4, 0.05))
def test_cloud_targets_never_cost_a_job_more_than_its_limit(job, model, outcomes, budget):
    dear = replace(job, request={**job.request, "model": model.name}, max_cost_usd=budget)
    _, attempts = ladder_end(dear, outcomes, 0, RULES)
    assert sum(attempt.cost_usd for attempt in attempts if TARGETS[attempt.target].is_cloud) <= budget * (1 + 1e-9)


@given(job=jobs, outcomes=outcomes, limits=st.tuples(dollars, dollars), gone=st.floats(0, 0.6))
def test_a_day_with_more_money_never_leaves_a_job_without_an_answer_it_had_with_less(job, outcomes, limits, gone):
    ends = [
        ladder_end(job, outcomes, money.nano_of(gone), replace(RULES, money=replace(RULES.money, daily_usd=limit)))
        for limit in sorted(limits)
    ]
    assert ends[0][0] <= ends[1][0]
