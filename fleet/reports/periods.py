"""The days a report is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from fleet.model.errors import ConfigError

DEFAULT_DAYS = 30
"""Days a report covers where nobody says: as many as the ledger's stream keeps."""


@dataclass(frozen=True, slots=True)
class Period:
    """UTC days, as YYYY-MM-DD: both ends belong to it."""

    since: str
    until: str


def period_of(since: str | None, until: str | None, now: float) -> Period:
    """Return the period asked for: by default it ends today, and has DEFAULT_DAYS days.

    Raises: ConfigError naming the option.
    """
    found = days_until(until, DEFAULT_DAYS, now)
    if since is not None:
        found = Period(_day("--since", since).isoformat(), found.until)
    if found.since > found.until:
        raise ConfigError("--since", f"must not be after the last day, {found.until}")
    return found


def days_until(until: str | None, days: int, now: float) -> Period:
    """Return so many days that end with this one, by default today. Raises: ConfigError naming the option."""
    last = datetime.fromtimestamp(now, UTC).date() if until is None else _day("--until", until)
    return Period((last - timedelta(days=days - 1)).isoformat(), last.isoformat())


def _day(option: str, text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise ConfigError(option, f"must be a day as YYYY-MM-DD, not {text!r}") from None
