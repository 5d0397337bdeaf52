"""docs/how-to/ledger.md: its query is answered as it stands there, and its tables and settings are those there are."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from ledger_lines import FAILURE, attempt, entry, lines_of
from pages import ROOT, blocks
from sqlalchemy import Engine, inspect, text

from fleet.ledger.database import database_url, engine_for
from fleet.ledger.store import LedgerStore
from fleet.model.result import Status
from fleet.settings.environment import PREFIX, Settings

PAGE = ROOT / "docs" / "how-to" / "ledger.md"
DAY = 86_400.0
NOW = {"postgresql": "SELECT extract(epoch FROM now())", "sqlite": "SELECT strftime('%s', 'now')"}


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    """A database with calls of today, of two days ago and of last month."""
    made = engine_for(database_url(ledger_url))
    with made.connect() as connection:
        now = float(connection.scalar(text(NOW[made.dialect.name])) or 0)
    store = LedgerStore(made, lambda: now)
    store.open()
    failed = entry(7, attempt(1, outcome=FAILURE, cost_usd=0.0), Status.FAILED)
    store.write(lines_of([entry(9)], stored_at=now - 30 * DAY))
    store.write(lines_of([failed], first=2, stored_at=now - 2 * DAY))
    store.write(lines_of([entry(1, attempt(1), None), entry(1, attempt(2, "gpt-4o", cost_usd=0.02))], 3, now))
    yield made
    made.dispose()


def daily(dialect: str) -> str:
    """The query of the page; for SQLite with the condition that the page gives in place of the other."""
    [block] = [block for block in blocks(PAGE) if block.language == "sql"]
    if dialect == "postgresql":
        return block.text
    found = re.search(r"`(created_at >= DATE\([^`]+)`", PAGE.read_text())
    assert found is not None
    return block.text.replace("created_at >= CURRENT_DATE - INTERVAL '7 days'", found[1])


def test_the_daily_query_of_calls_and_costs_is_answered(engine: Engine) -> None:
    with engine.connect() as connection:
        rows = connection.execute(text(daily(engine.dialect.name))).all()
    assert [(calls, hits, round(float(cost), 9)) for _, calls, hits, cost in rows] == [(2, 0, 0.021), (1, 0, 0.0)]
    assert len({str(day) for day, *_ in rows}) == 2


def test_every_table_and_view_is_described(engine: Engine) -> None:
    there = {*inspect(engine).get_table_names(), *inspect(engine).get_view_names()} - {"alembic_version"}
    assert set(re.findall(r"^\| `([a-z_]+)` \|", PAGE.read_text(), re.M)) == there


def test_every_variable_of_the_page_is_read() -> None:
    named = set(re.findall(r"\bFLEET_[A-Z_]*[A-Z]\b", PAGE.read_text()))
    assert named <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
