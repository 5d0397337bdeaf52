"""What a provider says is left of its limits, in the headers of every reply.

    OpenAI, Groq   x-ratelimit-remaining-requests    x-ratelimit-reset-requests    (and -tokens), reset as 6m0s
    Anthropic      anthropic-ratelimit-requests-remaining, -reset                  (and tokens), reset as RFC 3339

Limits are the account's, so what others use of it, dispatchers or not, is in the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from fleet.model.attempt import Headroom, Limit
from fleet.providers.retry_after import LONGEST_SECONDS, date_in, duration_in

COUNT = re.compile(r"\d{1,12}")


def headroom_in(headers: Mapping[str, str], now: float) -> Headroom | None:
    """None where the headers say nothing of the kind; `now` is unix seconds. Never raises."""
    found = Headroom(_limit("requests", headers, now), _limit("tokens", headers, now))
    return None if found == Headroom() else found


def _limit(what: str, headers: Mapping[str, str], now: float) -> Limit | None:
    left = headers.get(f"x-ratelimit-remaining-{what}")
    if left is not None:
        return _of(left, duration_in(headers.get(f"x-ratelimit-reset-{what}", "")))
    left = headers.get(f"anthropic-ratelimit-{what}-remaining", "")
    return _of(left, _until(headers.get(f"anthropic-ratelimit-{what}-reset", ""), headers, now))


def _of(left: str, seconds: float | None) -> Limit | None:
    if COUNT.fullmatch(left) is None or seconds is None:
        return None
    return Limit(int(left), min(max(seconds, 0.0), LONGEST_SECONDS))


def _until(moment: str, headers: Mapping[str, str], now: float) -> float | None:
    """A moment counts from the reply's own `Date`, so that a wrong clock on either side does no harm."""
    try:
        at = datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError):
        return None
    sent = date_in(headers.get("date", ""))
    return at - (now if sent is None else sent)
