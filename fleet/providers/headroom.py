"""Reads what is left of a provider's rate limits from the headers of its reply.

    OpenAI, Groq   x-ratelimit-remaining-requests    x-ratelimit-reset-requests    (and -tokens), reset as 6m0s
    Anthropic      anthropic-ratelimit-requests-remaining, -reset                  (and tokens), reset as RFC 3339

Limits are the account's, so what others use of it, dispatchers or not, is in the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fleet.model.attempt import Headroom, Limit
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
