"""The rate limits of a provider: what it said is left of them, for every user of the account."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from fleet.model.attempt import Failure, FailureKind, Outcome

LONG_SECONDS = 10.0
"""Maximum pause that jobs wait out where they are; for a longer one they seek another target, as if it were shut."""


@dataclass(frozen=True, slots=True)
class Meter:
    """The rest of each limit until it resets, and the end of a pause of all calls; times in unix seconds.

    `shut_until_at` is the end of a pause so long that jobs are better off elsewhere.
    """

    requests: float = math.inf
    requests_reset_at: float = 0.0
    tokens: float = math.inf
    tokens_reset_at: float = 0.0
    paused_until_at: float = 0.0
    shut_until_at: float = 0.0


def after(meter: Meter, outcome: Outcome, now: float) -> Meter:
    """Return the meter after an outcome that has just come in. A refusal for the rate limit pauses all calls."""
    if isinstance(outcome, Failure) and outcome.kind is FailureKind.RATE_LIMITED and outcome.retry_after_seconds:
        meter = _paused(meter, outcome.retry_after_seconds, now)
    if outcome.headroom is None:
        return meter
    requests, tokens = outcome.headroom.requests, outcome.headroom.tokens
    if requests is not None:
        meter = replace(meter, requests=requests.left, requests_reset_at=now + requests.resets_in_seconds)
    if tokens is not None:
        meter = replace(meter, tokens=tokens.left, tokens_reset_at=now + tokens.resets_in_seconds)
    return meter


def put(meter: Meter, seconds: float) -> Meter:
    """Return the same meter by a clock that was put forward by so many seconds."""
    moments = ("requests_reset_at", "tokens_reset_at", "paused_until_at", "shut_until_at")
    return replace(meter, **{name: at + seconds for name in moments if (at := getattr(meter, name))})


def _paused(meter: Meter, seconds: float, now: float) -> Meter:
    until_at = max(meter.paused_until_at, now + seconds)
    return replace(meter, paused_until_at=until_at, shut_until_at=until_at if seconds > LONG_SECONDS else 0.0)


def calls(meter: Meter, in_flight: int, tokens_in_flight: float, now: float) -> float:
    """Return how many more calls may be made now, while those in flight have not yet reported what they leave."""
    if now < meter.paused_until_at:
        return 0
    if now < meter.tokens_reset_at and meter.tokens - tokens_in_flight <= 0:
        return 0
    if now < meter.requests_reset_at:
        return max(0.0, meter.requests - in_flight)
    return math.inf


def opens_in(meter: Meter, now: float) -> float | None:
    """Return seconds until the meter may allow more, by the clock alone; None where time changes nothing."""
    moments = (meter.paused_until_at, meter.requests_reset_at, meter.tokens_reset_at)
    return min((moment - now for moment in moments if moment > now), default=None)
