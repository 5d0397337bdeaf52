"""Reads what is left of a provider's rate limits from the headers of its reply.

    OpenAI, Groq   x-ratelimit-remaining-requests    x-ratelimit-reset-requests    (and -tokens), reset as 6m0s
    Anthropic      anthropic-ratelimit-requests-remaining, -reset                  (and tokens), reset as RFC 3339

Limits are the account's, so what others use of it, dispatchers or not, is in the numbers. Where a reply does not say,
and the catalogue names a limit, this dispatcher's own calls are counted instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from fleet.model.attempt import Answer, Headroom, Limit, Outcome
from fleet.model.target import Provider
from fleet.providers.retry_after import LIMITS, bounded, wait_in

COUNT = re.compile(r"[0-9]{1,12}")

_HEADERS = {
    "requests": [pair for pair in LIMITS if "requests" in pair[0]],
    "tokens": [pair for pair in LIMITS if "tokens" in pair[0] and "output" not in pair[0]],
}


def headroom_in(headers: Mapping[str, str], now: float) -> Headroom | None:
    """Return what is left of the limits, or None if the headers do not say; `now` is unix seconds. Never raises."""
    found = Headroom(_limit("requests", headers, now), _limit("tokens", headers, now))
    return None if found == Headroom() else found


def _limit(what: str, headers: Mapping[str, str], now: float) -> Limit | None:
    for remaining, reset in _HEADERS[what]:
        left, seconds = headers.get(remaining, ""), wait_in(headers.get(reset, ""), headers, now)
        if COUNT.fullmatch(left) is not None and seconds is not None:
            return Limit(int(left), bounded(seconds))
    return None


WINDOW_SECONDS = 60.0


class OwnCount:
    """What this dispatcher has asked of one provider in a window of a minute, against the limits of its entry.

    A window begins with its first call. Times are of a monotonic clock.
    """

    def __init__(self, provider: Provider) -> None:
        self._requests_limit = provider.requests_per_minute
        self._tokens_limit = provider.tokens_per_minute
        self._ends_at = -math.inf
        self._requests = 0
        self._tokens = 0

    def begun(self, now: float) -> None:
        self._turn(now)
        self._requests += 1

    def ended(self, outcome: Outcome, now: float) -> None:
        self._turn(now)
        if isinstance(outcome, Answer):
            self._tokens += outcome.usage.input_tokens + outcome.usage.output_tokens

    def left(self, running: int, now: float) -> Headroom:
        """Return what is left, apart from the calls that run: whoever asks counts those himself."""
        self._turn(now)
        seconds = self._ends_at - now
        requests = _left(self._requests_limit, self._requests - running, seconds)
        return Headroom(requests, _left(self._tokens_limit, self._tokens, seconds))

    def _turn(self, now: float) -> None:
        if now >= self._ends_at:
            self._ends_at, self._requests, self._tokens = now + WINDOW_SECONDS, 0, 0


def _left(limit: int | None, used: int, seconds: float) -> Limit | None:
    return None if limit is None else Limit(max(0, limit - max(0, used)), seconds)


def headroom_of(said: Headroom | None, counted: Headroom) -> Headroom | None:
    """Return what the provider said is left; where it was silent on a limit, what was counted here."""
    if said is None:
        return None if counted == Headroom() else counted
    return Headroom(said.requests or counted.requests, said.tokens or counted.tokens)
