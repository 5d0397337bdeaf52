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
    last = datetime.fromtimestamp(now, UTC).date() if until is None else _day("--until", until)
    first = last - timedelta(days=DEFAULT_DAYS - 1) if since is None else _day("--since", since)
    if first > last:
        raise ConfigError("--since", f"must not be after the last day, {last}")
    return Period(first.isoformat(), last.isoformat())


def _day(option: str, text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise ConfigError(option, f"must be a day as YYYY-MM-DD, not {text!r}") from None
