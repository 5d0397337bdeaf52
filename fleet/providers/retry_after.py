"""How long a provider asks us to stay away."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

LONGEST_SECONDS = 86_400.0
"""A day: a limit that lasts longer is not waited for, and a wild number must not stop a target for ever."""

DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
"""As OpenAI and Groq write them: 6m0s, 1h2m3.5s, 20ms."""


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """The wait asked for, in seconds from 0 to a day; None where the headers do not say. `now` is unix seconds.

    `Retry-After` in either form (RFC 9110, 10.2.3) comes first; else the reset of a used-up `x-ratelimit-*` limit.
    A date counts from the reply's own `Date`, so that a wrong clock on either side does no harm.
    """
    stated = headers.get("retry-after")
    wait = _number_or_date(stated.strip(), headers, now) if stated else _reset(headers)
    return None if wait is None else min(max(wait, 0.0), LONGEST_SECONDS)


def _number_or_date(stated: str, headers: Mapping[str, str], now: float) -> float | None:
    try:
        seconds = float(stated)
    except ValueError:
        until = date_in(stated)
        sent = date_in(headers.get("date", ""))
        return None if until is None else until - (now if sent is None else sent)
    return seconds if math.isfinite(seconds) else None


def date_in(text: str) -> float | None:
    """Unix seconds of an HTTP date; None where it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _reset(headers: Mapping[str, str]) -> float | None:
    waits = [
        wait
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}") == "0"
        and (wait := duration_in(headers.get(f"x-ratelimit-reset-{what}", ""))) is not None
    ]
    return max(waits, default=None)


def duration_in(text: str) -> float | None:
    """Seconds of a DURATION; None where it is none."""
    match = DURATION.fullmatch(text)
    if match is None or not text:
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
