"""Chooses how a job reaches a model: by a cheaper way that takes longer, or at once.

A provider sells the same answer for half the price on its flexible tier, which may turn a call down, and in batches,
which may take a day. What decides is the job's slack against the completion law of the batches: the money hardly ever
forbids a batch, the deadline does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from policies.discounts.completion import CompletionLaw

FLEX_SECONDS = 900.0
"""The minimum slack for the flexible tier: OpenAI advises to give its calls 15 minutes."""

DISCOUNT = 0.5
"""The price of both cheaper ways over that of the usual one."""

FIRST_FALLBACK_SECONDS = 1.0
FALLBACK_STEP = 1.25

FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 30.0, 600.0
"""Pauses between looks for a batch."""

NEXT_TO_NOTHING = 0.002
"""A share of the usual price that is worth no risk of a deadline."""


class Way(StrEnum):
    """The ways to the same answer."""

    FLEX = "flex"
    BATCH = "batch"
    NOW = "now"


class Why(StrEnum):
    """The reason for a way."""

    TIME_TO_SPARE = "time_to_spare"
    WITHIN_PROMISE = "within_promise"
    NOT_OFFERED = "not_offered"
    LITTLE_SLACK = "little_slack"
    WOULD_MISS = "would_miss"
    NO_CHEAPER = "no_cheaper"


@dataclass(frozen=True, slots=True)
class Offer:
    """What there is to choose from. A way that is not offered is False or None.

    `batch` is the completion law of batches there, `call` that of calls made at once. `finished_share` is the share of
    a batch's rows that were finished, and are paid, when it is given up. `promise` is the maximum probability that a
    batch makes a job late. `fallback_seconds` is the time to leave for a call at once, where that is not to be chosen.
    """

    slack_seconds: float
    call: CompletionLaw
    flex: bool = False
    batch: CompletionLaw | None = None
    finished_share: float = 0.2
    promise: float = 0.01
    fallback_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The way to take and why. `price` is what is expected, over the usual one; `miss` the probability to be late.

    A batch that is not done when `fallback_seconds` are left is given up, and its rows are called at once.
    """

    way: Way
    why: Why
    price: float = 1.0
    miss: float = 0.0
    fallback_seconds: float | None = None


def choose(offer: Offer) -> Verdict:
    """Choose the flexible tier where there is time for it, else a batch that keeps the promise and saves, else now."""
    if offer.flex and offer.slack_seconds >= FLEX_SECONDS:
        return Verdict(Way.FLEX, Why.TIME_TO_SPARE, DISCOUNT, offer.call.beyond(offer.slack_seconds))
    miss = offer.call.beyond(offer.slack_seconds)
    if offer.batch is None:
        return Verdict(Way.NOW, Why.LITTLE_SLACK if offer.flex else Why.NOT_OFFERED, miss=miss)
    batch = _batch(offer, offer.batch)
    if batch is None:
        return Verdict(Way.NOW, Why.WOULD_MISS, miss=miss)
    return batch if batch.price < 1 else Verdict(Way.NOW, Why.NO_CHEAPER, miss=miss)


def look_again_seconds(since_seconds: float, left_seconds: float) -> float:
    """Return when to look again for a batch that was sent `since_seconds` ago, at most `left_seconds` from now.

    The longer it takes the rarer: half of all batches end within minutes, and the rest of them over hours.
    """
    return max(1.0, min(FIRST_LOOK_SECONDS + since_seconds / 8, LAST_LOOK_SECONDS, left_seconds))


def _batch(offer: Offer, law: CompletionLaw) -> Verdict | None:
    """Return the batch that keeps the promise and costs least; of those that cost next to the same, the safest.

    To wait a few seconds longer before a batch is given up gains next to nothing, and may cost the deadline.
    """
    kept = [each for each in _batches(offer, law) if each.miss <= offer.promise]
    if not kept:
        return None
    least = min(each.price for each in kept)
    return min((each for each in kept if each.price <= least + NEXT_TO_NOTHING), key=lambda each: each.miss)


def _batches(offer: Offer, law: CompletionLaw) -> Iterator[Verdict]:
    """Yield the batch with each time at which it may be given up."""
    for seconds in _fallbacks(offer):
        unfinished = law.beyond(offer.slack_seconds - seconds)
        price = DISCOUNT * (1 - unfinished) + unfinished * (1 + DISCOUNT * offer.finished_share)
        yield Verdict(Way.BATCH, Why.WITHIN_PROMISE, price, unfinished * offer.call.beyond(seconds), seconds)


def _fallbacks(offer: Offer) -> Iterator[float]:
    """Yield the times before the deadline at which a batch may be given up."""
    seconds = offer.fallback_seconds or FIRST_FALLBACK_SECONDS
    while seconds < offer.slack_seconds:
        yield seconds
        if offer.fallback_seconds is not None:
            return
        seconds *= FALLBACK_STEP
