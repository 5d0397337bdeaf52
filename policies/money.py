"""Bounded spend: the maximum price of a call, and whether the day's money covers it.

Only the fleet's payments to others count: attempts on cloud targets without a tenant's own key. A call is made only
once its maximum price is reserved, and it carries the output limit that makes this price the maximum; so the sum of
what is spent cannot pass a limit, even if others spend at the same time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from fleet.model.attempt import Answer, FailureKind, Outcome, Usage
from fleet.model.job import ChatRequest, Job
from fleet.model.money import Account, Claim, Deposit, MoneyView, NanoUsd, Quote, Refusal
from fleet.model.target import Target
from policies.budget import own_key_for, priced
from policies.features.needs import Needs
from policies.reasoning import room_for
from policies.rules.rules import Rules
from policies.rules.sections import MoneyRules

NANO = 1_000_000_000
DAY_SECONDS = 86_400

REQUEST_TOKENS = 1024
"""Allowance for what a provider puts before a request: Anthropic documents up to 600 tokens where there are tools."""

MESSAGE_TOKENS = 16
"""Allowance for what a chat template puts around one message: OpenAI documents 3 to 4 tokens, Llama's takes 5."""

BUSY_BASE_SECONDS = 0.1
BUSY_MOST_SECONDS = 10.0


def nano_of(usd: float) -> NanoUsd:
    """Convert US dollars to nano-dollars. Rounding keeps order: a lower price never becomes a higher one."""
    return round(usd * NANO)


def usd_of(amount: NanoUsd) -> float:
    return amount / NANO


def cost_of(priced: Iterable[tuple[int, float]]) -> NanoUsd:
    """Return the cost of tokens, each kind with its price in US dollars per million, as an exact sum rounded once."""
    return (sum(tokens * nano_of(price) for tokens, price in priced) + 500_000) // 1_000_000


