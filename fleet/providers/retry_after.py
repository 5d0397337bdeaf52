"""Reads from a provider's headers how long to stay away.

    header                                        value
    retry-after-ms                                milliseconds (the SDKs of all three vendors read it)
    retry-after                                   seconds, an HTTP date (RFC 9110, 10.2.3)
    x-ratelimit-reset-requests, -tokens           6m0s, 20ms, 1d2h3m, 1.5s or seconds (OpenAI, Groq)
    anthropic-ratelimit-<what>-reset              a moment of RFC 3339

Any of these values is read in any of these headers. What cannot be read counts as not sent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_SECONDS = 86_400.0
"""A day. A longer limit is not waited for, and a wild number must not stop a target for ever."""

SECONDS_PER = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}

PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|[dhms])")
DURATION = re.compile(rf"(?:{PART.pattern})+")
"""Durations as Go writes them, with days as well."""

LONGEST_VALUE = 64
"""Maximum length of a value in characters; nothing longer is a time."""

LIMITS = (
    *(("x-ratelimit-remaining-" + what, "x-ratelimit-reset-" + what) for what in ("requests", "tokens")),
    *(
        (f"anthropic-ratelimit-{what}-remaining", f"anthropic-ratelimit-{what}-reset")
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
)
"""The headers of each limit: what is left of it, and when it is whole again."""


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Return the wait asked for, from 0 seconds to a day, or None if the headers do not say; `now` is unix seconds.

    `retry-after-ms` comes before `Retry-After`, and that before the reset of a limit that is used up.
    """
    milliseconds = duration_in(headers.get("retry-after-ms", ""))
    wait = milliseconds / 1000 if milliseconds is not None else wait_in(headers.get("retry-after", ""), headers, now)
    if wait is None:
        wait = max(_resets(headers, now), default=None)
    return None if wait is None else bounded(wait)


def bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_SECONDS)


def _resets(headers: Mapping[str, str], now: float) -> Iterator[float]:
    for remaining, reset in LIMITS:
        left = duration_in(headers.get(remaining, ""))
        if left is not None and left <= 0 and (wait := wait_in(headers.get(reset, ""), headers, now)) is not None:
            yield wait


def wait_in(text: str, headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds from now until the duration or moment in `text`, or None if it is neither.

    A moment counts from the reply's own `Date`, so that a wrong clock on either side does no harm. A header that came
    twice is one text with a comma; the longest of its waits counts.
    """
    if (seconds := duration_in(text)) is not None:
        return seconds
    if (until := moment_in(text)) is not None:
        sent = moment_in(headers.get("date", ""))
        return until - (now if sent is None else sent)
    parts = [wait for part in text.split(",") if (wait := duration_in(part)) is not None]
    return max(parts, default=None)


def duration_in(text: str) -> float | None:
    """Return the seconds in a number or a DURATION, or None if the text is neither."""
    text = text.strip()
    if not text or len(text) > LONGEST_VALUE:
        return None
    if DURATION.fullmatch(text):
        return sum(float(count) * SECONDS_PER[unit] for count, unit in PART.findall(text))
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def moment_in(text: str) -> float | None:
    """Return unix seconds of an HTTP date or an RFC 3339 moment (UTC if it names no zone), or None if it is neither."""
    text = text.strip()
    if not text or len(text) > LONGEST_VALUE:
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, TypeError, IndexError):
            continue
    return None
