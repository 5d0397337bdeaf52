"""The circuit breaker: a target that keeps failing is left alone for a while."""

from __future__ import annotations

from fleet.model.view import Breaker
from policies.rules import Rules


def allows(breaker: Breaker, now: float) -> bool:
    """Whether the target may be tried; True again once the open time is over, and then the next outcome decides."""
    return now >= breaker.open_until_at


def after(breaker: Breaker, failed: bool, now: float, rules: Rules) -> Breaker:
    """The breaker after one more outcome that counts (see `retry.counts_against_target`).

    A success closes it and forgets everything. Failures that arrive while it is open were started
    before it opened: counting them would double the open time once per straggler.
    """
    if not failed:
        return Breaker()
    if not allows(breaker, now):
        return breaker
    failures = breaker.failures + 1
    if failures < rules.breaker.failures:
        return Breaker(failures, breaker.trips, breaker.open_until_at)
    return Breaker(failures, breaker.trips + 1, now + _open_seconds(breaker.trips, rules))


def _open_seconds(trips_before: int, rules: Rules) -> float:
    # The exponent is bounded because 2.0**1024 overflows.
    return min(rules.breaker.base_seconds * 2.0 ** min(trips_before, 64), rules.breaker.max_seconds)