def day_of(now: float) -> int:
    """Return the UTC day, counted from 1970-01-01."""
    return int(now // DAY_SECONDS)


def minute_of(now: float) -> int:
    return int(now // 60)


def spent(account: Account, now: float, open_seconds: float) -> NanoUsd:
    """Return the money that counts as spent: settled amounts, and those reserved more than `open_seconds` ago.

    The latter were reserved by a dispatcher that died; its calls may well have been made.
    """
    return account.spent + sum(each for minute, each in account.open.items() if _is_stale(minute, now, open_seconds))


def reserve(
    account: Account, amount: NanoUsd, limit: NanoUsd | None, now: float, open_seconds: float
) -> Account | Refusal:
    """Reserve `amount` more on the account. EMPTY only if spent money leaves no room; BUSY if open reservations do."""
    if limit is not None:
        gone = spent(account, now, open_seconds)
        if gone + amount > limit:
            return Refusal.EMPTY
        fresh = sum(each for minute, each in account.open.items() if not _is_stale(minute, now, open_seconds))
        if gone + fresh + amount > limit:
            return Refusal.BUSY
    minute = minute_of(now)
    return Account(account.spent, {**account.open, minute: account.open.get(minute, 0) + amount})


def settle(account: Account, reserved: NanoUsd, actual: NanoUsd, minute: int) -> Account:
    """Book `actual` as spent in place of what was reserved in `minute`, in full even if it is more."""
    left = account.open.get(minute, 0) - reserved
    still_open = {**account.open, minute: left}
    if left <= 0:
        del still_open[minute]
    return Account(account.spent + actual, still_open)


def _is_stale(minute: int, now: float, open_seconds: float) -> bool:
    return now - (minute + 1) * 60 >= open_seconds


def fleet_pays(job: Job, target: Target) -> bool:
    return target.is_cloud and own_key_for(job, target) is None


BYTES_PER_TOKEN = 2
"""A divisor that gives more tokens than nearly any text has: English has about four bytes a token, code three, Chinese
two and a half.
"""


def quote(request: ChatRequest, needs: Needs, left_usd: float | None, target: Target, rules: Rules) -> Quote:
    """Return the output limit for a call and its maximum price; `needs` are the request's.

    The limit is what the request asks for, else the rules' `max_output_tokens` as far as there is room; a target that
    thinks gets tokens for that on top. It is lower
    where `left_usd`, the job's own money, pays for less by the estimate of the input.
    """
    output_tokens = _output_tokens(request, needs, target, rules)
    of_input, of_output = target.most_input_usd_per_million_tokens, target.output_usd_per_million_tokens
    if left_usd is not None and of_output > 0:
        left_for_output = left_usd * 1e6 - _cautious_input_tokens(request, needs) * of_input
        output_tokens = min(output_tokens, int(left_for_output / of_output))
    output_tokens = max(1, output_tokens)
    input_tokens = most_input_tokens(request, target, rules.money)
    return Quote(cost_of(((input_tokens, of_input), (output_tokens, of_output))), output_tokens, input_tokens)


def most_usual_cost(request: ChatRequest, needs: Needs, target: Target, rules: Rules) -> NanoUsd:
    """Return the least money of a job that neither keeps it from the target nor shortens the target's answer.

    It is what a call costs that writes all it may, by the cautious estimate of the input.
    """
    estimated = needs.output_tokens or rules.estimates.output_tokens
    # One more token: a limit is divided by a price that is no exact number.
    output_tokens = max(_output_tokens(request, needs, target, rules), estimated) + 1
    of_input, of_output = target.most_input_usd_per_million_tokens, target.output_usd_per_million_tokens
    return cost_of(((_cautious_input_tokens(request, needs), of_input), (output_tokens, of_output)))


def _output_tokens(request: ChatRequest, needs: Needs, target: Target, rules: Rules) -> int:
    """Return the output limit of a call whose job has money enough."""
    # Half of the context that is left: the input is only estimated, and a provider refuses a request that cannot fit.
    left = target.context_tokens - needs.input_tokens
    # A thread that fits only once it is trimmed is trimmed so far that the usual answer has room.
    room = max(1, left // 2) if left > 0 else rules.estimates.output_tokens
    output_tokens = needs.output_tokens or min(rules.money.max_output_tokens, room)
    return output_tokens + min(room_for(request, target), max(0, room - output_tokens))


def _cautious_input_tokens(request: ChatRequest, needs: Needs) -> int:
    """Estimate the input where the upper bound would spoil small budgets: rarely too low, at most twice too high."""
    if needs.images:
        return needs.input_tokens
    return max(needs.input_tokens, _bytes(request.get("messages", ())) // BYTES_PER_TOKEN)


def most_input_tokens(request: ChatRequest, target: Target, rules: MoneyRules) -> int:
    """Return an upper bound of the input tokens.

    A token of a byte-level vocabulary, as all these models have, stands for at least one byte. An image is bounded by
    the rules, and everything by the target's context, which is the only bound for a file.
    """
    tokens = REQUEST_TOKENS
    for message in request.get("messages", ()):
        content = message.get("content")
        parts = content if isinstance(content, list) else ()
        if any(part.get("type") == "file" for part in parts):
            return target.context_tokens
        images = sum(part.get("type") == "image_url" for part in parts)
        rest = {**message, "content": [part for part in parts if part.get("type") != "image_url"]} if parts else message
        tokens += MESSAGE_TOKENS + _bytes(rest) + images * rules.max_tokens_per_image
    schemas = [request.get(name) for name in ("tools", "response_format")]
    return min(tokens + sum(_bytes(schema) for schema in schemas if schema), target.context_tokens)


def _bytes(value: Any) -> int:
    """Return the bytes of the value as JSON, which is no shorter than what a chat template makes of it."""
    return len(json.dumps(value, ensure_ascii=False, default=dict).encode(errors="surrogatepass"))


def capped(request: ChatRequest, output_tokens: int) -> ChatRequest:
    """Return the request with its output limited, by the name it uses itself, else by the one that every API knows."""
    names = [name for name in ("max_completion_tokens", "max_tokens") if request.get(name)] or ["max_tokens"]
    return {**request, **dict.fromkeys(names, output_tokens)}


def claim(job: Job, amount: NanoUsd, rules: MoneyRules) -> Claim:
    """Return a claim on `amount` for a call of this job, with the limits in force."""
    limit = tenant_limit_usd(job.tenant, rules)
    return Claim(job.tenant, amount, nano_of(rules.daily_usd), None if limit is None else nano_of(limit))


def tenant_limit_usd(tenant: str, rules: MoneyRules) -> float | None:
    return rules.tenants.get(tenant, rules.tenant_daily_usd)


def charged(outcome: Outcome, reserved: NanoUsd, target: Target) -> NanoUsd:
    """Return what to book for a paid call: an answer by its usage, a failure by what may have been charged for it.

    Providers charge nothing for a request they refuse or never got. Where a model may have worked and nobody reported
    how much, all that was reserved counts as spent: an unknown price must not pass a limit.
    """
    if isinstance(outcome, Answer):
        # Every call reads something: a provider that reports zero tokens did not report usage.
        return cost_of(priced(outcome.usage, target)) if outcome.usage.input_tokens else reserved
    return reserved if _may_be_charged(outcome.kind) else 0


def most_usage(deposit: Deposit | None, target: Target) -> Usage:
    """Return the maximum tokens a call can use: what was paid for, else what the target has room for."""
    if deposit is None:
        return Usage(target.context_tokens, target.context_tokens)
    return Usage(deposit.quote.input_tokens, deposit.quote.output_tokens)


def believed(outcome: Outcome, most: Usage) -> Outcome:
    """Return the outcome, with an unknown usage in place of one that is negative or more than the call could use."""
    if not isinstance(outcome, Answer) or outcome.usage == Usage():
        return outcome
    found = outcome.usage
    is_possible = _is_count(found.input_tokens, most.input_tokens) and _is_count(
        found.output_tokens, most.output_tokens
    )
    return outcome if is_possible and found.input_tokens else replace(outcome, usage=Usage())


def _is_count(tokens: int, most: int) -> bool:
    return type(tokens) is int and 0 <= tokens <= most


def _may_be_charged(kind: FailureKind) -> bool:
    match kind:
        case (
            FailureKind.TIMEOUT
            | FailureKind.MALFORMED
            | FailureKind.CONTENT_FILTER
            | FailureKind.INTERNAL
            | FailureKind.CANCELLED
        ):
            return True
        case (
            FailureKind.RATE_LIMITED
            | FailureKind.OVERLOADED
            | FailureKind.SERVER_ERROR
            | FailureKind.CONNECTION
            | FailureKind.CONTEXT_TOO_LONG
            | FailureKind.INVALID_REQUEST
            | FailureKind.AUTHENTICATION
            | FailureKind.ACCOUNT
            | FailureKind.ADAPTER
            # Not made this time. Money set aside for the calls before stays reserved, and counts as spent.
            | FailureKind.INTERRUPTED
        ):
            return False


def busy_seconds(deliveries: int) -> float:
    """Return how long a job waits for open reservations to be settled; all its waits together outlast any of them."""
    return min(BUSY_BASE_SECONDS * 2.0 ** min(deliveries - 1, 64), BUSY_MOST_SECONDS)


def objection(cost: NanoUsd, target: Target, tenant: str, view: MoneyView, rules: MoneyRules) -> str | None:
    """Return the objection of the day's limits to a call of this maximum cost, in one clause; None if there is none.

    There is one wherever `reserve` would say EMPTY, so a job that was refused money is not sent there again.
    """
    for whose, gone, limit in _limits(tenant, view, rules):
        if gone + cost > limit:
            left = usd_of(max(0, limit - gone))
            return f"up to ${usd_of(cost):.6f} with ${left:.6f} left of {whose} ${usd_of(limit):.2f} a day"
        if gone >= rules.cheap_at * limit and not _is_cheap(target, rules):
            price = rules.cheap_usd_per_million_output_tokens
            return f"${usd_of(gone):.6f} of {whose} ${usd_of(limit):.2f} a day are spent: targets up to ${price:g} only"
    return None


def _limits(tenant: str, view: MoneyView, rules: MoneyRules) -> Iterator[tuple[str, NanoUsd, NanoUsd]]:
    """Yield the owner, the money spent and the limit of each limit that applies."""
    yield "the fleet's", view.fleet, nano_of(rules.daily_usd)
    limit = tenant_limit_usd(tenant, rules)
    if limit is not None:
        yield f"tenant {tenant}'s", view.tenants.get(tenant, 0), nano_of(limit)


def _is_cheap(target: Target, rules: MoneyRules) -> bool:
    return target.output_usd_per_million_tokens <= rules.cheap_usd_per_million_output_tokens


def steps_crossed(before: NanoUsd, after: NanoUsd, limit: NanoUsd, rules: MoneyRules) -> Mapping[str, float]:
    """Return the steps of a limit that this booking passed, by name, as shares of the limit."""
    steps = {"alert": rules.alert_at, "cheap_targets_only": rules.cheap_at, "spent": 1.0}
    return {name: share for name, share in steps.items() if before < math.ceil(share * limit) <= after}
