from __future__ import annotations

from collections.abc import Iterator

import pytest
from ledger_lines import NOON
from sqlalchemy import Engine

from fleet.ledger.database import database_url, engine_for
from fleet.ledger.reading import LedgerReader
from fleet.ledger.store import LedgerStore


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    made = engine_for(database_url(ledger_url))
    yield made
    made.dispose()


@pytest.fixture
def store(engine: Engine) -> LedgerStore:
    """The writer's side of an empty database, at noon."""
    opened = LedgerStore(engine, lambda: NOON + 60.0)
    opened.open()
    return opened


@pytest.fixture
def reader(engine: Engine) -> LedgerReader:
    return LedgerReader(engine)
