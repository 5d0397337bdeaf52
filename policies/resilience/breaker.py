"""The circuit breaker: a target that keeps failing is left alone for a while."""

from __future__ import annotations

import math
from dataclasses import replace

from fleet.model.view import Breaker, TargetView
from policies.rules.rules import Rules

PROBE_SECONDS = 1.0
"""Seconds a job waits for the outcome of another job's probe before it looks again."""


def allows(breaker: Breaker, now: float) -> bool:
    """Return whether the target may be tried: never while open, then by one call at a time until one succeeded."""
    return now >= breaker.open_until_at and not breaker.probing


def opens_at(breaker: Breaker, now: float) -> float:
    """Return when it is worth checking again whether the target may be tried."""
    return max(breaker.open_until_at, now + PROBE_SECONDS if breaker.probing else 0.0)


def facing(target: TargetView, with_own_key: bool) -> Breaker:
    """Return the breaker that a job meets, with or without its own key."""
    own = target.own_key_breaker
    return target.breaker if own is None or not with_own_key else own


def in_view(breaker: Breaker, in_flight: int) -> Breaker:
    """Return the breaker as other jobs see it while so many calls are on their way.

    Nothing marks the probe: after the open time the first call on its way is it. However it ends, even cancelled or
    refused for its own sake, the next one then may be the probe, so that no breaker stays half open.
    """
    is_half_open = breaker.trips > 0 and in_flight > 0
    return Breaker(breaker.failures, breaker.trips, breaker.open_until_at, True) if is_half_open else breaker


def calls(breaker: Breaker, in_flight: int, unproven: bool, now: float, rules: Rules) -> float:
    """Return how many more calls may begin; `unproven`: they cost money, and none was answered since it opened.

    Of unproven calls no more are on their way than it takes to open the breaker: each that hangs is booked in full.
    """
    if now < breaker.open_until_at:
        return 0
    if breaker.trips:
        return max(0, 1 - in_flight)
    return max(0, rules.breaker.failures - in_flight) if unproven else math.inf


def after(breaker: Breaker, failed: bool, now: float, rules: Rules) -> Breaker:
    """Return the breaker after one more outcome that counts (see `retry.counts_against_target`).

    A success closes it and forgets everything. Failures that arrive while it is open were started
    before it opened: counting them would double the open time once per straggler.
    """
    if not failed:
        return Breaker()
    if now < breaker.open_until_at:
        return breaker
    failures = breaker.failures + 1
    if failures < rules.breaker.failures:
        return Breaker(failures, breaker.trips, breaker.open_until_at)
    return Breaker(failures, breaker.trips + 1, now + _open_seconds(breaker.trips, rules))


def shut(breaker: Breaker, now: float, rules: Rules) -> Breaker:
    """Return the breaker after a failure that waiting does not mend: open at once, and for the maximum time."""
    if now < breaker.open_until_at:
        return breaker
    return Breaker(breaker.failures + 1, breaker.trips + 1, now + rules.breaker.max_seconds)


def put(breaker: Breaker, seconds: float) -> Breaker:
    """Return the same breaker by a clock that was put forward by so many seconds."""
    return replace(breaker, open_until_at=breaker.open_until_at + seconds if breaker.open_until_at else 0.0)


def _open_seconds(trips_before: int, rules: Rules) -> float:
    # The exponent is bounded because 2.0**1024 overflows.
    return min(rules.breaker.base_seconds * 2.0 ** min(trips_before, 64), rules.breaker.max_seconds)
