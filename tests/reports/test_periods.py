"""A report is about whole UTC days, both ends included."""

from __future__ import annotations

import pytest

from fleet.model.errors import ConfigError
from fleet.reports.periods import Period, period_of

NOW = 1_772_366_400.0  # 2026-03-01 12:00 UTC


@pytest.mark.parametrize(
    ("since", "until", "period"),
    [
        (None, None, Period("2026-01-31", "2026-03-01")),
        ("2026-02-28", None, Period("2026-02-28", "2026-03-01")),
        (None, "2024-03-01", Period("2024-02-01", "2024-03-01")),
        ("2024-02-29", "2024-02-29", Period("2024-02-29", "2024-02-29")),
    ],
)
def test_a_period_ends_today_and_has_thirty_days_unless_something_else_is_said(
    since: str | None, until: str | None, period: Period
) -> None:
    assert period_of(since, until, NOW) == period


@pytest.mark.parametrize(
    ("since", "until", "option"),
    [
        ("yesterday", None, "--since"),
        ("2026-02-30", None, "--since"),
        (None, "2026-3", "--until"),
        ("2026-03-02", None, "--since"),
        ("2026-03-01", "2026-02-01", "--since"),
    ],
)
def test_what_is_no_period_is_refused_by_its_option(since: str | None, until: str | None, option: str) -> None:
    with pytest.raises(ConfigError) as refused:
        period_of(since, until, NOW)
    assert refused.value.field == option
